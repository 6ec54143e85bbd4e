"""All features of a batch as a model takes them in: one vector per field, or one flat vector."""

from typing import Literal

import torch
from torch import Tensor, nn

from crossfield.batch import Batch
from crossfield.errors import SchemaError
from crossfield.layers.embedding import DenseEmbedding, FieldEmbedding, Found
from crossfield.schema import ModelSchema

DenseAs = Literal["value", "embedding"]


class FeatureVectors(nn.Module):
    """One vector per field, [B, M, D]: embedded id fields in schema order, then each dense value times its vector.

    Multi-valued fields are averaged. Raises SchemaError where there is nothing to embed.
    """

    def __init__(self, schema: ModelSchema, dim: int, *, std: float = 0.01) -> None:
        super().__init__()
        self.num_vectors = len(schema.embedded) + len(schema.dense)
        _require(self.num_vectors)
        self.ids = FieldEmbedding(schema.embedded, schema, dim, std=std) if schema.embedded else None
        self.dense = DenseEmbedding(len(schema.dense), dim, std=std) if schema.dense else None

    def find(self, batch: Batch) -> Found | None:
        """What a FirstOrder beside it can use: the ids are sorted once for both."""
        return None if self.ids is None else self.ids.find(batch)

    def forward(self, batch: Batch, found: Found | None = None) -> Tensor:
        """Field vectors [B, M, D] float32."""
        parts = [] if self.ids is None else [self.ids(batch, found)]
        if self.dense is not None:
            parts.append(self.dense(batch.dense))
        return torch.cat(parts, 1)

    def parts(self, batch: Batch, found: Found | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The same, with the products x_n v_n left to who can save them: [B, M - N, D] of ids, x [B, N], v [N, D].

        In evaluation they are made here: [B, M, D], [B, 0], [0, D].
        """
        if self.dense is None or self.ids is None or not self.training:
            vectors = self(batch, found)
            return vectors, batch.dense[:, :0], vectors.new_empty(0, vectors.shape[2])
        return self.ids(batch, found), batch.dense, self.dense.weight


class FlatFeatures(nn.Module):
    """One flat vector x_0, [B, H]: the embedded id fields side by side, then the dense features.

    ``dense_as`` says how these enter: "value" as they are (most papers), "embedding" as value times vector
    (FuxiCTR and the published CTR tables). Multi-valued fields are averaged. Raises SchemaError where there is
    nothing to embed.
    """

    def __init__(self, schema: ModelSchema, dim: int, *, dense_as: DenseAs, std: float = 0.01) -> None:
        super().__init__()
        num_dense, embed_dense = len(schema.dense), dense_as == "embedding"
        self.output_dim = len(schema.embedded) * dim + num_dense * (dim if embed_dense else 1)
        _require(self.output_dim)
        self.ids = FieldEmbedding(schema.embedded, schema, dim, std=std) if schema.embedded else None
        self.dense = DenseEmbedding(num_dense, dim, std=std) if num_dense and embed_dense else nn.Identity()

    def find(self, batch: Batch) -> Found | None:
        """What a FirstOrder beside it can use: the ids are sorted once for both."""
        return None if self.ids is None else self.ids.find(batch)

    def forward(self, batch: Batch, found: Found | None = None) -> Tensor:
        """Flat features [B, H] float32."""
        dense: Tensor = self.dense(batch.dense).flatten(1)
        return dense if self.ids is None else torch.cat([self.ids(batch, found).flatten(1), dense], 1)


def _require(size: int) -> None:
    if not size:
        raise SchemaError("no feature to embed; give one dense or id column, or mark a cross embed=true")
