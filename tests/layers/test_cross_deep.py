import pytest
import torch
from torch import nn

from crossfield.layers.cross import CrossNet
from crossfield.layers.cross_deep import CrossDeep, Structure
from crossfield.layers.cross_v2 import CrossNetMix, CrossNetV2
from crossfield.layers.gated_cross import GatedCrossNet
from crossfield.layers.mlp import MLP


def body(structure: Structure, *widths: int) -> CrossDeep:
    return CrossDeep(CrossNet(3, 2), MLP(3, widths), dim=3, structure=structure)


def test_stacked_puts_the_mlp_on_top() -> None:
    one, x_0 = body("stacked", 5), torch.randn(4, 3)
    assert one.output_dim == 5
    assert torch.equal(one(x_0), one.deep(one.cross(x_0)))


def test_parallel_puts_it_beside() -> None:
    one, x_0 = body("parallel", 5), torch.randn(4, 3)
    assert one.output_dim == 8
    assert torch.equal(one(x_0), torch.cat([one.cross(x_0), one.deep(x_0)], 1))


def test_without_hidden_layers_both_are_the_cross_network() -> None:
    x_0 = torch.randn(4, 3)
    for one in (body("stacked"), body("parallel")):
        assert one.output_dim == 3
        assert torch.equal(one(x_0), one.cross(x_0))


@pytest.mark.parametrize(
    "cross",
    [
        CrossNet(64, 3),
        CrossNetV2(64, 3),
        CrossNetV2(64, 3, low_rank=8),
        CrossNetMix(64, 3, num_experts=2, rank=8, gate="softmax", nonlinearity="identity"),
        GatedCrossNet(64, 3),
    ],
    ids=["v1", "v2", "low-rank", "mix", "gated"],
)
@pytest.mark.parametrize("std", [1e-4, 1e-2])
def test_half_precision_keeps_the_crosses_of_small_embeddings(cross: nn.Module, std: float) -> None:
    torch.manual_seed(0)
    x_0, body = std * torch.randn(256, 64), CrossDeep(cross, MLP(64, ()), dim=64, structure="parallel")
    exact = body(x_0) - x_0
    with torch.autocast("cpu", torch.bfloat16):
        rounded = body(x_0) - x_0
    assert (rounded - exact).norm() < 0.02 * exact.norm()
