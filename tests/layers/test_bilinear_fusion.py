import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from crossfield.errors import ConfigError
from crossfield.layers.bilinear_fusion import BilinearFusion


def randomised(fusion: BilinearFusion) -> BilinearFusion:
    for parameter in fusion.parameters():
        nn.init.normal_(parameter)
    return fusion.double()


def test_equals_the_formula_one_number_at_a_time() -> None:
    torch.manual_seed(0)
    fusion = randomised(BilinearFusion(6, 4, num_heads=2))
    o_1, o_2 = torch.randn(5, 6, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    weight = fusion.weight.tolist()
    w_1, w_2 = fusion.linear_1.weight[0].tolist(), fusion.linear_2.weight[0].tolist()
    b = fusion.linear_1.bias.item() + fusion.linear_2.bias.item()
    for x, y, output in zip(o_1.tolist(), o_2.tolist(), fusion(o_1, o_2)[:, 0].tolist(), strict=True):
        expected = b + sum(w_1[i] * x[i] for i in range(6)) + sum(w_2[i] * y[i] for i in range(4))
        for j in range(2):
            for p in range(3):
                for q in range(2):
                    expected += x[3 * j + p] * weight[j][p][q] * y[2 * j + q]
        assert output == pytest.approx(expected, abs=1e-5)  # the products are summed in float32


def test_gradient() -> None:
    # In float32, as logits always are, so with a wide step and a wide tolerance.
    torch.manual_seed(0)
    fusion = randomised(BilinearFusion(4, 2, num_heads=2))
    inputs = tuple(torch.randn(2, width, dtype=torch.float64, requires_grad=True) for width in (4, 2))
    assert gradcheck(fusion, inputs, eps=1e-2, atol=1e-3, rtol=1e-3, nondet_tol=1e-6)


def test_all_heads_start_as_one_linear_map_from_the_products_to_the_logit() -> None:
    torch.manual_seed(0)
    weight = BilinearFusion(400, 600, num_heads=2).weight
    assert weight.shape == (2, 200, 300)
    column = nn.init.xavier_normal_(torch.empty(2 * 200 * 300, 1))
    for matrix in weight:
        assert matrix.std().item() == pytest.approx(column.std().item(), rel=0.02)


@pytest.mark.parametrize(("width", "num_heads"), [(20, 1), (200, 1), (200, 5), (1000, 1)])
def test_the_first_logits_are_no_wider_for_wider_streams(width: int, num_heads: int) -> None:
    torch.manual_seed(0)
    fusion = BilinearFusion(width, width, num_heads=num_heads)
    o_1, o_2 = torch.randn(512, width), torch.randn(512, width)
    products = fusion(o_1, o_2) - fusion.linear_1(o_1) - fusion.linear_2(o_2)
    assert products.std().item() == pytest.approx(2**0.5, rel=0.2)


@pytest.mark.parametrize("widths", [(400, 98), (98, 400)])
def test_heads_that_do_not_fit_are_refused_with_the_sum(widths: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match=r"num_heads = 5 does not part a stream that ends 98 wide: 98 = 5 x 19 \+ 3"):
        BilinearFusion(*widths, num_heads=5)


@pytest.mark.parametrize("size", [0, 1])
def test_small_batches(size: int) -> None:
    assert BilinearFusion(6, 4, num_heads=2)(torch.randn(size, 6), torch.randn(size, 4)).shape == (size, 1)
