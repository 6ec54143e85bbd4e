"""implicit's alternating least squares, the ten best items of each user. Environment: ``pip install implicit``."""

import os
from importlib.metadata import version

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as implicit asks for: it has threads of its own
from contest import RANKING_DIM, Contest

contest = Contest("implicit")
with contest.part("import"):
    import numpy as np
    import scipy.sparse as sp
    from implicit.als import AlternatingLeastSquares
with contest.part("prepare"):
    train, test = (
        np.loadtxt(contest.data / f"{part}.tsv", dtype=np.int64, usecols=(0, 1), delimiter="\t")
        for part in ("train", "test")
    )
    shape = tuple(max(train[:, one].max(), test[:, one].max()) + 1 for one in (0, 1))
    met = sp.csr_matrix((np.ones(len(train), dtype=np.float32), (train[:, 0], train[:, 1])), shape=shape)
    model = AlternatingLeastSquares(factors=RANKING_DIM, iterations=1, num_threads=contest.threads, random_state=0)
with contest.part("train"):
    model.fit(met, show_progress=False)
users = test[:, 0]
with contest.part("evaluate"):
    best, _ = model.recommend(users, met[users], N=10, filter_already_liked_items=True)
hr10 = float((best == test[:, 1:2]).any(1).mean())
contest.finish(version("implicit"), train_rows=len(train), valid_rows=len(users), hr10=hr10)
