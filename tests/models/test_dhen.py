import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from crossfield.batch import Batch
from crossfield.errors import ConfigError, SchemaError
from crossfield.layers.attention import EncoderLayer
from crossfield.layers.field_map import FieldMap
from crossfield.layers.self_cross import FlatCross
from crossfield.models.dhen import DHEN, DHENConfig, DHENLayer
from crossfield.schema import Field, ModelSchema
from tests.contract.cases import SCHEMAS, build, random_batch

MIXED, FIELDS = SCHEMAS["mixed"], SCHEMAS["no dense"]
EVERY = ("dot", "attention", "convolution", "linear", "cross")
BARE: dict[str, Any] = {"layer_norm": False, "dot": (), "top": ()}

Matrix = list[list[float]]


def dhen(schema: ModelSchema, **settings: Any) -> DHEN:
    model = build("dhen", schema, **settings)
    assert isinstance(model, DHEN)
    return model


def layer_of(model: DHEN, number: int = 0) -> DHENLayer:
    layer = model.layers[number]
    assert isinstance(layer, DHENLayer)
    return layer


def linear_and_cross(layer: DHENLayer, x: Matrix) -> list[float]:
    """LN(W X + x ⊙ (W x + b) + X) of one example, one number at a time."""
    linear, cross = layer.interactions
    assert isinstance(linear, FieldMap) and isinstance(cross, FlatCross) and isinstance(layer.norm, nn.LayerNorm)
    mixes, weights, biases = linear.weight.tolist(), cross.weights.weight.tolist(), cross.weights.bias.tolist()
    dim, numbers = len(x[0]), range(len(x) * len(x[0]))
    flat = [value for row in x for value in row]
    mixed = [sum(mixes[a // dim][i] * x[i][a % dim] for i in range(len(x))) for a in numbers]
    crossed = [flat[a] * (sum(weights[a][b] * flat[b] for b in numbers) + biases[a]) for a in numbers]
    gains, shifts = (one.expand(len(x), dim).flatten().tolist() for one in (layer.norm.weight, layer.norm.bias))
    scaled = normalised([mixed[a] + crossed[a] + flat[a] for a in numbers], layer.norm.weight.numel())
    return [scaled[a] * gains[a] + shifts[a] for a in numbers]


def normalised(values: list[float], size: int) -> list[float]:
    """Each block of ``size`` numbers with mean 0 and variance 1."""
    found = []
    for start in range(0, len(values), size):
        block = values[start : start + size]
        mean = sum(block) / size
        deviation = math.sqrt(sum((one - mean) ** 2 for one in block) / size + 1e-5)
        found += [(one - mean) / deviation for one in block]
    return found


@pytest.mark.parametrize("norm_over", ["layer", "embedding"])
def test_one_layer_of_linear_and_cross_is_the_formula_one_number_at_a_time(norm_over: str) -> None:
    model = dhen(FIELDS, layers=(("linear", "cross"),), norm_over=norm_over, top=()).double()
    batch = random_batch(FIELDS, 6)
    assert model.ids is not None
    w, b = model.prediction.weight[0].tolist(), model.prediction.bias.item()
    for x, logit in zip(model.ids(batch).tolist(), model(batch)[:, 0].tolist(), strict=True):
        values = linear_and_cross(layer_of(model), x)
        assert logit == pytest.approx(sum(p * q for p, q in zip(w, values, strict=True)) + b, abs=1e-6)


@pytest.mark.parametrize("interaction", EVERY)
@pytest.mark.parametrize("num_embeddings", [None, 3])
def test_a_layer_is_the_norm_of_its_interactions_and_its_shortcut(interaction: str, num_embeddings: int | None) -> None:
    layer = layer_of(dhen(FIELDS, layers=((interaction, "linear"),), num_embeddings=num_embeddings))
    x = torch.randn(5, 4, 4)
    first, second = layer.interactions
    assert first(x).shape == (5, num_embeddings or 4, 4)
    assert isinstance(layer.shortcut, FieldMap if num_embeddings else nn.Identity)
    torch.testing.assert_close(layer(x), layer.norm(first(x) + second(x) + layer.shortcut(x)))


def test_interactions_are_what_they_are_called() -> None:
    modules: Any = layer_of(dhen(FIELDS)).interactions
    dot, attention, convolution, linear, cross = modules
    x = torch.randn(3, 4, 4)
    pairs = torch.stack([(x[:, i] * x[:, j]).sum(1) for i in range(4) for j in range(i)], 1)
    torch.testing.assert_close(dot(x), dot[2](dot[1](pairs)).view(3, 4, 4))
    assert isinstance(attention[0], EncoderLayer)
    torch.testing.assert_close(attention(x), attention[1](attention[0](x)))
    torch.testing.assert_close(convolution(x), torch.einsum("li,bid->bld", convolution[2].weight, convolution[0](x)))
    torch.testing.assert_close(linear(x), torch.einsum("li,bid->bld", linear.weight, x))
    flat = x.flatten(1)
    torch.testing.assert_close(cross(x).flatten(1), flat * (flat @ cross.weights.weight.t() + cross.weights.bias))


def test_concatenation_gives_every_interaction_embeddings_of_its_own() -> None:
    model = dhen(FIELDS, layers=(("dot", "linear", "cross"), ("linear",)), ensemble="concatenation", num_embeddings=2)
    first, second = layer_of(model), layer_of(model, 1)
    x = torch.randn(3, 4, 4)
    members = torch.cat([one(x) for one in first.interactions], 1)
    assert members.shape == (3, 6, 4)
    torch.testing.assert_close(first(x), first.norm(members + first.shortcut(x)))
    assert isinstance(second.shortcut, FieldMap) and second(first(x)).shape == (3, 2, 4)
    assert model.prediction.in_features == 6 and model.top.output_dim == 6


def test_dense_features_enter_as_embeddings_made_by_an_mlp() -> None:
    model, batch = dhen(MIXED, num_dense_embeddings=3, layers=(("linear",),), **BARE), random_batch(MIXED, 5)
    assert model.bottom is not None and model.ids is not None
    bottom: Any = model.bottom
    hidden, last, _ = bottom
    made = last(hidden(batch.dense)).view(5, 3, 4)
    torch.testing.assert_close(model.bottom(batch.dense), made)
    x = torch.cat([model.ids(batch), made], 1)
    torch.testing.assert_close(model(batch), model.prediction(layer_of(model)(x).flatten(1)))
    assert x.shape[1] == 9 and (made < 0).any()


def third_order(settings: dict[str, Any]) -> float:
    """How far the logit of three fields is from a sum of terms of two of them at most."""
    schema = ModelSchema(categorical=tuple(Field(name, 2) for name in "abc"))
    model = dhen(schema, embedding_std=1.0, **settings)
    ids = torch.cartesian_prod(*[torch.arange(2)] * 3)
    signs = 1 - 2 * (ids.sum(1) % 2)
    return float((signs * model(Batch(torch.zeros(8, 0), ids)).detach()[:, 0]).sum().abs())


@pytest.mark.parametrize("cross", ["flat", "gram"])
@pytest.mark.parametrize("ensemble", ["sum", "weighted_sum", "concatenation"])
def test_without_mlp_and_norm_one_layer_stops_at_pairs_and_two_do_not(cross: str, ensemble: str) -> None:
    polynomial = {**BARE, "cross": cross, "ensemble": ensemble}
    layer = ("dot", "cross", "linear")
    assert third_order({**polynomial, "layers": (layer,)}) < 1e-5
    assert third_order({**polynomial, "layers": (layer, layer)}) > 0.01
    assert third_order({**polynomial, "layers": (("linear",),) * 3}) < 1e-5
    assert third_order({**polynomial, "layers": (layer,), "layer_norm": True}) > 1e-4


def gradients(model: DHEN, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    assert batch.labels is not None
    torch.manual_seed(3)
    logits = model(batch)
    binary_cross_entropy_with_logits(logits, batch.labels).backward()  # type: ignore[no-untyped-call]
    return logits.detach(), {name: one.grad for name, one in model.named_parameters() if one.grad is not None}


def calls(layers: Sequence[nn.Module], counts: list[int]) -> None:
    for layer in layers:
        layer.register_forward_pre_hook(lambda module, inputs: counts.append(1))


def test_checkpointing_changes_neither_scores_nor_gradients_and_computes_layers_twice() -> None:
    batch = random_batch(MIXED, 16)
    plain, checkpointed = (dhen(MIXED, dropout=0.4, activation_checkpointing=on) for on in (False, True))
    counts: tuple[list[int], list[int]] = ([], [])
    calls(list(plain.layers), counts[0])
    calls(list(checkpointed.layers), counts[1])
    logits, expected = gradients(plain, batch)
    again, found = gradients(checkpointed, batch)
    assert torch.equal(again, logits) and set(found) == {name for name, _ in plain.named_parameters()}
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)
    assert [len(one) for one in counts] == [2, 4]
    assert torch.equal(checkpointed.eval()(batch), plain.eval()(batch))
    assert [len(one) for one in counts] == [4, 6]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [["dot", "dots"]]}, r'model.layers.0.1 = "dots": input should be \'dot\', \'attention\''),
        ({"layers": []}, "model.layers = .*at least 1"),
        ({"layers": [["dot"], []]}, "model.layers.1 = .*at least 1"),
        (
            {"layers": [["linear"], ["attention"]], "embedding_dim": 10, "num_heads": 4},
            r"^model: embedding_dim = 10 cannot be shared equally by num_heads = 4: 10 = 4 x 2 \+ 2$",
        ),
        (
            {"layers": [["convolution"]], "kernel_size": 4, "embedding_dim": 8},
            r"^model: kernel_size = 4 is even: 8 \+ 2 x 2 - 4 \+ 1 = 9, not 8$",
        ),
        ({"layers": [["convolution"]], "kernel_size": 5, "embedding_dim": 4}, "kernel_size = 5 is more than .* = 4"),
        ({"num_embeddings": 1}, "^model: layer 2 has dot products, but num_embeddings = 1 makes 1 x 0 / 2 = 0 pairs$"),
    ],
)
def test_unknown_interactions_and_impossible_widths_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DHENConfig.of(settings, prefix="model")


def test_widths_that_no_layer_uses_are_not_judged() -> None:
    assert DHENConfig.of({"embedding_dim": 10, "num_heads": 4, "kernel_size": 4}).num_heads == 4
    side_by_side = {"num_embeddings": 1, "ensemble": "concatenation"}
    assert DHENConfig.of(side_by_side).widths(9) == [9, 2, 2]


def test_dot_products_need_two_embeddings_and_other_interactions_do_not() -> None:
    one_field, one_dense = SCHEMAS["one field"], SCHEMAS["one dense"]
    for schema in (one_field, one_dense):
        with pytest.raises(SchemaError, match='"dot" needs two'):
            build("dhen", schema)
    assert build("dhen", one_field, layers=(EVERY[1:],))(random_batch(one_field, 2)).shape == (2, 1)
    assert build("dhen", one_dense, num_dense_embeddings=2)(random_batch(one_dense, 2)).shape == (2, 1)


def test_the_weights_of_the_frappe_recipe_counted_by_hand() -> None:
    schema = ModelSchema(categorical=tuple(Field(f"field_{i}", 539 if i else 538) for i in range(10)))
    model = DHEN(schema, DHENConfig.of({"embedding_dim": 10, "batch_norm": True}))
    dot, linear, norm = (45 + 1) * 64 + 64 * 10 * 10, 10 * 10, 2 * 10 * 10
    head = 101 * 400 + 2 * 401 * 400 + 3 * 2 * 400 + 401
    assert sum(one.numel() for one in model.parameters()) == 5_389 * 10 + 2 * (dot + linear + norm) + head == 437_179


def test_a_norm_over_embeddings_of_one_number_is_refused() -> None:
    with pytest.raises(ConfigError, match=r'norm_over = "embedding" leaves nothing of embeddings of one number'):
        DHENConfig.of({"embedding_dim": 1, "num_heads": 1, "norm_over": "embedding"}, prefix="model")
