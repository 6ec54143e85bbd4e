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
from crossfield.landmarks import FAMILIES, LADDER, LINEAR, MLP, PAIR
from crossfield.report import (
    Board,
    Entry,
    Section,
    better,
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
        sentences += [tell(findings, findings.limits) for tell in TELLERS]
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
    braces = _inside_braces(board) if len(board.bands) < len(board.entries) else ""
    return f"{board.title}: {order_sentence(board)}, beyond the noise ({noise}).{braces}"


def _inside_braces(board: Board) -> str:
    """Which of the best band are each above others of it, though no cut can be made."""
    band = board.bands[0]
    above = {one: {other for other in band if better(one, other)} for one in band}
    leaders = [one for one in band if above[one] and not any(one in some for some in above.values())]
    behind = [one for one in band if leaders and all(one in above[leader] for leader in leaders)]
    if not behind:
        return " Inside a brace nothing is claimed."
    return (
        f" Inside the last brace, as far beyond the noise: {listed(one.name for one in leaders)} above "
        f"{listed(one.name for one in behind)}; nothing more is claimed inside braces."
    )


def _ladder_entries(findings: Findings) -> tuple[Entry, ...]:
    return findings.ladder.entries if findings.ladder else ()


def _sees(entry: Entry) -> bool:
    """Whether the third order has left a trace in a model's logit."""
    return entry.slopes[2] >= BLIND


def _order_limit(findings: Findings, limits: Limits) -> str:
    blind = [entry for entry in _ladder_entries(findings) if abs(entry.slopes[2]) < BLIND]
    if not blind:
        return ""
    under = all(entry.mean("auc") < limits.orders[1] for entry in blind)
    line = f", and all stay under the order-2 line of {number(limits.orders[1], 4)}" if under else ""
    return (
        "Without an MLP a model finds what its form can hold and no more: b3 is under "
        f"{number(BLIND, 2)} for {listed(entry.name for entry in blind)}{line}. The slope is the proof; AUC is not."
    )


def _one_more_layer(findings: Findings, limits: Limits) -> str:
    steps = {}
    for model in dict.fromkeys(one.model for one in LADDER if one.family != LINEAR):
        names = [one.name for one in LADDER if one.model == model]
        found = sorted(entry.slopes[2] for entry in _ladder_entries(findings) if entry.name in names)
        if len(found) > 1 and abs(found[0]) < BLIND <= found[-1]:
            steps[model] = f"from {number(found[0], 2)} to {number(found[-1], 2)} for {model}"
    if not steps:
        return ""
    return (
        f"One more layer, and the third order is there: with a second one instead of the first alone, and no MLP, b3 "
        f"goes {listed(steps.values())}."
    )


def _explicit(findings: Findings) -> set[str]:
    """Catalogue names of the models that find the third order without their MLP too."""
    seeing = {entry.name for entry in _ladder_entries(findings) if _sees(entry) and entry.family != LINEAR}
    return {one.model for one in LADDER if one.name in seeing}


def _bare_form(findings: Findings, limits: Limits) -> str:
    """Whether a model is any better than the part of it that finds the third order without an MLP."""
    told = []
    for whole in findings.entries:
        names = {one.name for one in LADDER if one.model == whole.name and one.family != LINEAR}
        bare = [one for one in _ladder_entries(findings) if one.name in names and _sees(one)]
        if bare and _best(bare).mean("auc") >= whole.mean("auc"):
            best = _best(bare)
            told.append(
                f"{whole.name} has AUC {number(whole.mean('auc'), 4)}, {best.name} {number(best.mean('auc'), 4)}"
            )
    if not told:
        return ""
    return f"Where the form is enough, the whole model is no better than the bare form: {'; '.join(told)}."


def _beyond_order(findings: Findings, limits: Limits) -> str:
    others = [one for one in findings.entries if one.family == MLP and one.name not in _explicit(findings)]
    found = [entry for entry in others if _sees(entry)]
    if not found:
        return ""
    return (
        f"An MLP is not bound to an order: b3 is {_reach(entry.slopes[2] for entry in found)} for "
        f"{listed(entry.name for entry in found)}, whatever stands beside it. How much is found is a matter of budget, "
        "not of ability: in a trial (one seed, the models up to dlrm), a quarter of the rows left b3 at .01 to .16, "
        "three times the rows brought .80 to .85, and FM stayed at .00 with both."
    )


def _how_soon(findings: Findings, limits: Limits) -> str:
    explicit = _explicit(findings)
    trained = [entry for entry in findings.entries if entry.family == MLP and len(entry.curve) > 1]
    having = [entry for entry in trained if entry.name in explicit]
    others = [entry for entry in trained if entry.name not in explicit]
    if not having or not others:
        return ""
    best = max(entry.mean("auc") for entry in others)
    ahead, rest = ([one.name for one in having if (one.mean("auc") > best) is is_ahead] for is_ahead in (True, False))
    end = f"above each of those: {listed(ahead or ['none'])}" + (f"; not so: {listed(rest)}" if ahead and rest else "")
    return (
        f"How soon: after two epochs validation AUC is {_reach((entry.curve[1] for entry in having), 3)} for "
        f"{listed(entry.name for entry in having)}, whose forms reach the third order without the MLP, and "
        f"{_reach((entry.curve[1] for entry in others), 3)} for the other models with an MLP. On test rows, at the "
        f"end, {end}."
    )


def _reach(values: Iterable[float], digits: int = 2) -> str:
    """The range of some values in words."""
    least, *rest = sorted(values)
    return f"from {number(least, digits)} to {number(rest[-1], digits)}" if rest else number(least, digits)


def _named_crosses(findings: Findings, limits: Limits) -> str:
    ladder = _ladder_entries(findings)
    named = [entry for entry in ladder if entry.family == LINEAR and _sees(entry)]
    if not named:
        return ""
    best = _best(named)
    seeing = [entry for entry in (*ladder, *findings.entries) if _sees(entry)]
    cheapest = (
        "is the cheapest" if best.parameters == min(one.parameters for one in seeing) else "needs no model for it"
    )
    return (
        f"A cross that can be named {cheapest}: {best.name} has AUC {number(best.mean('auc'), 4)} with "
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
        "<p>Each of these is a polynomial of its inputs, so the highest order it can hold is read off its formula: "
        "one for logistic regression; that of the widest cross that was named; two for FM, for dot products and for "
        "one layer of dcn_v2, xdeepfm or dhen; with a second layer three, of dhen four. Three cross layers of dcn hold "
        "four too, but of rank one. b1, b2 and b3 are the slopes of its logit on the planted first-, second- and "
        "third-order part: near 1 where the part is learnt, 0 where the model is blind to it.</p>"
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
        "Seconds: CPU time of one training on one thread.",
        "Bands: a cut is made only where every model above it beats every model below it at 99 %, on the same test "
        "rows (DeLong's variance, by user where there are users) and over seeds.",
    ]
    if findings.limits:
        terms.append(
            "Share: how far a model's AUC has come from logistic regression (0 %) to the truth (100 %). b1, b2, b3: "
            "slopes of its logit on the planted parts."
        )
    return terms


TELLERS = (
    _order_limit,
    _one_more_layer,
    _beyond_order,
    _how_soon,
    _bare_form,
    _named_crosses,
    _pair_ceiling,
    _unreached,
)
"""What is told of planted data, most important first."""
