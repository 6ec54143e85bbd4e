import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from crossfield.batch import Batch, Jagged
from crossfield.errors import SchemaError
from crossfield.layers.linear import FirstOrder, Linear, Prediction, set_padding
from crossfield.schema import Field, Kind, ModelSchema


def test_linear_starts_xavier_normal_with_zero_bias() -> None:
    torch.manual_seed(0)
    layer = Linear(300, 500)
    assert layer.weight.std().item() == pytest.approx((2 / 800) ** 0.5, rel=0.02)
    assert not layer.bias.any()
    assert Linear(3, 2, bias=False).bias is None


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("in_dim", "out_dim"), [(5, 7), (4, 8), (5, 8), (4, 7), (2, 1), (9, 1)])
def test_padding_changes_neither_output_nor_gradient(in_dim: int, out_dim: int, bias: bool) -> None:
    layer = Linear(in_dim, out_dim, bias=bias).double()
    nn.init.normal_(layer.weight)
    x = torch.randn(3, in_dim, dtype=torch.float64, requires_grad=True)
    expected = torch.stack(
        [torch.stack([sum(w * v for w, v in zip(row, one, strict=True)) for row in layer.weight]) for one in x]
    )
    if bias:
        nn.init.normal_(layer.bias)
        expected = expected + layer.bias
    for multiple in (1, 4):
        set_padding(layer, multiple)
        torch.testing.assert_close(layer(x), expected, rtol=0, atol=1e-12)
        assert gradcheck(layer, (x,))
    assert layer(x[:0]).shape == (0, out_dim)


def test_padding_rounds_up_what_is_multiplied_but_not_what_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, plain = [], nn.functional.linear

    def spy(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        seen.append(tuple(weight.shape))
        return plain(x, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", spy)
    net = nn.Sequential(Linear(21, 33), Linear(33, 16), Linear(16, 1))
    set_padding(net, 16)
    assert net(torch.randn(2, 21)).shape == (2, 1)
    assert seen == [(48, 32), (16, 48), (1, 16)]
    assert sum(one.numel() for one in net.parameters()) == 22 * 33 + 34 * 16 + 17


def test_prediction_is_computed_in_float32_under_autocast() -> None:
    hidden, layer = torch.randn(64, 8), Prediction(8, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Linear(8, 1)(hidden).dtype == torch.bfloat16
        logits = layer(hidden)
        assert torch.equal(layer(hidden.bfloat16()), layer(hidden.bfloat16().float()))
    assert torch.equal(logits, layer(hidden))


SCHEMA = ModelSchema(
    dense=("age", "price"),
    categorical=(Field("user", 3), Field("a x b", 3, Kind.CROSS, embed=False)),
    sequences=(Field("genres", 4, Kind.MULTI),),
)
BATCH = Batch(
    dense=torch.tensor([[1.0, -1.0], [0.5, 2.0]]),
    categorical=torch.tensor([[2, 1], [0, 0]]),
    sequences={"genres": Jagged(torch.tensor([3, 1]), torch.tensor([0, 2, 2]))},
).check(SCHEMA)


@pytest.mark.parametrize(("pooling", "genres"), [("sum", 3_000.0 + 1_000), ("mean", (3_000.0 + 1_000) / 2)])
def test_first_order_adds_one_weight_per_feature(pooling: str, genres: float) -> None:
    layer = FirstOrder(SCHEMA, bias=True, pooling=pooling)  # type: ignore[arg-type]
    assert not any(one.any() for one in layer.parameters())
    assert layer.ids is not None and layer.dense is not None and layer.bias is not None
    with torch.no_grad():
        layer.ids.table("user")[:, 0] = torch.tensor([0.0, 1, 2])
        layer.ids.table("a x b")[:, 0] = torch.tensor([0.0, 10, 20])
        layer.ids.table("genres")[:, 0] = torch.tensor([0.0, 1_000, 2_000, 3_000])
        layer.dense.copy_(torch.tensor([100.0, 200.0]))
        layer.bias.fill_(0.5)
    assert layer(BATCH).tolist() == [[2 + 10 + genres + 100 - 200 + 0.5], [0 + 50 + 400 + 0.5]]


def test_first_order_of_dense_features_alone() -> None:
    layer = FirstOrder(ModelSchema(dense=("age",)), bias=False)
    nn.init.ones_(layer.dense)  # type: ignore[arg-type]
    dense = torch.tensor([[3.0], [4.0]])
    assert layer(Batch(dense, torch.zeros(2, 0, dtype=torch.int64))).tolist() == [[3], [4]]
    assert len(list(layer.parameters())) == 1


def test_first_order_of_nothing_is_refused() -> None:
    with pytest.raises(SchemaError, match="no feature"):
        FirstOrder(ModelSchema(), bias=True)
