"""What the tour's numbers say and do not say: its verdict in sentences, and its page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crossfield.charts import (
    BarRow,
    Curve,
    DotGroup,
    DotRow,
    Mark,
    bar_chart,
    dot_chart,
    line_chart,
    number,
    reliability_chart,
)
from crossfield.landmarks import FAMILIES, MLP, PAIR
from crossfield.report import (
    Board,
    Entry,
    Section,
    board_table,
    bullets,
    figure,
    html_page,
    order_sentence,
    plain_table,
)

BLIND = 0.05
"""A slope below this is no trace of the part it belongs to."""


@dataclass(frozen=True)
class Limits:
    """What is known of planted data: the best AUC by order, with user and item alone, and the best log loss."""

    orders: tuple[float, float, float]
    pair: float
    log_loss: float


@dataclass(frozen=True)
class Findings:
    """All that the tour measured.

    boards: the models that see every column, then those that see user and item only. ladder: models without an
    MLP, where effects are planted. method: data and training, in sentences. seconds: the whole tour.
    """

    name: str
    boards: tuple[Board, ...]
    ladder: Board | None
    limits: Limits | None
    method: tuple[str, ...]
    num_seeds: int
    seconds: float

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every model of the boards."""
        return tuple(entry for board in self.boards for entry in board.entries)

    @property
    def all_boards(self) -> tuple[Board, ...]:
        """The ladder first, where there is one."""
        return self.boards if self.ladder is None else (self.ladder, *self.boards)


def verdict(findings: Findings) -> list[str]:
    """What the numbers show, most important first; a sentence is there only where they bear it out."""
    sentences = [_ranking(board, findings.num_seeds) for board in findings.boards]
    if findings.limits is not None:
        for tell in (_order_limit, _beyond_order, _named_crosses, _pair_ceiling, _unreached):
            sentences.append(tell(findings, findings.limits))
    return [sentence for sentence in sentences if sentence]


def caveats(findings: Findings) -> list[str]:
    """What the numbers do not show."""
    sentences = [
        "One small budget for all, tuned for none: these are not the best numbers any model can reach, and another "
        "learning rate can change which one leads."
    ]
    if findings.limits is not None:
        sentences.append(
            "The data were built for this story, with standard deviations of .7, .9 and 1.2 for the first-, second- "
            "and third-order part. They say nothing about how much third order real logs hold."
        )
        sentences.append("One world was drawn: the noise is that of test rows and seeds, not that of other worlds.")
    return sentences


def _ranking(board: Board, num_seeds: int) -> str:
    if len(board.entries) == 1:
        return f"{board.title}: {board.entries[0].name} alone, nothing to rank."
    if num_seeds < 2:
        return f"{board.title}: not ranked. One seed cannot tell a model from its luck; ask for three."
    noise = f"{num_seeds} seeds, paired on the same test rows, 99 %"
    if len(board.bands) == 1:
        return f"{board.title}: no order is beyond the noise ({noise}); all {len(board.entries)} are tied."
    braces = " Inside a brace nothing is claimed." if len(board.bands) < len(board.entries) else ""
    return f"{board.title}: {order_sentence(board)}, beyond the noise ({noise}).{braces}"


def _order_limit(findings: Findings, limits: Limits) -> str:
    ladder = findings.ladder.entries if findings.ladder else ()
    blind = [entry for entry in ladder if abs(entry.slopes[2]) < BLIND]
    if not blind:
        return ""
    under = all(entry.mean("auc") < limits.orders[1] for entry in blind)
    line = f", and all stay under the order-2 line of {number(limits.orders[1], 4)}" if under else ""
    return (
        "Without an MLP and without the triples named, nothing of the third order is found: b3 is under "
        f"{number(BLIND, 2)} for {listed(entry.name for entry in blind)}{line}. The slope is the proof; AUC is not."
    )


def _beyond_order(findings: Findings, limits: Limits) -> str:
    found = [entry for entry in findings.entries if entry.family == MLP and entry.slopes[2] >= BLIND]
    if not found:
        return ""
    slopes = sorted(entry.slopes[2] for entry in found)
    reach = f"from {number(slopes[0], 2)} to {number(slopes[-1], 2)}" if len(found) > 1 else number(slopes[0], 2)
    return (
        f"An MLP is not bound to an order: b3 is {reach} for {listed(entry.name for entry in found)}, whatever stands "
        "beside it. How much is found is a matter of budget, not of ability: in a trial (one seed), a quarter of the "
        "rows left b3 at .01 to .16, three times the rows brought .80 to .85, and FM stayed at .00 with both."
    )


def _named_crosses(findings: Findings, limits: Limits) -> str:
    ladder = findings.ladder.entries if findings.ladder else ()
    named = [entry for entry in ladder if entry.slopes[2] >= BLIND]
    if not named:
        return ""
    best = _best(named)
    return (
        f"A cross that can be named is the cheapest: {best.name} has AUC {number(best.mean('auc'), 4)} with "
        f"{best.parameters:,} parameters after {best.mean('seconds'):.1f} s. But its crosses are the planted ones, "
        "and on real data nobody tells which they are."
    )


def _pair_ceiling(findings: Findings, limits: Limits) -> str:
    pair = [entry for entry in findings.entries if entry.family >= PAIR]
    if not pair:
        return ""
    best = _best(pair)
    return (
        f"Models of user and item do not see daytime, company and device: for them nothing above AUC "
        f"{number(limits.pair, 4)} exists, and {best.name} reaches {number(best.mean('auc'), 4)}."
    )


def _unreached(findings: Findings, limits: Limits) -> str:
    best = number(_best(findings.entries).mean("auc"), 4)
    return (
        f"Nobody reaches the truth, AUC {number(limits.orders[2], 4)} and log loss {number(limits.log_loss, 4)}: it "
        f"uses each user's own taste, which these rows are too few to tell in full. The best landmark has {best}."
    )


def _best(entries: Iterable[Entry]) -> Entry:
    return max(entries, key=lambda entry: entry.mean("auc"))


def listed(names: Iterable[str]) -> str:
    """Names as a phrase: a, b and c."""
    *most, last = list(names)
    return f"{', '.join(most)} and {last}" if most else last


def page(findings: Findings, *, footer: str) -> str:
    """The tour as one HTML page."""
    planted = findings.limits is not None
    title = "Crossfield tour: a cinema with nothing hidden" if planted else f"Crossfield tour: {findings.name}"
    lead = "Every landmark model so far, trained under one budget on the same rows" + (
        ": clicks made up by the package, so that the truth behind them is known." if planted else "."
    )
    sections = []
    for make in (_claims, _ladder, _leaderboard, _distances, _learnt, _speed, _calibration, _method):
        section = make(findings)
        sections += [section] if section else []
    return html_page(title, lead, sections, footer=footer)


def _claims(findings: Findings) -> Section:
    html = bullets(verdict(findings)) + "<h3>What it does not show</h3>" + bullets(caveats(findings))
    return Section("What it shows", html)


def _ladder(findings: Findings) -> Section | None:
    if findings.ladder is None:
        return None
    text = (
        "<p>Each of these is a polynomial of its inputs, so the highest order it can hold is read off its formula: one "
        "for logistic regression, two for FM and for dot products, that of the widest cross that was named, four for "
        "three cross layers. b1, b2 and b3 are the slopes of its logit on the planted first-, second- and third-order "
        "part: near 1 where the part is learnt, 0 where the model is blind to it.</p>"
    )
    return Section(
        "The order limit: models without an MLP", text + board_table(findings.ladder) + _slopes(findings.ladder)
    )


def _leaderboard(findings: Findings) -> Section:
    return Section("Leaderboard", "".join(board_table(board) for board in findings.boards))


def _distances(findings: Findings) -> Section:
    limits = findings.limits
    marks = _marks(findings)
    groups: list[DotGroup] = []
    for board in findings.boards:
        for position, band in enumerate(board.bands):
            rows = tuple(_dot_row(entry, limits.pair if limits and entry.family >= PAIR else None) for entry in band)
            groups.append(DotGroup(rows, board.title if position == 0 else ""))
    best = _best(findings.entries)
    chart = dot_chart(
        groups,
        marks,
        title="AUC of every model",
        description=f"Best is {best.name} with {number(best.mean('auc'), 4)}; all values stand in the leaderboard.",
        legend=_legend(findings),
    )
    caption = "Dot: mean over seeds. Small ticks: single seeds. Bar: 95 % interval over test rows. Blocks are bands."
    if limits:
        caption += (
            " Dashed lines: the best AUC that knows the effects up to that order, and the truth. Short violet lines: "
            f"the best that user and item allow, {number(limits.pair, 4)}."
        )
    return Section("How far each model gets", figure(chart, caption))


def _dot_row(entry: Entry, limit: float | None) -> DotRow:
    return DotRow(entry.name, entry.family, tuple(run.auc for run in entry.runs), *entry.interval(), limit)


def _legend(findings: Findings) -> tuple[str, ...]:
    last = max(entry.family for entry in findings.entries)
    return FAMILIES[: last + 1]


def _marks(findings: Findings) -> list[Mark]:
    if findings.limits is None:
        return []
    names = ("order 1", "order 2", "truth")
    return [Mark(value, name) for value, name in zip(findings.limits.orders, names, strict=True)]


def _learnt(findings: Findings) -> Section | None:
    if findings.limits is None:
        return None
    return Section("What each model has learnt", "".join(_slopes(board) for board in findings.boards))


def _slopes(board: Board) -> str:
    rows = [BarRow(entry.name, entry.family, entry.slopes) for entry in board.entries]
    chart = bar_chart(
        rows,
        ("b1: first order", "b2: second order", "b3: third order"),
        title=f"Slopes on the planted parts, {board.title}",
        description="The values stand in the columns b1, b2 and b3 of the leaderboard.",
        mark=Mark(1.0, "learnt"),
    )
    caption = (
        f"{board.title}. A logit shrinks when an effect is left out, so b1 and b2 of a model without the third order "
        "stay at about .6 to .8 even where it knows these parts well."
    )
    return figure(chart, caption)


def _speed(findings: Findings) -> Section | None:
    curves = [
        Curve(entry.name, entry.family, entry.curve) for entry in findings.boards[0].entries if len(entry.curve) > 0
    ]
    if not curves:
        return None
    chart = line_chart(
        curves,
        _marks(findings),
        title="AUC on validation rows after each epoch",
        description="The numbers are in the table below.",
        labels=("epoch", "AUC, validation"),
    )
    most = max(len(curve.values) for curve in curves)
    head = ["Model", *(f"Epoch {epoch}" for epoch in range(1, most + 1))]
    rows = [[curve.label, *_padded((number(value, 4) for value in curve.values), most)] for curve in curves]
    caption = "Means over seeds. Each run keeps the weights of its best epoch by validation rows, never by test rows."
    return Section("How soon", figure(chart, caption, plain_table(head, rows)))


def _padded(cells: Iterable[str], length: int) -> list[str]:
    found = list(cells)
    return [*found, *["–"] * (length - len(found))]


def _calibration(findings: Findings) -> Section:
    found = [entry.reliability for entry in findings.entries]
    chart = reliability_chart(
        found, title="Calibration of every model", description="The numbers are in the table below."
    )
    gaps = [[abs(a - b) for a, b in zip(one.predicted, one.observed, strict=True)] for one in found]
    rows = [
        [one.label, number(sum(gap) / len(gap), 4), number(max(gap), 4)] for one, gap in zip(found, gaps, strict=True)
    ]
    caption = (
        "Test rows of the first seed in bins of equal size: predicted probability to the right, share of positives up. "
        "On the dashed line a model means what it says. Calibration is not rank: a weak model can be well calibrated."
    )
    return Section("Calibration", figure(chart, caption, plain_table(["Model", "Mean gap", "Largest gap"], rows)))


def _method(findings: Findings) -> Section:
    return Section("How it was done, and how to read it", bullets([*_terms(findings), *findings.method]))


def _terms(findings: Findings) -> Sequence[str]:
    terms = [
        "AUC: the chance that a row with a click scores above one without. Log loss: the mean surprise, in nats. NE: "
        "log loss over that of the test rows' own click rate, so 1 is knowing nothing.",
        "Bands: a cut is made only where every model above it beats every model below it at 99 %, on the same test "
        "rows (DeLong's variance, by user where there are users) and over seeds.",
    ]
    if findings.limits:
        terms.append(
            "Share: how far a model's AUC has come from logistic regression (0 %) to the truth (100 %). b1, b2, b3: "
            "slopes of its logit on the planted parts."
        )
    return terms
