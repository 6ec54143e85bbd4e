"""Crossfield on user-item pairs: one epoch, then every item ranked (NeuMF) or the ten best found (MF) for each user."""

from contest import RANKING_DIM, TOWER, Contest

contest = Contest("crossfield")
with contest.part("import"):
    import polars as pl
    import torch

    from crossfield import Ranker, load
    from crossfield.fitting import versions
torch.set_num_threads(contest.threads)
SETTINGS = {"NeuMF": {"mlp_embedding_dim": RANKING_DIM, "hidden": TOWER}, "MF": {}}
with contest.part("prepare"):
    tables = [
        pl.read_csv(contest.data / f"{part}.tsv", separator="\t", has_header=False).select(
            user="column_0", item="column_1"
        )
        for part in ("train", "test")
    ]
    train, test = (load(one, quiet=True, user="user", item="item") for one in tables)
    users = tables[1]["user"]
ranker = Ranker(
    contest.model.lower(),
    embedding_dim=RANKING_DIM,
    **SETTINGS[contest.model],
    train={"epochs": 1, "batch_size": 4096, "threads": contest.threads, "compile": "off"},
)
with contest.part("train"):
    ranker.fit(train, test, quiet=True)
with contest.part("evaluate"):
    if contest.model == "NeuMF":
        hr10 = ranker.evaluate(test, quiet=True)["hr@10"]
    else:
        best = ranker.recommend(users.to_list(), k=10)
if contest.model == "MF":
    hr10 = len(best.join(tables[1], on=["user", "item"])) / len(users)
contest.finish(versions()["crossfield"], train_rows=train.num_rows, valid_rows=len(users), hr10=float(hr10))
