import torch

from crossfield.layers.precision import in_autocast_format


def test_fp32_becomes_what_autocast_computes_in() -> None:
    x = torch.randn(2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert in_autocast_format(x).dtype == torch.bfloat16
        assert in_autocast_format(x.double()).dtype == torch.float64
    assert in_autocast_format(x) is x
