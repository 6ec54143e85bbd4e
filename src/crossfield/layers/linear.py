"""Linear maps: one that can be padded at run time, the prediction layer, and the first-order part of a model."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.embedding import FieldEmbedding, Found
from crossfield.schema import ModelSchema


class Linear(nn.Linear):
    """y = W x + b, [..., in] -> [..., out]; W starts Xavier-normal, b at zero.

    ``pad_to`` rounds both widths up to a multiple while computing; the weights are stored unpadded, so that
    parameter counts, weight decay and files do not change.
    PERF: forward and backward of 429 -> 429 on 4096 rows in fp32, one core of an AVX-512 CPU: 92 ms, padded to 432
    54 ms; 429 -> 400: 75 and 64 ms. In bf16 padding gains nothing.
    """

    pad_to: int = 1

    def reset_parameters(self) -> None:
        """Draw W from N(0, 2 / (in + out)) and set b to zero."""
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return padded_linear(input, self.weight, self.bias, self.pad_to)


def padded_linear(input: Tensor, weight: Tensor, bias: Tensor | None, multiple: int) -> Tensor:
    """W x + b computed with both widths rounded up to a multiple, [..., in] -> [..., out]; W is [out, in]."""
    width, input_width = weight.shape
    more_in, more_out = _missing(input_width, multiple), _missing(width, multiple)
    if not (more_in or more_out):
        return F.linear(input, weight, bias)
    padded_bias = None if bias is None else F.pad(bias, (0, more_out))
    padded = F.linear(F.pad(input, (0, more_in)), F.pad(weight, (0, more_in, 0, more_out)), padded_bias)
    return padded[..., :width]


def _missing(width: int, multiple: int) -> int:
    # A width below the multiple stays as it is: a prediction layer of width 1 would do 16 times the work.
    return -width % multiple if width > multiple else 0


def set_padding(model: nn.Module, multiple: int) -> None:
    """Let every Linear of a model compute with widths rounded up to ``multiple``; 1 turns padding off."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.pad_to = multiple


class Prediction(Linear):
    """The last layer of a model, [B, H] -> logits [B, T], computed in float32 whatever autocast chose before it."""

    def forward(self, input: Tensor) -> Tensor:
        """[B, H] -> [B, T] float32."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        # A logit in bf16 has some ten values around -4: what tells examples apart is lost.
        with torch.autocast(kind, enabled=False):
            return super().forward(input.float())


class FirstOrder(nn.Module):
    """wᵀx over all features, [B, 1]: one weight per id, crosses included, one per dense feature, maybe a bias.

    ``pooling`` says what the ids of a multi-valued field count: "sum" 1 each (indicators), "mean" 1 / L each.
    All weights start at zero. Raises SchemaError where the schema has no feature at all.
    """

    def __init__(self, schema: ModelSchema, *, bias: bool, pooling: Literal["sum", "mean"] = "sum") -> None:
        super().__init__()
        if not (schema.fields or schema.dense):
            raise SchemaError("the schema has no feature; a model needs at least one dense or id column")
        self.ids = FieldEmbedding(schema.fields, schema, 1, std=0.0, pooling=pooling) if schema.fields else None
        self.dense = nn.Parameter(torch.zeros(len(schema.dense))) if schema.dense else None
        self.bias = nn.Parameter(torch.zeros(1)) if bias else None

    def forward(self, batch: Batch, found: Found | None = None) -> Tensor:
        """wᵀx (+ b), [B, 1] float32; ``found`` is what a table of the same fields has found for the batch."""
        total = batch.dense.new_zeros(batch.size, 1)
        if self.ids is not None:
            total = total + self.ids(batch, found).sum(1)
        if self.dense is not None:
            # A product and a sum, not a matmul: autocast would round the logit to bf16.
            total = total + (batch.dense * self.dense).sum(1, keepdim=True)
        return total if self.bias is None else total + self.bias
