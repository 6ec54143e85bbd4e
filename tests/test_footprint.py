"""Sizes against numbers worked out by hand, and against models that are really built and trained for a step."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from crossfield.footprint import Footprint, measure, optimizer_bytes, outline, resized
from crossfield.models import CATALOGUE
from crossfield.objectives import choose_objective
from crossfield.optim import build_optimizers
from crossfield.recipe import Recipe
from crossfield.schema import Field, Kind, ModelSchema

from .contract.cases import SCHEMAS, TRAINED, random_batch

PAIR = ModelSchema((), (Field("user", 5), Field("item", 7)), user="user", item="item")


def recipe_of(name: str, *, train: dict[str, Any] | None = None, **model: Any) -> Recipe:
    return Recipe.of({"model": {"name": name, **model}, "train": train or {}})


def fm(**train: Any) -> Recipe:
    return recipe_of("fm", embedding_dim=4, train=train)


def count(recipe: Recipe, schema: ModelSchema = PAIR, *, examples: int = 3, bf16: bool = False) -> Footprint:
    return measure(recipe, schema, examples=examples, bf16=bf16)


def test_parameters_of_an_fm() -> None:
    # A weight and a vector of 4 for each of 5 users and 7 items, and a bias.
    found = count(fm())
    assert found.table_parameters == {"item": 35, "user": 25}
    assert (found.net_parameters, found.parameters, found.weights) == (1, 61, 244)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        (
            "lazy_adam",
            (2 * 60 * 4 + 2 * 4) + (2 * 4 + 4),
        ),  # two moments of the tables, of each a step count; of the bias
        ("rowwise_adagrad", 2 * 12 * 4 + (2 * 4 + 4)),  # one number a row, in the table of weights and that of vectors
        ("adam", 2 * 61 * 4 + 3 * 4),
        ("adagrad", 61 * 4),
        ("sgd", 0),
    ],
)
def test_what_the_optimisers_keep(optimizer: str, expected: int) -> None:
    assert count(fm(optimizer=optimizer)).optimizer == expected


@pytest.mark.parametrize(("wide", "kept"), [("ftrl", 2 * 48), ("adagrad", 48), ("same", 2 * 48 + 4)])
def test_a_wide_part_has_an_optimiser_of_its_own(wide: str, kept: int) -> None:
    recipe = recipe_of("wide_deep", embedding_dim=4, deep=[3], train={"wide_optimizer": wide})
    # 12 wide weights, 12 vectors of 4, and 8 -> 3 -> 1 with biases: 31 numbers in 4 tensors.
    assert count(recipe).optimizer == kept + (2 * 48 * 4 + 4) + (2 * 31 * 4 + 4 * 4)
    assert count(recipe).net_parameters == 31


def test_gradients_are_those_of_the_rows_a_step_can_name() -> None:
    sparse, dense = count(fm(), examples=6), count(fm(optimizer="adam"), examples=6)
    # At most 5 users and 6 items, each with a weight and a vector of 4; and the bias.
    assert (sparse.touched_rows, sparse.gradients, sparse.whole_tables) == (11, 11 * 5 * 4 + 4, 0)
    assert (dense.gradients, dense.whole_tables) == (244, 240)


def test_lists_count_with_their_longest() -> None:
    schema = replace(PAIR, sequences=(Field("tags", 100, Kind.MULTI),))
    recipe = Recipe.of({"model": {"name": "fm"}, "encoder": {"max_length": 10}})
    assert count(recipe, schema, examples=2).touched_rows == 2 + 2 + 20


def test_arithmetic_of_a_small_mlp() -> None:
    found = count(recipe_of("dnn", embedding_dim=4, deep=[3]))
    assert found.matrix_flops == 2 * (8 * 3 + 3 * 1)
    assert found.training_flops == found.flops + 2 * found.matrix_flops


def test_activations_grow_with_examples_and_shrink_with_bf16() -> None:
    recipe = recipe_of("dnn", embedding_dim=4, deep=[1000])
    found = count(recipe, examples=10)
    # The input of the two maps at least: 8 + 1000 numbers; at most twice that, for the activation between them.
    assert 10 * 4 * 1008 <= found.activations <= 10 * 4 * 2100
    assert count(recipe, examples=20).activations == 2 * found.activations
    # What the logit is computed from is kept in float32 as well: of four layers the other three are halved.
    deeper = recipe_of("dnn", embedding_dim=4, deep=[1000] * 4)
    exact, rounded = (count(deeper, examples=10, bf16=bf16).activations for bf16 in (False, True))
    assert rounded < 0.8 * exact


def test_validation_keeps_the_best_weights_beside_the_latest() -> None:
    found = count(fm())
    assert found.checkpoint(has_valid=False) == 244 + found.optimizer
    assert found.checkpoint(has_valid=True) == 488 + found.optimizer
    assert found.needed(has_valid=True) == 488 + found.optimizer + found.gradients + found.activations


def test_tables_on_disk_take_no_memory() -> None:
    found = count(fm(tables="disk"))
    # 12 rows of a weight and of a vector of 4; beside them a bias, of two moments and a step count.
    assert (found.mapped_weights, found.mapped_optimizer) == (240, 2 * 240 + 2 * 4)
    assert found.needed(has_valid=True) == 2 * 4 + (2 * 4 + 4) + found.step
    assert found.needed(has_valid=False) == found.needed(has_valid=True) - 4
    assert found.checkpoint(has_valid=True) == count(fm()).checkpoint(has_valid=True)


def test_a_model_larger_than_any_machine_is_counted() -> None:
    huge = resized(PAIR, lambda field: 10**12)
    assert count(fm(), huge).table_parameters == {"user": 5 * 10**12, "item": 5 * 10**12}


def test_counting_leaves_torch_as_it_was() -> None:
    state = torch.get_rng_state()
    count(recipe_of("dnn", deep=[3], dropout=0.5))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", TRAINED)
def test_counted_is_built(name: str) -> None:
    """Every model of the catalogue: the same weights, and after one real step the same state."""
    schema, recipe = SCHEMAS["mixed"], recipe_of(name)
    found = count(recipe, schema)
    model = CATALOGUE[name](schema, recipe.model)
    optimizers = build_optimizers(model, recipe.train)
    called, objective = choose_objective(model, "bce", None)
    objective(called, random_batch(schema, 16)).backward()  # type: ignore[no-untyped-call]
    optimizers.step()
    states = [state for part in optimizers.parts.values() for state in part.optimizer.state.values()]
    kept = sum(one.nbytes for state in states for one in state.values() if isinstance(one, torch.Tensor))
    assert found.parameters == sum(one.numel() for one in model.parameters())
    assert found.weights == sum(one.nbytes for one in model.state_dict().values())
    assert found.optimizer == kept == optimizer_bytes(recipe, outline(recipe, schema))
    assert found.activations > 0


@pytest.mark.parametrize(
    ("name", "weights"),
    # EASE: a weight for each two items, a mean score for each, and where each user's items begin.
    [("popularity", 7 * 4), ("ials", (5 + 7) * 64 * 4), ("ease", (7 * 7 + 7) * 4 + (5 + 1) * 8)],
)
def test_a_solved_model_has_weights_and_nothing_else(name: str, weights: int) -> None:
    found = count(recipe_of(name))
    assert (found.weights, found.parameters, found.optimizer, found.activations) == (weights, 0, 0, 0)
