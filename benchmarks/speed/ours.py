"""Crossfield, by the functions that ``crossfield fit`` calls, one after the other."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from contest import (
    BATCH_ROWS,
    CIN,
    CROSS_LAYERS,
    DLRM_BOTTOM,
    EMBEDDING_DIM,
    HIDDEN,
    LEARNING_RATE,
    Contest,
)

NAMES = {"DeepFM": "deepfm", "WideDeep": "wide_deep", "DCN": "dcn", "DCNv2": "dcn_v2", "DLRM": "dlrm"}
NAMES |= {"xDeepFM": "xdeepfm", "FinalMLP": "finalmlp", "LR": "logistic_regression", "FM": "fm"}
SETTINGS = {
    "DCN": {"num_cross_layers": CROSS_LAYERS},
    "DCNv2": {"num_cross_layers": CROSS_LAYERS},
    "xDeepFM": {"cin": CIN, "cin_bias": True},
    "DLRM": {"bottom": DLRM_BOTTOM, "top": HIDDEN},
    "FinalMLP": {"deep_1": HIDDEN, "deep_2": HIDDEN, "gates": False, "num_heads": 2},
}


def main() -> None:
    """Train and measure."""
    contest = Contest("crossfield")
    with contest.part("import"):
        import torch

        from crossfield.data.store import Reader
        from crossfield.evaluate import predict
        from crossfield.fitting import EVALUATION_ROWS, versions
        from crossfield.metrics import auc, log_loss
        from crossfield.models import CATALOGUE
        from crossfield.preparation import prepare
        from crossfield.ranker import load_as
        from crossfield.recipe import Recipe
        from crossfield.train import Trainer
    train = {"epochs": 1, "batch_size": BATCH_ROWS, "lr": LEARNING_RATE, "threads": contest.threads}
    dense = {f"I{number}": "dense" for number in range(1, 14)}
    ids = {f"C{number}": "categorical" for number in range(1, 27)}
    settings = {"name": NAMES[contest.model], **SETTINGS.get(contest.model, {})}
    if contest.model != "LR":
        # The initial values of DeepCTR-Torch and FuxiCTR.
        settings |= {"embedding_dim": EMBEDDING_DIM, "embedding_std": 1e-4}
    recipe = Recipe.of(
        {
            "model": settings,
            "train": {**train, "precision": option("precision", "auto"), "compile": option("compile", "off")},
            "data": {"label": "label", "kinds": dense | ids},
        }
    )
    torch.set_num_threads(contest.threads)
    with contest.part("prepare"):
        rows = load_as(recipe, str(contest.train_file), None)
        valid = load_as(recipe, str(contest.valid_file), rows.schema)
        prepared = prepare(recipe, rows, valid, work=contest.work)
    torch.manual_seed(0)
    with contest.part("build"):
        schema = prepared.encoder.model_schema
        tables = tuple(replace(one, num_rows=contest.size(one.name, one.num_rows)) for one in schema.categorical)
        model = CATALOGUE[recipe.name](replace(schema, categorical=tables), recipe.model)
        reader = Reader(prepared.train, batch_size=BATCH_ROWS, seed=0)
        trainer = Trainer(model, reader, recipe.train)
    with contest.part("train"):
        trainer.fit()
    assert prepared.valid is not None
    with contest.part("evaluate"):
        found = predict(model, Reader(prepared.valid, batch_size=EVALUATION_ROWS, shuffle=False).epoch())
        assert found.labels is not None
        measured = {"auc": auc(found.labels, found.logits), "log_loss": log_loss(found.labels, found.logits)}
    contest.finish(
        versions()["crossfield"],
        train_rows=prepared.train.num_rows,
        valid_rows=prepared.valid.num_rows,
        parameters=sum(one.numel() for one in model.parameters()),
        reused=prepared.reused,
        settings={key: option(key, "") for key in ("precision", "compile")},
        **measured,
    )


def option(key: str, default: str) -> str:
    """A setting from the environment, such as CONTEST_PRECISION=fp32."""
    return os.environ.get(f"CONTEST_{key.upper()}", default)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
