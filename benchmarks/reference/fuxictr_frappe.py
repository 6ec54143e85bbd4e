"""FuxiCTR on the rows our table of Frappe_x1 is made of, with the settings BARS published for each model.

python benchmarks/reference/fuxictr_frappe.py MODEL [--seed 2021] [--threads 1] [--data FOLDER]

MODEL is a row of our table frappe. Trains it once by FuxiCTR's own reader, loader and trainer, measures it on the test
part, and appends a line to benchmarks/results/frappe-fuxictr.jsonl. Our training file's negatives are re-drawn: a value
that FuxiCTR misses on it as well is not missed because of our code. FOLDER holds train.rebuilt.libsvm, valid.libsvm and
test.libsvm; without it, the folder frappe under CROSSFIELD_DATA.

Environment: ``pip install torch fuxictr "polars<2"``; FUXICTR_SRC names a checkout of reczoo/FuxiCTR at the wheel's
version, because the wheel has no models.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "frappe-fuxictr.jsonl"
COLUMNS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
PARTS = {"train": "train.rebuilt.libsvm", "valid": "valid.libsvm", "test": "test.libsvm"}
HIDDEN = [400, 400, 400]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "deepfm": (
        "DeepFM",
        {"embedding_regularizer": 0.05, "hidden_units": HIDDEN, "net_dropout": 0.2, "batch_norm": True},
    ),
    "crossnet": (
        "DCN",
        {"embedding_regularizer": 1e-4, "num_cross_layers": 6, "dnn_hidden_units": []},
    ),
    "dcn_v2_crossnet": (
        "DCNv2",
        {"embedding_regularizer": 1e-3, "num_cross_layers": 4, "model_structure": "crossnet_only"},
    ),
    "finalmlp": (
        "FinalMLP",
        {
            "embedding_regularizer": 0.05,
            "mlp1_hidden_units": [400],
            "mlp1_dropout": 0.4,
            "mlp1_batch_norm": True,
            "mlp2_hidden_units": [100],
            "mlp2_dropout": 0.4,
            "mlp2_batch_norm": True,
            "use_fs": True,
            "fs_hidden_units": [400],
            "fs1_context": ["user"],
            "fs2_context": ["item"],
            "num_heads": 5,
        },
    ),
    "fibinet": (
        "FiBiNET",
        {
            "embedding_regularizer": 0.05,
            "hidden_units": HIDDEN,
            "net_dropout": 0.3,
            "batch_norm": True,
            "bilinear_type": "field_all",
            "reduction_ratio": 2,
        },
    ),
    "autoint": (
        "AutoInt",
        {
            "embedding_regularizer": 0.05,
            "dnn_hidden_units": [],
            "attention_layers": 6,
            "attention_dim": 128,
            "num_heads": 4,
            "use_residual": True,
            "use_scale": False,
            "layer_norm": False,
            "use_wide": False,
        },
    ),
}
"""Its class in the model zoo and what BARS sets for it beside what it sets for all."""
FOR_ALL: dict[str, Any] = {
    "task": "binary_classification",
    "loss": "binary_crossentropy",
    "metrics": ["AUC", "logloss"],
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "embedding_dim": 10,
    "net_regularizer": 0,
    "net_dropout": 0,
    "batch_norm": False,
    "monitor": "AUC",
    "monitor_mode": "max",
    "early_stop_patience": 2,
    "reduce_lr_on_plateau": True,
    "save_best_only": True,
    "gpu": -1,
    "verbose": 0,
    "group_id": None,
    "use_features": None,
    "feature_specs": None,
}
BATCH_ROWS, EPOCHS, CLIP_NORM = 4096, 100, 10.0


def write_csv(source: Path, target: Path) -> None:
    """The libsvm file as a table with a column per field; ids stay the global ones of the file."""
    with source.open() as rows, target.open("w") as out:
        out.write(",".join(("label", *COLUMNS)) + "\n")
        for row in rows:
            label, *ids = row.split()
            assert len(ids) == len(COLUMNS), f"{source.name}: {len(ids)} fields: {row!r}"
            out.write(",".join((label, *(one.partition(":")[0] for one in ids))) + "\n")


def tie_bilinear(model: Any) -> None:
    """One matrix for raw and re-weighted vectors, as in the version of the published FiBiNET; later ones have two."""
    del model.bilinear_interaction2
    model.bilinear_interaction2 = model.bilinear_interaction1


def train(name: str, seed: int, work: Path) -> dict[str, Any]:
    """What one run finds, from three CSV files in a folder."""
    sys.path.insert(0, os.environ["FUXICTR_SRC"])
    import fuxictr
    import model_zoo
    from fuxictr.features import FeatureMap
    from fuxictr.preprocess import FeatureProcessor, build_dataset
    from fuxictr.pytorch.dataloaders import RankDataLoader
    from fuxictr.pytorch.torch_utils import seed_everything

    kind, own = MODELS[name]
    settings = {**FOR_ALL, **own, "model_root": str(work / "checkpoints"), "model_id": name, "seed": seed}
    (work / "checkpoints" / "frappe").mkdir(parents=True)
    processor = FeatureProcessor(
        feature_cols=[{"name": list(COLUMNS), "active": True, "dtype": "str", "type": "categorical"}],
        label_col={"name": "label", "dtype": "float"},
        dataset_id="frappe",
        data_root=str(work),
    )
    files = build_dataset(
        processor,
        **{f"{part}_data": str(work / f"{part}.csv") for part in PARTS},
        min_categr_count=1,
    )
    feature_map = FeatureMap("frappe", str(work / "frappe"))
    feature_map.load(str(work / "frappe" / "feature_map.json"), settings)
    seed_everything(seed)
    model = getattr(model_zoo, kind)(feature_map, **settings)
    if name == "fibinet":
        tie_bilinear(model)
    train_rows, valid_rows, test_rows = RankDataLoader(
        feature_map,
        **{f"{part}_data": path for part, path in zip(PARTS, files, strict=True)},
        batch_size=BATCH_ROWS,
        data_format="parquet",
        shuffle=True,
        num_workers=0,
    ).make_iterator()
    epochs: list[dict[str, float]] = []
    judge = model.checkpoint_and_earlystop

    def listen(logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Note the rate an epoch was trained with and what validation says of it."""
        epochs.append({"auc": round(float(logs["AUC"]), 6), "lr": model.optimizer.param_groups[0]["lr"]})
        print(f"{name} {seed}: epoch {len(epochs)}: {epochs[-1]}", file=sys.stderr, flush=True)
        judge(logs, *args, **kwargs)

    model.checkpoint_and_earlystop = listen
    started = time.perf_counter()
    model.fit(train_rows, validation_data=valid_rows, epochs=EPOCHS, max_gradient_norm=CLIP_NORM)
    seconds = time.perf_counter() - started
    found = model.evaluate(test_rows)  # fit has read the best epoch's weights back
    aucs = [one["auc"] for one in epochs]
    return {
        "lib": "fuxictr",
        "version": fuxictr.__version__,
        "auc": float(found["AUC"]),
        "log_loss": float(found["logloss"]),
        "valid_auc": max(aucs),
        "best_epoch": aucs.index(max(aucs)) + 1,
        "epochs": len(epochs),
        "seconds": round(seconds, 1),
        "parameters": sum(one.numel() for one in model.parameters() if one.requires_grad),
        "train_rows": train_rows.num_samples,
        "settings": own,
        "history": epochs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--seed", type=int, default=2021)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("CROSSFIELD_DATA", "../shared/data")) / "frappe"
    )
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)  # before torch is there
    import torch

    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory(prefix="fuxictr-frappe-") as folder:
        for part, file in PARTS.items():
            write_csv(asked.data / file, Path(folder) / f"{part}.csv")
        found = train(asked.model, asked.seed, Path(folder))
    line = {
        "model": asked.model,
        "seed": asked.seed,
        **found,
        "torch": torch.__version__,
        "threads": asked.threads,
        "data_sha256": {file: hashlib.sha256((asked.data / file).read_bytes()).hexdigest() for file in PARTS.values()},
    }
    with RESULTS.open("a") as out:
        out.write(json.dumps(line) + "\n")
    print(
        json.dumps({key: line[key] for key in ("model", "seed", "auc", "log_loss", "best_epoch", "epochs", "seconds")})
    )


if __name__ == "__main__":
    main()
