"""RecBole's full ranking. Environment as in recbole_context.py."""

from contest import BATCH_ROWS, LEARNING_RATE, RANKING_DIM, TOWER, Contest

contest = Contest("recbole")
with contest.part("import"):
    import recbole
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_logger, init_seed
torch.set_num_threads(contest.threads)
name = {"MF": "BPR"}.get(contest.model, contest.model)
folder = contest.work / "recbole" / "pairs"
folder.mkdir(parents=True, exist_ok=True)
settings = {
    "data_path": str(folder.parent),
    "benchmark_filename": ["train", "test", "test"],
    "use_gpu": False,
    "load_col": {"inter": ["user_id", "item_id"]},
    "eval_args": {"mode": "full", "order": "RO", "group_by": "user"},
    "metrics": ["Hit", "NDCG"],
    "topk": [10],
    "valid_metric": "NDCG@10",
    "epochs": 1,
    "train_batch_size": BATCH_ROWS,
    "eval_batch_size": BATCH_ROWS * 100,
    "embedding_size": RANKING_DIM,
    "mf_embedding_size": RANKING_DIM,
    "mlp_embedding_size": RANKING_DIM,
    "mlp_hidden_size": list(TOWER),
    "learning_rate": LEARNING_RATE,
    "show_progress": False,
    "state": "WARNING",
    "checkpoint_dir": str(contest.work / "recbole" / "saved"),
    "seed": 2020,
}
with contest.part("prepare"):
    for part in ("train", "test"):
        pairs = [line.split("\t")[:2] for line in (contest.data / f"{part}.tsv").read_text().splitlines()]
        lines = ["user_id:token\titem_id:token", *("\t".join(pair) for pair in pairs)]
        (folder / f"pairs.{part}.inter").write_text("\n".join(lines) + "\n")
    config = Config(model=name, dataset="pairs", config_dict=settings)
    init_seed(2020, True)
    init_logger(config)
    train, _, test = data_preparation(config, create_dataset(config))
model = get_model(name)(config, train._dataset)
trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
with contest.part("train"):
    trainer._train_epoch(train, 0, show_progress=False)
with contest.part("evaluate"):
    found = trainer.evaluate(test, load_best_model=False)
contest.finish(
    recbole.__version__,
    train_rows=len(train._dataset),
    valid_rows=test._dataset.user_num - 1,
    hr10=float(found["hit@10"]),
)
