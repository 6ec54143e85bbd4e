import pytest
import torch

from crossfield.errors import ConfigError
from crossfield.models.masknet import MaskNet, MaskNetConfig
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["mixed"]


def test_serial_blocks_mask_what_the_block_before_gave() -> None:
    model, batch = build("masknet", SCHEMA, structure="serial"), random_batch(SCHEMA, 4)
    assert isinstance(model, MaskNet)
    vectors = model.vectors(batch)
    v_emb = vectors.flatten(1)
    first, second = model.blocks
    h = second(v_emb, first(v_emb, model.norm(vectors).flatten(1)))
    torch.testing.assert_close(model(batch), model.prediction(h))
    assert h.shape == (4, 6)


def test_parallel_blocks_all_mask_the_normalised_embeddings() -> None:
    model, batch = build("masknet", SCHEMA, structure="parallel"), random_batch(SCHEMA, 4)
    assert isinstance(model, MaskNet)
    vectors = model.vectors(batch)
    v_emb, v = vectors.flatten(1), model.norm(vectors).flatten(1)
    h = torch.cat([block(v_emb, v) for block in model.blocks], 1)
    assert h.shape == (4, 16)
    torch.testing.assert_close(model(batch), model.prediction(model.deep(h)))


def test_the_mask_is_made_from_the_embeddings_before_normalisation() -> None:
    model, batch = build("masknet", SCHEMA, structure="serial", blocks=(3,)).eval(), random_batch(SCHEMA, 4)
    assert isinstance(model, MaskNet)
    before = model(batch)
    with torch.no_grad():
        for parameter in model.vectors.parameters():
            parameter.mul_(5)  # LN-EMB undoes this, the mask does not
    assert not torch.allclose(model(batch), before, atol=1e-3)


def test_a_ratio_that_leaves_no_unit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"reduction_ratio = 0.001 leaves a mask 32 wide no hidden unit"):
        build("masknet", SCHEMA, reduction_ratio=0.001)


def test_normalised_embeddings_of_one_number_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"embedding_norm leaves nothing of embeddings of one number"):
        MaskNetConfig.of({"embedding_dim": 1}, prefix="model")
    assert MaskNetConfig.of({"embedding_dim": 1, "embedding_norm": False}, prefix="model").embedding_dim == 1
