"""The landmarks of the tour: what each adds to the ones before, and the sizes all of them get."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crossfield.data.cinema import PAIRS, TRIPLES, column_sizes
from crossfield.layers.unseen import NUM_SPECIAL
from crossfield.models import CATALOGUE
from crossfield.models.base import Model
from crossfield.schema import Field, Kind, ModelSchema

Crosses = tuple[tuple[str, ...], ...]

SIZES: dict[str, Any] = {
    "embedding_dim": 8,
    "mlp_embedding_dim": 8,
    "embedding_std": 0.1,
    "deep": (128, 64),
    "bottom": (64,),
    "top": (128, 64),
    "deep_1": (128, 64),
    "deep_2": (128, 64),
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
    Landmark(
        "neumf", "neumf", PAIR, "The fixed product and the learnt match at once, which start from vectors of their own."
    ),
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
    Landmark("deepfm", "deepfm", MLP, "Pairs for nothing, the rest by the MLP: no crosses to name."),
    Landmark("dlrm", "dlrm", MLP, "The MLP is handed the pairs and need not find them."),
    Landmark(
        "xdeepfm",
        "xdeepfm",
        MLP,
        "An MLP, and layers that multiply whole vectors with the columns': each raises the order by one.",
        settings={"cin": (12, 12)},
    ),
    Landmark(
        "dcn_v2", "dcn_v2", MLP, "DCN with a matrix of weights per cross layer: an order that is not of rank one."
    ),
    Landmark(
        "dhen",
        "dhen",
        MLP,
        "Several interactions at once, then again on what they made: each layer doubles the order.",
        settings={"layers": (("dot", "cross"), ("dot", "cross")), "dot": ()},
    ),
    Landmark("finalmlp", "finalmlp", MLP, "Two MLPs, each with its own view of the columns, and products of the two."),
)
"""From counting to FinalMLP, simplest first: what the tour shows by default."""
LATER: tuple[Landmark, ...] = (
    Landmark("dualmlp", "dualmlp", MLP, "FinalMLP without its gates and products: what is left shows what they add."),
    Landmark(
        "masknet", "masknet", MLP, "An MLP whose every block is first multiplied by a mask made from all columns."
    ),
    Landmark("finalnet", "finalnet", MLP, "Layers that multiply half of what they give by the other half."),
    Landmark(
        "fcn",
        "fcn",
        PRODUCTS,
        "Two cross networks with half the weights: orders rise by one in one, double in the other.",
    ),
    Landmark(
        "dcn_mix", "dcn_mix", MLP, "DCN-V2 with narrow matrices, several per layer, which a gate weighs anew per row."
    ),
    Landmark(
        "autoint",
        "autoint",
        PRODUCTS,
        "Attention between the columns: which ones meet is found anew for every row.",
        settings={"deep": (), "num_layers": 2, "head_dim": 8},
    ),
    Landmark(
        "fibinet", "fibinet", MLP, "Weights for the columns, found for every row, and products with a matrix inside."
    ),
    Landmark("gdcn", "gdcn", MLP, "DCN-V2's cross layers, each with a gate that decides which crosses go on."),
    Landmark(
        "eulernet",
        "eulernet",
        MLP,
        "Powers of complex numbers, learnt: which columns multiply, and how often, is not set by hand.",
        settings={"orders": (16,)},
    ),
    Landmark(
        "wukong",
        "wukong",
        MLP,
        "Pairs of pairs: an FM whose output is vectors again, so that each layer doubles the order.",
        settings={"num_layers": 2, "num_fm_vectors": 8, "num_linear_vectors": 8, "fm_rank": 8, "fm_hidden": (64,)},
    ),
    Landmark(
        "rankmixer",
        "rankmixer",
        MLP,
        "No products at all: columns swap parts for free, and each place has an MLP of its own.",
        settings={"token_dim": 32, "expansion": 2},
    ),
    Landmark("ials", "ials", PAIR, "MF over all pairs at once, the unchosen ones too: solved instead of trained."),
    Landmark("ease", "ease", PAIR, "No vectors: a weight from every item to every other, by inverting one matrix."),
)
"""Every other model of the catalogue; the tour shows them with ``--all``."""
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
    Landmark(
        "dcn_v2, 1 layer, without its MLP",
        "dcn_v2",
        PRODUCTS,
        "One cross layer with a matrix: second order.",
        settings={"num_cross_layers": 1, "deep": ()},
    ),
    Landmark(
        "dcn_v2, 2 layers, without its MLP",
        "dcn_v2",
        PRODUCTS,
        "A second cross layer: third order.",
        settings={"num_cross_layers": 2, "deep": ()},
    ),
    Landmark(
        "xdeepfm, 1 layer, without its MLP",
        "xdeepfm",
        PRODUCTS,
        "One layer of products of whole vectors: second order.",
        settings={"cin": (12,), "deep": ()},
    ),
    Landmark(
        "xdeepfm, 2 layers, without its MLP",
        "xdeepfm",
        PRODUCTS,
        "A second layer multiplies with the columns' vectors once more: third order.",
        settings={"cin": (12, 12), "deep": ()},
    ),
    Landmark(
        "dhen, 1 layer, without its MLP",
        "dhen",
        PRODUCTS,
        "One layer of dot products and crosses, without its norm: second order.",
        settings={"layers": (("dot", "cross"),), "layer_norm": False, "dot": (), "top": ()},
    ),
    Landmark(
        "dhen, 2 layers, without its MLP",
        "dhen",
        PRODUCTS,
        "A second layer crosses what the first one crossed: up to fourth order.",
        settings={"layers": (("dot", "cross"), ("dot", "cross")), "layer_norm": False, "dot": (), "top": ()},
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


def cinema_schema(crosses: Crosses = ()) -> ModelSchema:
    """The cinema's columns as models see them, its user and film named, and crosses that feed wide parts."""
    sizes = column_sizes()
    columns = [Field(name, size + NUM_SPECIAL) for name, size in sizes.items()]
    named = [
        Field(" x ".join(of), math.prod(sizes[one] for one in of) + NUM_SPECIAL, Kind.CROSS, embed=False)
        for of in crosses
    ]
    return ModelSchema(categorical=(*columns, *named), user="user", item="film")
