"""EASE against the paper's formula written out in float64."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor

import crossfield as cf
from crossfield.errors import ConfigError, CorruptError, SchemaError
from crossfield.models.base import Interactions
from crossfield.models.ease import EASE, EASEConfig
from crossfield.schema import Field, ModelSchema

NUM_USERS, NUM_ITEMS = 12, 10
SCHEMA = ModelSchema((), (Field("item", NUM_ITEMS), Field("user", NUM_USERS)), user="user", item="item")


def interactions(num_rows: int = 60, *, seed: int = 0) -> Interactions:
    """Random rows with labels and weights, some pairs several times, users 0 and 1 and item 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    users, items = (torch.randint(high, (num_rows,), generator=generator) for high in (NUM_USERS - 1, NUM_ITEMS - 1))
    labels = torch.randint(2, (num_rows,), generator=generator).float()
    return Interactions(users, items, labels, 0.5 + torch.rand(num_rows, generator=generator))


def solved(rows: Interactions, **settings: float) -> EASE:
    model = EASE(SCHEMA, EASEConfig.of({"l2": 2.0, **settings}))
    model.solve(rows)
    return model


def matrix_of(rows: Interactions) -> Tensor:
    """X in float64: the mean weight of the positive rows of each pair, nothing for users 0 and 1."""
    X, count = torch.zeros(2, NUM_USERS, NUM_ITEMS, dtype=torch.float64)
    for user, item, label, weight in zip(*(one.tolist() for one in vars(rows).values()), strict=True):
        if label and user > 1:
            X[user, item] += weight
            count[user, item] += 1
    return X / count.clamp(min=1)


def naive(X: Tensor, l2: float) -> Tensor:
    P = torch.linalg.inv(X.t() @ X + l2 * torch.eye(NUM_ITEMS).double())
    B = torch.zeros(NUM_ITEMS, NUM_ITEMS, dtype=torch.float64)
    for i in range(NUM_ITEMS):
        for j in range(NUM_ITEMS):
            B[i, j] = 0 if i == j else -P[i, j] / P[j, j]
    return B


@pytest.mark.parametrize("l2", [0.1, 20.0])
def test_weights_and_scores_are_the_papers(l2: float) -> None:
    model, X = solved(interactions(), l2=l2), matrix_of(interactions())
    B = naive(X, l2)
    torch.testing.assert_close(model.B.double(), B, rtol=1e-4, atol=1e-5)
    assert not model.B.diagonal().any()
    known = X.any(1)
    scores = model.score_rows(torch.arange(NUM_USERS)).double()
    torch.testing.assert_close(scores[known], (X @ B)[known], rtol=1e-4, atol=1e-5)


def test_the_solution_is_the_minimum_under_the_constraint() -> None:
    # Every column of B minimises on its own; its gradient is 0 but where the diagonal is held.
    X, B = matrix_of(interactions()), solved(interactions()).B.double()
    gradient = X.t() @ (X @ B - X) + 2.0 * B
    assert float(gradient.fill_diagonal_(0).abs().max()) < 1e-5


def test_solving_takes_no_second_matrix() -> None:
    model = EASE(SCHEMA, EASEConfig())
    place = model.B.data_ptr()
    model.solve(interactions())
    assert model.B.data_ptr() == place and model.B.is_contiguous()


def test_unknown_users_have_the_mean_scores_and_items_that_nobody_chose_have_none() -> None:
    model, X = solved(interactions()), matrix_of(interactions())
    scores, known = model.score_rows(torch.arange(NUM_USERS)), X.any(1)
    assert not known[[0, 1, NUM_USERS - 1]].any()
    torch.testing.assert_close(scores[~known], scores[known].mean(0).expand(int((~known).sum()), -1))
    assert not scores[:, NUM_ITEMS - 1].any() and scores.isfinite().all()


def test_nothing_chosen_scores_nothing() -> None:
    assert not solved(interactions(0)).score_rows(torch.arange(NUM_USERS)).any()


def test_items_that_go_together_are_found() -> None:
    # Users and items 2 to 9; everybody chose the items of their own parity, but for the one after their own.
    pairs = torch.cartesian_prod(torch.arange(2, 10), torch.arange(2, 10))
    alike = (pairs.sum(1) % 2 == 0) & (pairs[:, 1] != 2 + pairs[:, 0] % 8)
    users, items = pairs[alike].t()
    model = solved(Interactions(users, items, torch.ones(len(users)), torch.ones(len(users))), l2=1.0)
    scores = model.score_rows(torch.arange(2, 10))[:, 2:]
    own = (pairs.sum(1) % 2 == 0).view(8, 8)
    assert scores[own].min() > 0.3 and scores[~own].abs().max() < 1e-6


def test_more_items_than_memory_allows_are_refused_before_anything_is_allocated() -> None:
    schema = ModelSchema((), (Field("user", 3), Field("film", 10**7)), user="user", item="film")
    with pytest.raises(SchemaError, match=r"400000 GB: raise model.max_items .*, or encoder.features.film.min_count"):
        EASE(schema, EASEConfig())


def test_a_matrix_that_rounding_spoils_is_an_error_that_names_the_setting() -> None:
    # 10,000 users chose both items: XᵀX + λ 1 is singular in float32.
    users = torch.arange(2, 10_002).repeat(2)
    items = torch.tensor([2, 3]).repeat_interleave(10_000)
    schema = ModelSchema((), (Field("user", 10_002), Field("item", 4)), user="user", item="item")
    model = EASE(schema, EASEConfig(l2=1e-6))
    with pytest.raises(ConfigError, match=r"model\.l2"):
        model.solve(Interactions(users, items, torch.ones(20_000), torch.ones(20_000)))


def test_a_run_is_saved_loaded_and_recommends_what_goes_together(tmp_path: Path) -> None:
    pairs = [(user, item) for user in range(20) for item in range(20) if (user + item) % 2 == 0 and item != user]
    rows = pl.DataFrame(pairs, schema=["user", "item"], orient="row").cast(pl.String)
    ranker = cf.Ranker("ease", l2=1.0).fit(cf.load(rows, user="user", item="item", quiet=True), quiet=True)
    ranker.save(tmp_path / "run")
    loaded = cf.Ranker.load(tmp_path / "run")
    best = loaded.recommend(["3", "nobody"], k=1)
    assert best.equals(ranker.recommend(["3", "nobody"], k=1))
    assert int(best["item"][0]) % 2 == 1 and np.isfinite(best["score"].to_numpy()).all()
    assert best["known"].to_list() == [True, False]
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CorruptError):
        cf.Ranker.load(tmp_path / "run")
