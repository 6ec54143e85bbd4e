"""The tables of published results: what each row says of its run, checked against the counts that were logged."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from crossfield.data.public import PUBLIC
from crossfield.footprint import outline
from crossfield.models.base import Model
from crossfield.proof import Table, table_names
from crossfield.ranker import Ranker
from crossfield.recipe import Recipe
from crossfield.schema import Field, Kind, ModelSchema

TABLES = {name: Table.read(name) for name in table_names()}
NAMES = ["avazu_x4", "criteo_x4", "movielens_1m_ctr", "movielenslatest_x1", "pinterest"]
ROWS = [(table, row.name) for table in NAMES for row in TABLES[table].rows]


def recipe_of(table: str, name: str) -> Recipe:
    return TABLES[table].row(name).recipe(0)


def schema_of(sizes: Mapping[str, int], multi: Mapping[str, int] | None = None) -> ModelSchema:
    single = tuple(Field(name, rows) for name, rows in sizes.items())
    several = tuple(Field(name, rows, Kind.MULTI) for name, rows in (multi or {}).items())
    roles = {role: next((name for name in (role, f"{role}_id") if name in sizes), None) for role in ("user", "item")}
    return ModelSchema(categorical=single, sequences=several, **roles)


def tiny_schema(table: str) -> ModelSchema:
    options = PUBLIC[TABLES[table].spec.data].options
    kinds = options.kinds or {str(options.user): Kind.CATEGORICAL, str(options.item): Kind.CATEGORICAL}
    multi = {name: 5 for name, kind in kinds.items() if kind is Kind.MULTI}
    return schema_of({name: 7 for name in kinds if name not in multi}, multi)


def num_weights(model: Model) -> int:
    return sum(one.numel() for one in model.parameters())


@pytest.mark.parametrize("name", list(TABLES))
def test_a_table_says_what_its_reader_needs(name: str) -> None:
    table = TABLES[name].spec
    assert table.data in PUBLIC and 0 < table.margin <= 0.005
    assert len(table.about) > 200 and table.title and table.published
    for row in table.row:
        assert not row.expected or table.metrics[0] in row.expected


@pytest.mark.parametrize(("table", "name"), ROWS)
def test_a_row_is_a_recipe_whose_model_can_be_built(table: str, name: str) -> None:
    recipe = recipe_of(table, name)
    assert TABLES[table].spec.data.replace("-", "_") == table
    model = outline(recipe, tiny_schema(table))
    assert num_weights(model) > 0 or recipe.name == "popularity"


def test_pre_trained_models_start_from_rows_of_their_own_shape() -> None:
    for row in TABLES["pinterest"].rows:
        starts = [recipe_of("pinterest", name).model.model_dump() for name in row.spec.start_from]
        if starts:
            gmf, mlp = starts
            own = row.recipe(0).model.model_dump()
            assert own["embedding_dim"] == gmf["embedding_dim"]
            assert (own["mlp_embedding_dim"], own["hidden"]) == (mlp["embedding_dim"], mlp["hidden"])


# What the logs say. FuxiCTR 1 has one row for missing and unseen values, FuxiCTR 2 and we have two.
TOTALS = {"criteo_x4": (39, 910_747), "avazu_x4": (24, 3_750_999), "movielenslatest_x1": (3, 90_242)}


def published_schema(table: str, version: int) -> ModelSchema:
    """As many table rows as the benchmark had; how they are spread over the fields changes no count here."""
    num_fields, num_rows = TOTALS[table]
    spread = num_rows - (0 if version == 2 else num_fields) - 3 * (num_fields - 1)
    names = ["user_id", "item_id", "tag_id"] if num_fields == 3 else [f"field_{i}" for i in range(num_fields)]
    return schema_of({name: 3 if number else spread for number, name in enumerate(names)})


# Rows whose model is ours to the last weight.
EQUAL = [
    ("criteo_x4", 1, "logistic_regression", 910_709),
    ("criteo_x4", 1, "fm", 15_482_037),
    ("criteo_x4", 1, "crossnet", 14_581_937),
    ("criteo_x4", 1, "fibinet", 71_104_747),
    ("criteo_x4", 2, "dcn_v2", 20_382_577),
    ("criteo_x4", 2, "finalmlp", 19_524_954),
    ("criteo_x4", 2, "finalnet", 18_153_050),
    ("criteo_x4", 2, "fcn", 15_944_754),
    ("avazu_x4", 1, "fm", 63_766_576),
    ("avazu_x4", 1, "deepfm", 76_544_576),
    ("avazu_x4", 1, "wide_deep", 76_544_576),
    ("avazu_x4", 1, "xdeepfm_cin", 68_684_176),
    ("avazu_x4", 1, "dcn_v2", 73_385_345),
    ("avazu_x4", 2, "finalnet", 69_766_586),
    ("avazu_x4", 2, "fcn", 240_735_242),
    ("movielenslatest_x1", 1, "logistic_regression", 90_240),
    ("movielenslatest_x1", 1, "fm", 992_630),
    ("movielenslatest_x1", 1, "crossnet", 902_841),
    ("movielenslatest_x1", 1, "dcn_v2_crossnet", 909_861),
    ("movielenslatest_x1", 1, "xdeepfm_cin", 1_002_390),
    ("movielenslatest_x1", 1, "wide_deep", 1_328_630),
    ("movielenslatest_x1", 1, "deepfm", 1_328_630),
    ("movielenslatest_x1", 1, "dcn", 1_238_661),
    ("movielenslatest_x1", 1, "dlrm_cat", 1_238_391),
    ("movielenslatest_x1", 1, "xdeepfm", 1_351_767),
    ("movielenslatest_x1", 1, "dcn_v2", 1_243_071),
    ("movielenslatest_x1", 1, "fibinet", 1_340_790),
    ("movielenslatest_x1", 1, "masknet", 2_624_541),
    ("movielenslatest_x1", 2, "finalmlp", 1_040_902),
    ("movielenslatest_x1", 2, "finalnet_1b", 916_021),
    ("movielenslatest_x1", 2, "finalnet", 1_106_234),
]

# Rows that differ by a part that their notes name: what is logged, and how much more it is than ours.
DIFFERENT = [
    # No layer normalisation in the mask blocks there.
    ("criteo_x4", 2, "masknet", 20_358_077, -2 * 2 * 500),
    ("avazu_x4", 2, "masknet", 76_594_787, -2 * 6 * 500),
    # No batch normalisation in the second stream there.
    ("avazu_x4", 2, "finalmlp", 69_046_986, -2 * 500),
    # Four batch norms in each layer (two here, one there) that are made and never called.
    ("criteo_x4", 2, "eulernet", 15_358_906, 2 * 4 * (39 + 39)),
    ("movielenslatest_x1", 2, "eulernet", 920_520, 4 * (3 + 52)),
    # A weight per id beside the attention.
    ("movielenslatest_x1", 1, "autoint", 1_047_798, 90_239),
    ("movielenslatest_x1", 1, "autoint_plus", 1_383_799, 90_239),
    # The MLP twice in the log.
    ("movielenslatest_x1", 1, "dnn", 1_574_392, 336_001),
]


@pytest.mark.parametrize(("table", "version", "name", "logged", "more"), [(*one, 0) for one in EQUAL] + DIFFERENT)
def test_counts_equal_the_logged_ones(table: str, version: int, name: str, logged: int, more: int) -> None:
    spec = TABLES[table].row(name).spec
    assert not more or spec.protocol or spec.uncertain or spec.note
    assert num_weights(outline(recipe_of(table, name), published_schema(table, version))) + more == logged


def test_fcn_has_the_weights_of_its_log_on_movielens_1m() -> None:
    sizes = {"user_id": 6_042, "gender": 4, "age": 9, "occupation": 23, "item_id": 3_643, "year": 10}
    assert num_weights(outline(recipe_of("movielens_1m_ctr", "fcn"), schema_of(sizes, {"genres": 20}))) == 201_728


@pytest.mark.parametrize(("table", "sample"), [("criteo_x4", "criteo-sample"), ("avazu_x4", "avazu-sample")])
def test_a_row_trains_on_the_sample_in_the_full_set_s_layout(tmp_path: Path, table: str, sample: str) -> None:
    if PUBLIC[sample].missing():
        pytest.skip(f"{sample} is not in {PUBLIC[sample].folder()}; set CROSSFIELD_DATA")
    parts, name = PUBLIC[sample].load(), TABLES[table].spec.data
    for part, rows in (("train", parts.train), ("valid", parts.valid), ("test", parts.test)):
        assert rows is not None
        rows.frame.rename({"label": "Label"}, strict=False).collect().write_csv(tmp_path / f"{part}.csv")
    data = PUBLIC[name].load(tmp_path)
    few = {"model.deep": [16], "train.epochs": 2, "train.batch_size": 512, "train.embedding_l2": 0.0, "train.lr": 1e-2}
    ranker = Ranker(recipe_of(table, "deepfm").override(few)).fit(data.train, data.valid, test=data.test, quiet=True)
    assert ranker.about["test"]["auc"] > 0.6


@pytest.mark.parametrize("factors", [8, 16, 32, 64])
def test_ncf_s_towers_halve_down_to_the_predictive_factors(factors: int) -> None:
    schema = schema_of({"user": 55_187, "item": 9_916})
    for layers in range(5):
        model = recipe_of("pinterest", f"mlp-{layers}-{factors}").model.model_dump()
        widths = [2 * model["embedding_dim"], *model["hidden"]]
        assert widths == [factors * 2**power for power in range(layers, -1, -1)]
    built = num_weights(outline(recipe_of("pinterest", f"neumf-{factors}"), schema))
    alone = [num_weights(outline(recipe_of("pinterest", f"{name}-{factors}"), schema)) for name in ("gmf", "mlp-3")]
    assert built == sum(alone) - 1  # one bias instead of two
