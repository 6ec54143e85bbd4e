"""Leaderboards in bands that noise cannot reorder, as text and as one self-contained page."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossfield.charts import Reliability, marker, number
from crossfield.files import write_bytes
from crossfield.metrics import student_t

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """One training with one seed, judged on the test rows.

    normalized_entropy: log loss over the entropy of the test rows' own rate. seconds: of training. curve:
    validation AUC after each epoch. slopes: of the logit on the planted parts, empty where none are planted.
    """

    seed: int
    auc: float
    log_loss: float
    normalized_entropy: float
    seconds: float
    curve: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of a leaderboard: all its runs, and what is needed to compare it row by row with another.

    family: number of the marker and colour. influence [G] float64: how far each group of test rows pushes the
    mean AUC of the runs up or down (``auc_influence``), the same groups for every entry. reliability: of the first
    run.
    """

    name: str
    adds: str
    family: int
    parameters: int
    runs: tuple[Run, ...]
    influence: Floats = field(repr=False)
    reliability: Reliability = field(repr=False)

    def mean(self, metric: str) -> float:
        """Mean of a metric over the runs."""
        return float(np.mean([getattr(run, metric) for run in self.runs]))

    def sd(self, metric: str) -> float:
        """Standard deviation of a metric over the runs, 0 for one run."""
        return float(np.std([getattr(run, metric) for run in self.runs], ddof=1)) if len(self.runs) > 1 else 0.0

    @property
    def slopes(self) -> tuple[float, ...]:
        """Mean slopes over the runs."""
        return tuple(np.mean([run.slopes for run in self.runs], 0).tolist())

    @property
    def curve(self) -> tuple[float, ...]:
        """Mean validation AUC over the runs, as far as all of them go."""
        shortest = min(len(run.curve) for run in self.runs)
        return tuple(np.mean([run.curve[:shortest] for run in self.runs], 0).tolist())

    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean AUC over test rows; what another seed would do is not in it."""
        half = 1.96 * math.sqrt(_variance(self.influence))
        return self.mean("auc") - half, self.mean("auc") + half

    def to_json(self) -> dict[str, Any]:
        """Plain values: name, parameters, mean and sd of every metric, the runs."""
        metrics = ("auc", "log_loss", "normalized_entropy", "seconds")
        return {
            "model": self.name,
            "parameters": self.parameters,
            **{metric: {"mean": self.mean(metric), "sd": self.sd(metric)} for metric in metrics},
            "slopes": list(self.slopes),
            "runs": [{**vars(run), "curve": list(run.curve), "slopes": list(run.slopes)} for run in self.runs],
        }


@dataclass(frozen=True)
class Board:
    """A leaderboard: models that see the same columns, in bands, best first.

    Every model of a band is better than every model of a later one; inside a band nothing is claimed.
    ceiling: best AUC that anything can reach here, where known; floor: the AUC that counts as 0 % of the way.
    """

    title: str
    bands: tuple[tuple[Entry, ...], ...]
    floor: float | None = None
    ceiling: float | None = None

    @property
    def entries(self) -> tuple[Entry, ...]:
        """All models, band by band."""
        return tuple(entry for band in self.bands for entry in band)

    def share(self, entry: Entry) -> float | None:
        """Part of the way from floor to ceiling that a model's AUC has gone; None where they are not known."""
        if self.floor is None or self.ceiling is None:
            return None
        return (entry.mean("auc") - self.floor) / (self.ceiling - self.floor)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rows = [
            {"band": number_, "share": self.share(entry), **entry.to_json()}
            for number_, band in enumerate(self.bands, start=1)
            for entry in band
        ]
        return {"title": self.title, "floor": self.floor, "ceiling": self.ceiling, "rows": rows}


@dataclass(frozen=True)
class Section:
    """A part of the page: a heading and ready HTML below it."""

    title: str
    html: str


def auc_influence(
    labels: Floats, logits: Floats, groups: NDArray[np.int64], *, weights: Floats | None = None
) -> Floats:
    """How far each group of rows pushes the (weighted) AUC from its mean, [number of distinct groups] float64, sum 0.

    The structural components of DeLong, DeLong and Clarke-Pearson (1988): the variance of an AUC, or of the
    difference of two on the same rows, is the sum of the squared (differences of) influences. Ties count half. A row of
    group 0 is a group of its own.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    positive = labels > 0
    influence = np.empty(len(labels))
    for own, sign in ((positive, 1), (~positive, -1)):
        beaten = _share_below(sign * logits[own], sign * logits[~own], weights[~own])
        whole = weights[own].sum() or 1.0
        influence[own] = weights[own] * (beaten - (weights[own] * beaten).sum() / whole) / whole
    is_known = groups != 0
    owners = np.arange(len(groups))
    owners[is_known] = len(groups) + np.unique(groups[is_known], return_inverse=True)[1]
    owners = np.unique(owners, return_inverse=True)[1]
    return np.asarray(np.bincount(owners, influence), dtype=np.float64)


def _share_below(values: Floats, others: Floats, weights: Floats) -> Floats:
    """What share of the others' weight lies below each value; ties count half."""
    order = np.argsort(others)
    below = np.concatenate([[0.0], np.cumsum(weights[order])])
    left, right = (np.searchsorted(others[order], values, side) for side in ("left", "right"))
    return np.asarray((below[left] + below[right]) / (2 * (below[-1] or 1.0)))


def better(one: Entry, other: Entry) -> bool:
    """Whether one model's AUC is above another's beyond the noise of test rows and seeds, at 99 %.

    Never with a single run each: how far a seed moves a model is then not known.
    """
    if min(len(one.runs), len(other.runs)) < 2:
        return False
    of_seeds = [entry.sd("auc") ** 2 / len(entry.runs) for entry in (one, other)]
    degrees = _degrees(of_seeds, [len(entry.runs) - 1 for entry in (one, other)])
    half = student_t(0.99, degrees) * math.sqrt(_variance(one.influence - other.influence) + sum(of_seeds))
    return one.mean("auc") - other.mean("auc") > half


def _degrees(variances: Sequence[float], degrees: Sequence[int]) -> float:
    """Degrees of freedom of the sum of two variances (Welch and Satterthwaite): those of one where the other is 0."""
    if not any(variances):
        return sum(degrees)
    return sum(variances) ** 2 / sum(one**2 / freedom for one, freedom in zip(variances, degrees, strict=True))


def _variance(influence: Floats) -> float:
    num_groups = len(influence)
    return float((influence**2).sum()) * num_groups / max(num_groups - 1, 1)


def in_bands(
    entries: Iterable[Entry], better: Callable[[Entry, Entry], bool] = better
) -> tuple[tuple[Entry, ...], ...]:
    """Bands, best first: cut only where every model before the cut is better than every model after it.

    Inside a band the models stand in the order of their names, which claims nothing.
    """
    ordered = sorted(entries, key=lambda entry: -entry.mean("auc"))
    bands: list[tuple[Entry, ...]] = []
    start = 0
    for cut in range(1, len(ordered) + 1):
        if all(better(one, other) for one in ordered[:cut] for other in ordered[cut:]):
            bands.append(tuple(sorted(ordered[start:cut], key=lambda entry: entry.name)))
            start = cut
    return tuple(bands)


def order_sentence(board: Board) -> str:
    """The bands in one line, worst first: ``logistic_regression < fm < {dcn, dnn}``."""
    names = [[entry.name for entry in band] for band in reversed(board.bands)]
    return " < ".join(one[0] if len(one) == 1 else "{" + ", ".join(one) + "}" for one in names)


def format_board(board: Board) -> str:
    """A leaderboard as plain text, about 100 columns wide, two lines per model."""
    planted = any(entry.slopes for entry in board.entries)
    head = f"  {'':36}{'AUC':>7} {'± sd':>7} {'log loss':>9} {'NE':>6}"
    head += f" {'share':>6} {'b1 / b2 / b3':>15}" if planted else ""
    lines = [board.title, f"{head} {'seconds':>8} {'parameters':>11}"]
    for position, band in enumerate(board.bands, start=1):
        lines.append(f"  band {position}{_ties(band)}")
        for entry in band:
            lines += [f"  {_cells(board, entry, planted)}", f"      {entry.adds}"]
    return "\n".join(lines)


def _cells(board: Board, entry: Entry, planted: bool) -> str:
    auc, sd = number(entry.mean("auc"), 4), sd_text(entry)
    text = f"  {entry.name:34}{auc:>7} {sd:>7} {number(entry.mean('log_loss'), 4):>9}"
    text += f" {number(entry.mean('normalized_entropy')):>6}"
    if planted:
        slopes = " / ".join(number(slope, 2) for slope in entry.slopes)
        text += f" {_percent(board.share(entry)):>6} {slopes:>15}"
    return f"{text} {entry.mean('seconds'):>8.1f} {entry.parameters:>11,}"


def sd_text(entry: Entry) -> str:
    """Standard deviation of the AUC over seeds, a dash where there is one seed."""
    return f"±{number(entry.sd('auc'), 4)}" if len(entry.runs) > 1 else "–"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _ties(band: Sequence[Entry]) -> str:
    if len(band) == 1:
        return ""
    if len(band[0].runs) < 2:
        return ": not ranked, one seed cannot tell a model from its luck"
    return f": {len(band)} models tied, not ranked among each other"


def board_table(board: Board) -> str:
    """A leaderboard as an HTML table, one row group per band."""
    planted = any(entry.slopes for entry in board.entries)
    names = ["Model", "AUC", "Log loss", "NE", *(["Share", "b1", "b2", "b3"] if planted else [])]
    names += ["Seconds", "Parameters"]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    bodies = []
    for position, band in enumerate(board.bands, start=1):
        title = f'<tr class="band"><th colspan="{len(names)}" scope="rowgroup">Band {position}{_ties(band)}</th></tr>'
        bodies.append(f"<tbody>{title}{''.join(_row(board, entry, planted) for entry in band)}</tbody>")
    caption = f"<caption>{escape(board.title)}</caption>"
    table = f'<table class="board">{caption}<thead><tr>{head}</tr></thead>{"".join(bodies)}</table>'
    return f'<div class="scroll">{table}</div>'


def _row(board: Board, entry: Entry, planted: bool) -> str:
    cells = [f"{number(entry.mean('auc'), 4)}<small>{sd_text(entry)}</small>", number(entry.mean("log_loss"), 4)]
    cells.append(number(entry.mean("normalized_entropy")))
    if planted:
        cells += [_percent(board.share(entry)), *(number(slope, 2) for slope in entry.slopes)]
    cells += [f"{entry.mean('seconds'):.1f}", f"{entry.parameters:,}"]
    name = f"{marker(entry.family)}<code>{escape(entry.name)}</code><small>{escape(entry.adds)}</small>"
    return f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def figure(chart: str, caption: str, table: str = "") -> str:
    """A chart with its caption and, folded away, the numbers it was drawn from."""
    numbers = f"<details><summary>The numbers</summary>{table}</details>" if table else ""
    return f'<figure><div class="scroll">{chart}</div><figcaption>{caption}</figcaption>{numbers}</figure>'


def plain_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Text cells as an HTML table; the first cell of a row is its heading."""
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def bullets(sentences: Iterable[str]) -> str:
    """Sentences as an HTML list."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def html_page(title: str, lead: str, sections: Sequence[Section], *, footer: str) -> str:
    """One self-contained page, light or dark as the reader's system is; nothing is loaded from anywhere."""
    style = files("crossfield").joinpath("report.css").read_text(encoding="utf-8")
    body = "".join(
        f'<section id="part-{position}"><h2>{escape(section.title)}</h2>{section.html}</section>'
        for position, section in enumerate(sections, start=1)
    )
    links = "".join(
        f'<li><a href="#part-{position}">{escape(section.title)}</a></li>'
        for position, section in enumerate(sections, start=1)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f'<meta name="color-scheme" content="light dark"><title>{escape(title)}</title><style>{style}</style></head>'
        f"<body><header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>"
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>'
        f"<main>{body}</main><footer>{escape(footer)}</footer></body></html>\n"
    )


def write_page(path: Path, page: str) -> None:
    """Write a page whole or not at all."""
    write_bytes(path, page.encode())
