import pytest
import torch
from torch.autograd import gradcheck

from crossfield.layers.norm import BatchNorm, LayerNorm


def test_training_normalises_by_the_batch() -> None:
    layer = BatchNorm(2).double()
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0], [5.0, 20.0]], dtype=torch.float64)
    spread = ((x - x.mean(0)).square().mean(0) + layer.eps).sqrt()
    torch.testing.assert_close(layer(x), (x - x.mean(0)) / spread, rtol=0, atol=1e-12)
    assert gradcheck(layer, (torch.randn(4, 2, dtype=torch.float64, requires_grad=True),))


def test_two_rows_are_enough_for_statistics() -> None:
    output = BatchNorm(1)(torch.tensor([[3.0], [7.0]]))
    torch.testing.assert_close(output, torch.tensor([[-1.0], [1.0]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_rows_use_and_keep_the_running_statistics(size: int) -> None:
    layer = BatchNorm(2)
    layer(torch.tensor([[1.0, 2.0], [5.0, -2.0]]))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    x = torch.tensor([[4.0, 1.0]])[:size].requires_grad_()
    output = layer(x)
    output.sum().backward()
    assert torch.equal(output, layer.eval()(x)) and output.shape == (size, 2)
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())


def test_gain_and_shift_get_their_whole_gradient_in_half_precision() -> None:
    torch.manual_seed(0)
    layer, x = LayerNorm(16), torch.randn(65_536, 16)
    pull = torch.randn(16) + torch.rand(65_536, 16) / 100
    gradients = {}
    for kind in (torch.float32, torch.bfloat16):
        layer.zero_grad()
        output = layer(x.to(kind))
        (output.float() * pull).sum().backward()
        gradients[kind] = {name: one.grad for name, one in layer.named_parameters()}
        assert output.dtype == torch.float32
    for name, exact in gradients[torch.float32].items():
        assert exact is not None
        torch.testing.assert_close(gradients[torch.bfloat16][name], exact, rtol=0.01, atol=3.0, msg=name)


def test_in_full_precision_it_is_torch_s() -> None:
    x = torch.randn(5, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(LayerNorm(4).double()(x), torch.nn.functional.layer_norm(x, (4,)))
