import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from crossfield.landmarks import LANDMARKS, LATER, Landmark, build, cinema_schema
from crossfield.models import CATALOGUE
from crossfield.pages.trace import NUM_ROWS, plain_batch, trace_model
from crossfield.schema import Field, Kind, ModelSchema

from ..contract.cases import SCHEMAS
from ..contract.cases import build as build_small

MIXED = ModelSchema(("price",), (Field("user", 5), Field("film", 7)), (Field("genres", 4, Kind.MULTI),), "user", "film")


@pytest.mark.parametrize("landmark", [*LANDMARKS, *LATER], ids=lambda one: one.name)
def test_products_of_matrices_are_counted_as_torch_counts_them(landmark: Landmark) -> None:
    model = build(landmark, cinema_schema(landmark.crosses)).eval()
    counts = []
    for num_rows in (NUM_ROWS, 2 * NUM_ROWS):
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(plain_batch(model.schema, num_rows))
        counts.append(counter.get_total_flops())
    trace = trace_model(model)
    # torch counts products of two matrices; a matrix times a vector, as in DCN's cross layers, it leaves out.
    without_vectors = sum(trace.matrix_flops[op.number] for op in trace.root.every_op if op.name not in ("mv", "dot"))
    assert without_vectors == (counts[1] - counts[0]) / NUM_ROWS


def flops_of(name: str, schema: ModelSchema, **settings: object) -> tuple[int, int]:
    trace = trace_model(CATALOGUE[name](schema, CATALOGUE[name].config_type.of(settings)))
    return sum(trace.flops.values()), sum(trace.matrix_flops.values())


def test_flops_of_small_models_by_hand() -> None:
    pair = ModelSchema((), (Field("user", 5), Field("film", 7)), (), "user", "film")
    assert flops_of("mf", pair, embedding_dim=3) == (3 + 3 + 3, 0)  # a product, its sum, three additions
    assert flops_of("mlp", pair, embedding_dim=2, hidden=(5, 3)) == (40 + 5 + 30 + 3 + 6, 40 + 30 + 6)
    crosses = 2 * 4 + 3 + 4 + 4  # <x_0, w>; one number α of an example from it; its product with x_0; β added
    assert flops_of("dcn", pair, embedding_dim=2, num_cross_layers=1, deep=()) == (crosses + 8, 8 + 8)


def test_parameters_are_counted_once_where_a_module_runs_twice() -> None:
    model = build_small("fibinet", SCHEMAS["pair"], bilinear_on="shared")
    trace = trace_model(model)
    calls = [call for call in trace.root.children if call.name == "raw_products"]
    assert [trace.parameters[call] > 0 for call in calls] == [True, False]
    assert trace.parameters[trace.root] == sum(one.numel() for one in model.parameters())


def test_plain_functions_of_the_layers_are_calls_of_their_own() -> None:
    trace = trace_model(build_small("fm", SCHEMAS["pair"]))
    assert [call.name for call in trace.root.children] == ["linear", "vectors", "pairwise_sum"]


def test_a_model_is_left_as_it_was() -> None:
    model = build_small("deepfm", SCHEMAS["mixed"]).train()
    before = torch.get_rng_state()
    trace_model(model)
    assert model.training and torch.equal(torch.get_rng_state(), before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_inputs_of_a_mixed_schema_are_named() -> None:
    trace = trace_model(build_small("deepfm", MIXED))
    assert set(trace.input_names.values()) == {"dense", "ids", "genres", "lengths of genres"}
