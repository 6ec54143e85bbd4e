"""FuxiCTR by its own reader, loader and trainer.

Environment: ``pip install torch fuxictr "polars<2"``; FUXICTR_SRC names a checkout of reczoo/FuxiCTR at the wheel's
version, because the wheel has no models.
"""

import os
import shutil
import sys
import time

from contest import (
    BATCH_ROWS,
    CATEGORICAL,
    CIN,
    CROSS_LAYERS,
    DENSE,
    DLRM_BOTTOM,
    EMBEDDING_DIM,
    HIDDEN,
    LEARNING_RATE,
    Contest,
    cpu_seconds,
)

sys.path.insert(0, os.environ["FUXICTR_SRC"])
os.environ["PYTHONPATH"] = sys.path[0]  # for the processes of its loader
contest = Contest("fuxictr")
with contest.part("import"):
    import fuxictr
    import model_zoo
    import polars as pl
    import torch
    from fuxictr.features import FeatureMap
    from fuxictr.preprocess import FeatureProcessor, build_dataset
    from fuxictr.pytorch.dataloaders import RankDataLoader
    from fuxictr.pytorch.torch_utils import seed_everything
torch.set_num_threads(contest.threads)
hidden, name = list(HIDDEN), "rows"
root = contest.work / "fuxictr"
shutil.rmtree(root, ignore_errors=True)
(root / "checkpoints" / name).mkdir(parents=True)


class Processor(FeatureProcessor):
    """Its reader with a transform of ours, as its documentation says to add one."""

    def log1p(self, column: str) -> pl.Expr:
        """log(1 + x), 0 where it is missing."""
        return (pl.col(column).fill_null(0.0) + 1).log()


with contest.part("prepare"):
    features = [
        {"name": DENSE, "active": True, "dtype": "float", "type": "numeric", "preprocess": "log1p"},
        {"name": CATEGORICAL, "active": True, "dtype": "str", "type": "categorical"},
    ]
    processor = Processor(
        feature_cols=features, label_col={"name": "label", "dtype": "float"}, dataset_id=name, data_root=str(root)
    )
    train, valid, _ = build_dataset(
        processor, train_data=str(contest.train_file), valid_data=str(contest.valid_file), min_categr_count=1
    )
settings = {
    "model_root": str(root / "checkpoints"),
    "verbose": 0,
    "metrics": ["logloss", "AUC"],
    "loss": "binary_crossentropy",
    "task": "binary_classification",
    "optimizer": "adam",
    "learning_rate": LEARNING_RATE,
    "embedding_dim": EMBEDDING_DIM,
    **dict.fromkeys(("embedding_regularizer", "net_regularizer", "regularizer", "net_dropout"), 0),
    **dict.fromkeys(("mlp1_dropout", "mlp2_dropout"), 0),
    **dict.fromkeys(("hidden_units", "dnn_hidden_units", "parallel_dnn_hidden_units"), hidden),
    **dict.fromkeys(("stacked_dnn_hidden_units", "mlp1_hidden_units", "mlp2_hidden_units", "top_mlp_units"), hidden),
    "batch_norm": False,
    "hidden_activations": "relu",
    "dnn_activations": "relu",
    "model_structure": "parallel",
    "num_cross_layers": CROSS_LAYERS,
    "cin_hidden_units": list(CIN),
    "bottom_mlp_units": list(DLRM_BOTTOM),
    "use_features": None,
    "feature_specs": None,
    "monitor": "AUC",
    "monitor_mode": "max",
    "model_id": contest.model,
    "gpu": -1,
    "group_id": None,
    "use_fs": False,
    "num_heads": 2,
}
seed_everything(2019)
with contest.part("build"):
    feature_map = FeatureMap(name, str(root / name))
    feature_map.load(str(root / name / "feature_map.json"), settings)
    for column in CATEGORICAL:
        feature_map.features[column]["vocab_size"] = contest.size(column, feature_map.features[column]["vocab_size"])
    loader = RankDataLoader(
        feature_map,
        stage="train",
        train_data=train,
        valid_data=valid,
        batch_size=BATCH_ROWS,
        data_format="parquet",
        shuffle=True,
        num_workers=1,
    )
    train_rows, valid_rows = loader if isinstance(loader, tuple) else loader.make_iterator()
    model = getattr(model_zoo, contest.model)(feature_map, **settings)
# Its fit evaluates at the end of the epoch: the training part ends where that begins.
ended: dict[str, float] = {}
evaluate_epoch = model.eval_step


def eval_step() -> None:
    ended.setdefault("wall", time.perf_counter())
    ended.setdefault("cpu", cpu_seconds())
    evaluate_epoch()


model.eval_step = eval_step
started = {"wall": time.perf_counter(), "cpu": cpu_seconds()}
model.fit(train_rows, validation_data=valid_rows, epochs=1)
contest.parts["train"] = {key: ended[key] - started[key] for key in started}
with contest.part("evaluate"):
    found = model.evaluate(valid_rows, metrics=["logloss", "AUC"])
contest.finish(
    fuxictr.__version__,
    train_rows=train_rows.num_samples,
    valid_rows=valid_rows.num_samples,
    parameters=sum(one.numel() for one in model.parameters()),
    auc=float(found["AUC"]),
    log_loss=float(found["logloss"]),
)
