import pytest
import torch

from crossfield.errors import ConfigError, SchemaError
from crossfield.models.gmf import GMF
from crossfield.models.mlp import NCFMLP
from crossfield.models.neumf import NeuMF
from tests.contract.cases import SCHEMAS, build, random_batch

SCHEMA = SCHEMAS["no dense"]
BATCH = random_batch(SCHEMA, 8)


def trained(case: str = "no dense") -> tuple[GMF, NCFMLP]:
    gmf, mlp = build("gmf", SCHEMAS[case], seed=1), build("mlp", SCHEMAS["no dense"], seed=2, batch_norm=True)
    assert isinstance(gmf, GMF) and isinstance(mlp, NCFMLP)
    mlp(BATCH)  # moves the running statistics of the batch norms
    return gmf.eval(), mlp.eval()


def test_both_branches_under_one_prediction_layer() -> None:
    model = build("neumf", SCHEMA)
    assert isinstance(model, NeuMF)
    p, q = model.gmf_embedding.table("user"), model.gmf_embedding.table("item")
    h, bias = model.prediction.weight[0], model.prediction.bias[0]
    z = model.tower(model.mlp_embedding(BATCH).flatten(1))
    for row, (item, user, _) in enumerate(BATCH.categorical.tolist()):
        expected = h[:4] @ (p[user] * q[item]) + h[4:] @ z[row] + bias
        assert model(BATCH)[row].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_fusion_weighs_the_two_logits(alpha: float) -> None:
    gmf, mlp = trained()
    fused = NeuMF.from_pretrained(gmf, mlp, alpha=alpha).eval()
    expected = alpha * gmf(BATCH) + (1 - alpha) * mlp(BATCH)
    torch.testing.assert_close(fused(BATCH), expected, rtol=0, atol=1e-6)


def test_fine_tuning_leaves_the_pretrained_models_alone() -> None:
    gmf, mlp = trained()
    before = gmf(BATCH).clone(), mlp(BATCH).clone()
    fused = NeuMF.from_pretrained(gmf, mlp)
    fused(BATCH).sum().backward()
    torch.optim.SGD(fused.parameters(), lr=1.0).step()
    assert torch.equal(gmf(BATCH), before[0]) and torch.equal(mlp(BATCH), before[1])


def test_models_of_different_encoders_are_refused() -> None:
    with pytest.raises(SchemaError, match="different schemas"):
        NeuMF.from_pretrained(*trained("pair"))


def test_alpha_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"alpha = 1.5"):
        NeuMF.from_pretrained(*trained(), alpha=1.5)


def test_a_run_starts_from_both_parts_in_any_order() -> None:
    gmf, mlp = trained()
    settings = {"embedding_dim": gmf.config.embedding_dim, "mlp_embedding_dim": mlp.config.embedding_dim}
    shape = {**settings, "hidden": mlp.config.hidden, "batch_norm": True, "alpha": 0.3}
    expected = NeuMF.from_pretrained(gmf, mlp, alpha=0.3).eval()(BATCH)
    for parts in ([gmf, mlp], [mlp, gmf]):
        model = build("neumf", SCHEMA, **shape)
        model.start_from(parts)
        assert torch.equal(model.eval()(BATCH), expected)
    with pytest.raises(ConfigError, match="one gmf and one mlp"):
        model.start_from([gmf, gmf])
    with pytest.raises(ConfigError, match="use its settings"):
        build("neumf", SCHEMA, **{**shape, "embedding_dim": 3}).start_from([gmf, mlp])
