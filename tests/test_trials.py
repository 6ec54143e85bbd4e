import numpy as np
import polars as pl
import pytest

from crossfield.data.cinema import LABEL, make_cinema
from crossfield.data.dataset import load
from crossfield.data.store import fit_store
from crossfield.landmarks import LANDMARKS
from crossfield.trials import Budget, Stores, planted_slopes, train_all, train_one

CHOSEN = [one for one in LANDMARKS if one.name in ("popularity", "logistic_regression", "fm")]
BUDGET = Budget(num_epochs=2, batch_size=100)
CINEMA = make_cinema(600)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Stores:
    rows = load(pl.DataFrame(CINEMA.columns), label=LABEL, user="user", item="film")
    store = fit_store(rows, tmp_path_factory.mktemp("store"))[1]
    return Stores(store, store, store)


def test_trials_in_processes_of_their_own_are_the_same_in_the_same_order(stores: Stores) -> None:
    found = []
    for processes in (1, 2):
        said: list[str] = []
        trials = train_all(
            CHOSEN, {(): stores}, BUDGET, seeds=2, effects=CINEMA.effects, processes=processes, say=said.append
        )
        runs = {name: [(one.run.seed, one.run.auc, one.run.slopes) for one in some] for name, some in trials.items()}
        found.append((runs, [line.split(":")[0] for line in said]))
    assert found[0] == found[1]
    assert found[0][1][:4] == [
        "  1 of 6  popularity, seed 0",
        "  2 of 6  logistic_regression, seed 0",
        "  3 of 6  fm, seed 0",
        "  4 of 6  popularity, seed 1",
    ]


def test_a_trial_has_a_curve_unless_nothing_is_trained_and_slopes_where_effects_are_known(stores: Stores) -> None:
    popularity, _, fm = (train_one(one, stores, budget=BUDGET, seed=0) for one in CHOSEN)
    assert popularity.run.curve == () and len(fm.run.curve) == 2
    assert fm.run.slopes == () and fm.run.seconds > 0
    assert popularity.num_parameters == stores.train.model_schema.categorical[2].num_rows


def test_the_budget_is_about_800_steps_whatever_the_rows() -> None:
    assert Budget.of(200_000) == Budget(4, 1024)
    assert Budget.of(40_000) == Budget(20, 1000)
    assert Budget.of(4_000) == Budget(20, 100)
    assert Budget.of(100) == Budget(20, 32)
    assert Budget.of(5_000_000) == Budget(1, 1024)


def test_slopes_of_a_logit_that_is_made_of_the_parts() -> None:
    effects = np.random.default_rng(0).normal(size=(50, 3))
    logits = 0.3 + effects @ np.array([1.0, 0.5, 0.0])
    assert planted_slopes(logits, effects) == pytest.approx((1.0, 0.5, 0.0), abs=1e-9)
