"""xDeepFM: Lian et al., "xDeepFM: Combining Explicit and Implicit Feature Interactions for ...", KDD 2018.

https://arxiv.org/abs/1803.05170
"""

from pydantic import Field
from torch import Tensor

from crossfield.batch import Batch
from crossfield.layers.cin import CIN
from crossfield.layers.features import FeatureVectors
from crossfield.layers.linear import FirstOrder, Prediction
from crossfield.layers.mlp import MLP, Activation
from crossfield.models.base import DeepConfig, Model, Width
from crossfield.schema import ModelSchema


class XDeepFMConfig(DeepConfig):
    """What xDeepFM can be told; the paper's embeddings are 10 wide, its CIN layers 200 on Criteo and 100 elsewhere."""

    cin: tuple[Width, ...] = Field((100, 100), min_length=1)
    """Vectors H_k of every CIN layer; K layers hold the crosses of orders 2 to K + 1 (section 3.1)."""
    cin_bias: bool = False
    """A bias per vector of every CIN layer; not in the paper, but in FuxiCTR and the published CTR tables."""
    cin_split_half: bool = False
    """Half of a CIN layer to the next one, the other half to the output: the authors' code; the paper sends all."""
    cin_activation: Activation = "identity"
    """What every CIN layer's vectors pass; identity is the paper's best (section 4.4)."""
    deep: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep part's hidden layers; () leaves the linear part and the CIN ("CIN only")."""


class XDeepFM(Model):
    """Explicit crosses of whole vectors, an MLP and a linear part: ŷ = w_linearᵀ a + w_dnnᵀ x_dnn + w_cinᵀ p⁺ + b.

    X^k_h = Σ_i Σ_j W^{k,h}_ij (X^{k-1}_i ⊙ X^0_j), X^0 the fields' vectors, is the CIN, p⁺ are the sums over D of all
    its vectors (section 3.1), x_dnn = MLP([X^0_1 ; X^0_2 ; ...]), a the raw features (section 3.3).
    """

    config_type = XDeepFMConfig

    def __init__(self, schema: ModelSchema, config: XDeepFMConfig) -> None:
        super().__init__(schema, config)
        # PAPER: a multi-valued field is the mean of its ids' weights and vectors; the paper sums them.
        self.linear = FirstOrder(schema, bias=False, pooling="mean")
        self.vectors = FeatureVectors(schema, config.embedding_dim, std=config.embedding_std)
        num_vectors = self.vectors.num_vectors
        self.cin = CIN(
            num_vectors,
            config.cin,
            bias=config.cin_bias,
            split_half=config.cin_split_half,
            activation=config.cin_activation,
        )
        # PAPER: b is the sum of two numbers, one from each prediction layer; so are the published counts.
        self.from_cin = Prediction(self.cin.output_dim, 1)
        self.deep = self.from_deep = None
        if config.deep:
            flat_dim = num_vectors * config.embedding_dim
            self.deep = MLP(flat_dim, config.deep, batch_norm=config.batch_norm, dropout=config.dropout)
            self.from_deep = Prediction(self.deep.output_dim, 1)

    def forward(self, batch: Batch) -> Tensor:
        """Logits [B, 1] float32."""
        found = self.vectors.find(batch)
        vectors = self.vectors(batch, found)
        logits: Tensor = self.linear(batch, found) + self.from_cin(self.cin(vectors))
        if self.deep is not None and self.from_deep is not None:
            logits = logits + self.from_deep(self.deep(vectors.flatten(1)))
        return logits
