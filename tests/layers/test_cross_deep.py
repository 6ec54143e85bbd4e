import torch

from crossfield.layers.cross import CrossNet
from crossfield.layers.cross_deep import CrossDeep, Structure
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
