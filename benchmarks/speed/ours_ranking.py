"""Crossfield on user-item pairs: one epoch, then every item ranked (NeuMF) or the ten best found (MF) for each user."""

from contest import PAIRS, RANKING_DIM, TOWER, Contest

contest = Contest("crossfield")
with contest.part("import"):
    import torch

    from crossfield import Ranker, load
    from crossfield.fitting import versions
torch.set_num_threads(contest.threads)
SETTINGS = {"NeuMF": {"mlp_embedding_dim": RANKING_DIM, "hidden": TOWER}, "MF": {}}
with contest.part("prepare"):
    pairs = {"columns": PAIRS, "header": False, "separator": "\t", "user": "user", "item": "item"}
    train = load(str(contest.data / "train.tsv"), quiet=True, **pairs)
    test = load(str(contest.data / "test.tsv"), quiet=True, **pairs)
    users = test.frame.select("user").collect()["user"]
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
    target = test.frame.select("user", "item").collect()
    hr10 = len(best.join(target, on=["user", "item"])) / len(users)
contest.finish(versions()["crossfield"], train_rows=train.num_rows, valid_rows=len(users), hr10=float(hr10))
