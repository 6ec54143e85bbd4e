"""The landmarks of the tour: what each adds to the ones before, and the sizes all of them get."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossfield.data.cinema import PAIRS, TRIPLES
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.schema import ModelSchema

Crosses = tuple[tuple[str, ...], ...]

SIZES: dict[str, Any] = {
    "embedding_dim": 8,
    "mlp_embedding_dim": 8,
    "embedding_std": 0.1,
    "deep": (128, 64),
    "bottom": (64,),
    "top": (128, 64),
}
"""What every model is told, as far as it has such a setting."""
FAMILIES = ("linear", "products of vectors", "with an MLP", "user and item only", "counts")
"""What the markers and colours mean; a family's number is its place."""
LINEAR, PRODUCTS, MLP, PAIR, COUNTS = range(5)


@dataclass(frozen=True)
class Landmark:
    """A catalogue model as the tour shows it.

    adds: what it adds to the ones before, in one line. family: its place in ``FAMILIES``. crosses: named
    ones it is given. settings: besides the common sizes.
    """

    name: str
    model: str
    family: int
    adds: str
    crosses: Crosses = ()
    settings: Mapping[str, Any] | None = None


LANDMARKS = (
    Landmark("popularity", "popularity", COUNTS, "The click rate of each item, the same for everybody: the floor."),
    Landmark(
        "logistic_regression",
        "logistic_regression",
        LINEAR,
        "One weight per value: first order, blind to every combination.",
    ),
    Landmark("mf", "mf", PAIR, "One vector per user and per item, matched by a dot product: no features to make."),
    Landmark("gmf", "gmf", PAIR, "MF with a learnt weight for every dimension of the product."),
    Landmark(
        "mlp", "mlp", PAIR, "An MLP instead of the product: it has to learn what a dot product gives for nothing."
    ),
    Landmark("neumf", "neumf", PAIR, "GMF and MLP side by side, each with vectors of its own."),
    Landmark(
        "fm",
        "fm",
        PRODUCTS,
        "A vector for every value of every column, all pairs by dot products: second order, unnamed.",
    ),
    Landmark("dnn", "dnn", MLP, "An MLP on the vectors: any order, as far as rows and steps allow."),
    Landmark("wide_deep", "wide_deep", MLP, "The DNN beside a linear part for crosses named by hand.", crosses=PAIRS),
    Landmark(
        "dcn", "dcn", MLP, "Cross layers beside the MLP: each raises the order by one, for one vector of weights."
    ),
    Landmark("deepfm", "deepfm", MLP, "FM and an MLP on the same vectors: both at once, no crosses to name."),
    Landmark("dlrm", "dlrm", MLP, "All pairs by dot products, then an MLP on top of these."),
)
"""The models of the catalogue, simplest first."""
LADDER = (
    Landmark(
        "logistic_regression + 3 pairs",
        "logistic_regression",
        LINEAR,
        "Three true pairs of columns named as crosses: second order, in these pairs.",
        PAIRS,
    ),
    Landmark(
        "logistic_regression + 6 crosses",
        "logistic_regression",
        LINEAR,
        "The three true triples named as well as the pairs: third order from a linear model.",
        PAIRS + TRIPLES,
    ),
    Landmark(
        "dlrm without its MLP",
        "dlrm",
        PRODUCTS,
        "The dot products alone, weighted: second order.",
        settings={"top": ()},
    ),
    Landmark(
        "dcn without its MLP",
        "dcn",
        PRODUCTS,
        "Three cross layers alone: fourth order in form, but of rank one, and that is little.",
        settings={"deep": ()},
    ),
)
"""Models without an MLP that are not landmarks, but show what limits an order."""
NO_MLP = ("logistic_regression", "fm", *(one.name for one in LADDER))
"""Everything without an MLP that sees every column."""


def build(landmark: Landmark, schema: ModelSchema) -> Model:
    """An untrained landmark in the tour's sizes; raises SchemaError where the columns are not enough for it."""
    model = CATALOGUE[landmark.model]
    settings = {**SIZES, **(landmark.settings or {})}
    config = model.config_type.of({key: settings[key] for key in model.config_type.model_fields if key in settings})
    return model(schema, config)
