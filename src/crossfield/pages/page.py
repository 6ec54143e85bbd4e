"""What stands on the page of a model: everything is read off its class, its config and a traced forward pass."""

import inspect
import json
import sys
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

import torch

from crossfield.config import settings_of
from crossfield.landmarks import LANDMARKS, LATER, Landmark, build, cinema_schema
from crossfield.layers.embedding import EmbeddingArena
from crossfield.models import CATALOGUE
from crossfield.models.base import Model, num_numbers
from crossfield.pages.differences import differences
from crossfield.pages.flow import Flow, flat_flow, nested_flow
from crossfield.pages.lanes import lanes
from crossfield.pages.published import PUBLISHED, Published
from crossfield.pages.trace import trace_model
from crossfield.schema import ModelSchema


@dataclass(frozen=True)
class Measured:
    """Ours on a public data set; measured.json holds one per row of the tables that ``crossfield reproduce`` runs.

    row: TABLE/ROW. data: the table's title. metrics: mean and standard deviation over seeds, by name.
    """

    row: str
    data: str
    model: str
    seeds: int
    metrics: dict[str, tuple[float, float]]
    parameters: int


@dataclass(frozen=True, eq=False)
class Page:
    """All that is said about a model.

    idea: two sentences. formula: the rest of its docstring. nested and flat: its data flow on the tour's columns.
    flops: of one example there; matrix_flops: those of them in products of matrices. dense_enter: where dense
    features, which the tour has none of, would come in.
    """

    name: str
    paper: str
    link: str
    idea: str
    formula: str
    nested: Flow
    flat: Flow
    parameters: int
    table_parameters: int
    flops: int
    matrix_flops: int
    dense_enter: tuple[str, ...]
    settings: tuple[dict[str, str], ...]
    published: tuple[Published, ...]
    measured: tuple[Measured, ...]
    differences: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, the flow as lines of text."""
        plain = {key: value for key, value in vars(self).items() if key not in ("nested", "flat")}
        plain |= {
            "published": [vars(one) for one in self.published],
            "measured": [asdict(one) for one in self.measured],
        }
        plain["differences"] = [{"where": where, "what": what} for where, what in self.differences]
        return {**plain, "flow": lanes(self.flat)}


def paper_of(kind: type[Model]) -> dict[str, str]:
    """The paper and its address, from the first and the last line of a model's file."""
    lines = (sys.modules[kind.__module__].__doc__ or "").strip().splitlines()
    return {"paper": lines[0], "link": lines[-1] if len(lines) > 1 else ""}


def idea_and_formula(kind: type[Model]) -> tuple[str, str]:
    """A class docstring parted where its first sentence comes to the formula."""
    first, _, rest = (inspect.getdoc(kind) or "").partition("\n\n")
    idea, _, formula = first.partition(": ")
    if "=" not in formula:
        idea, formula = first, ""
    return idea.rstrip(".") + ".", "\n\n".join(part for part in (formula, rest) if part)


def landmark_of(name: str) -> Landmark:
    """How the tour shows a model of the catalogue."""
    return next(one for one in (*LANDMARKS, *LATER) if one.name == name)


def model_page(name: str) -> Page:
    """Everything about a model of the catalogue, its flow traced on the tour's columns in the tour's sizes."""
    kind, landmark = CATALOGUE[name], landmark_of(name)
    idea, formula = idea_and_formula(kind)
    model = _built(landmark, cinema_schema(landmark.crosses))
    trace = trace_model(model)
    columns = {"ids": ", ".join(one.name for one in model.schema.categorical)}
    arenas = [one for one in model.modules() if isinstance(one, EmbeddingArena)]
    return Page(
        name=name,
        **paper_of(kind),
        idea=f"{idea} {landmark.adds}",
        formula=formula,
        nested=nested_flow(trace, columns),
        flat=flat_flow(trace, columns),
        parameters=num_numbers(model),
        table_parameters=sum(one.weight.numel() for one in arenas),
        flops=sum(trace.flops.values()),
        matrix_flops=sum(trace.matrix_flops.values()),
        dense_enter=_where_dense_enter(landmark),
        settings=tuple(settings_of(kind.config_type)),
        published=PUBLISHED.get(name, ()),
        measured=tuple(one for one in measured() if one.model == name),
        differences=tuple(differences(kind)),
    )


def _built(landmark: Landmark, schema: ModelSchema) -> Model:
    with torch.random.fork_rng():
        return build(landmark, schema)


def _where_dense_enter(landmark: Landmark) -> tuple[str, ...]:
    schema = cinema_schema(landmark.crosses)
    model = _built(landmark, ModelSchema(("price", "year"), schema.categorical, (), schema.user, schema.item))
    flow = flat_flow(trace_model(model), {})
    return tuple(edge.target.name for edge in flow.edges if edge.source.name == "dense" and edge.source.kind == "input")


def measured() -> list[Measured]:
    """Ours, as `make docs` last read them off the result lines."""
    text = files("crossfield.pages").joinpath("measured.json").read_text(encoding="utf-8")
    return [
        Measured(**{**one, "metrics": {name: tuple(values) for name, values in one["metrics"].items()}})
        for one in json.loads(text)
    ]
