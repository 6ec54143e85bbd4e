"""RecBole's context-aware models, rows brought into its atomic files first.

Environment: ``pip install torch recbole "setuptools<81" "numpy<2" "pandas<2.3" "scipy<1.14"``.
"""

from contest import BATCH_ROWS, CATEGORICAL, CIN, CROSS_LAYERS, DENSE, EMBEDDING_DIM, HIDDEN, LEARNING_RATE, Contest

contest = Contest("recbole")
with contest.part("import"):
    import numpy as np
    import pandas as pd
    import recbole
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_logger, init_seed
torch.set_num_threads(contest.threads)
NAMES = {"DCNv2": "DCNV2"}
name = NAMES.get(contest.model, contest.model)
folder = contest.work / "recbole" / "ctr"
folder.mkdir(parents=True, exist_ok=True)
settings = {
    "data_path": str(folder.parent),
    "benchmark_filename": ["train", "valid", "valid"],
    "use_gpu": False,
    "field_separator": "\t",
    "load_col": {"inter": ["label", *DENSE, *CATEGORICAL]},
    "LABEL_FIELD": "label",
    "threshold": None,
    "numerical_features": DENSE,
    "USER_ID_FIELD": "C3",
    "ITEM_ID_FIELD": "C4",
    "eval_args": {"mode": "labeled", "order": "RO", "group_by": None},
    "metrics": ["AUC", "LogLoss"],
    "valid_metric": "AUC",
    "train_neg_sample_args": None,
    "epochs": 1,
    "train_batch_size": BATCH_ROWS,
    "eval_batch_size": BATCH_ROWS,
    "embedding_size": EMBEDDING_DIM,
    "mlp_hidden_size": list(HIDDEN),
    "dropout_prob": 0.0,
    "cross_layer_num": CROSS_LAYERS,
    "reg_weight": 0.0,
    "cin_layer_size": list(CIN),
    "direct": True,
    "mixed": False,
    "structure": "parallel",
    "learning_rate": LEARNING_RATE,
    "show_progress": False,
    "state": "WARNING",
    "checkpoint_dir": str(contest.work / "recbole" / "saved"),
    "seed": 2020,
}
with contest.part("prepare"):
    for part, path in (("train", contest.train_file), ("valid", contest.valid_file)):
        rows = pd.read_csv(path, dtype=dict.fromkeys(CATEGORICAL, str))
        rows[CATEGORICAL] = rows[CATEGORICAL].fillna("-1")
        rows[DENSE] = np.log1p(rows[DENSE].fillna(0).astype("float64"))
        rows.columns = ["label:float", *(f"{one}:float" for one in DENSE), *(f"{one}:token" for one in CATEGORICAL)]
        rows.to_csv(folder / f"ctr.{part}.inter", sep="\t", index=False)
    config = Config(model=name, dataset="ctr", config_dict=settings)
    init_seed(2020, True)
    init_logger(config)
    train, valid, _ = data_preparation(config, create_dataset(config))
with contest.part("build"):
    model = get_model(name)(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
with contest.part("train"):
    trainer._train_epoch(train, 0, show_progress=False)
with contest.part("evaluate"):
    found = trainer.evaluate(valid, load_best_model=False)
contest.finish(
    recbole.__version__,
    train_rows=len(train._dataset),
    valid_rows=len(valid._dataset),
    parameters=sum(one.numel() for one in model.parameters()),
    auc=float(found["auc"]),
    log_loss=float(found["logloss"]),
)
