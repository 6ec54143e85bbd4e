"""MaskNet's block: a mask made from the whole example multiplies what goes into a layer."""

from torch import Tensor, nn

from crossfield.errors import ConfigError
from crossfield.layers.dropout import Dropout
from crossfield.layers.linear import Linear
from crossfield.layers.norm import LayerNorm


class MaskBlock(nn.Module):
    """ReLU(LN(W (V_mask ⊙ V))), V_mask = W_d2 ReLU(W_d1 V_emb + β_1) + β_2 (Wang et al. 2021).

    V_emb [B, H] are the embeddings as they are, V [B, in] is what the mask multiplies. The mask's hidden layer is
    ``reduction_ratio`` times as wide as the mask; raises ConfigError where that is less than one unit.
    """

    def __init__(self, emb_dim: int, input_dim: int, output_dim: int, *, reduction_ratio: float, dropout: float = 0.0):
        super().__init__()
        aggregation_dim = int(input_dim * reduction_ratio)
        if not aggregation_dim:
            raise ConfigError(
                f"reduction_ratio = {reduction_ratio:g} leaves a mask {input_dim} wide no hidden unit: "
                f"{input_dim} x {reduction_ratio:g} = {input_dim * reduction_ratio:g}; it takes 1"
            )
        self.mask = nn.Sequential(Linear(emb_dim, aggregation_dim), nn.ReLU(), Linear(aggregation_dim, input_dim))
        self.hidden = nn.Sequential(Linear(input_dim, output_dim, bias=False), LayerNorm(output_dim), nn.ReLU())
        if dropout:
            self.hidden.append(Dropout(dropout))

    def forward(self, v_emb: Tensor, v: Tensor) -> Tensor:
        """V_emb [B, H], V [B, in] -> [B, out]."""
        hidden: Tensor = self.hidden(self.mask(v_emb) * v)
        return hidden
