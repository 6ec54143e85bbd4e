"""Models and optimisers whose tables grow with the ids: known rows keep every bit, new ids start as the unseen one."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from crossfield.data.vocabulary import UNSEEN, Growth
from crossfield.errors import ConfigError
from crossfield.layers.embedding import FieldEmbedding
from crossfield.mapped import zeros_beside
from crossfield.models.base import Model, Solved
from crossfield.optim import Optimizers
from crossfield.schema import ModelSchema


def grown_model(model: Model, schema: ModelSchema, growths: Mapping[str, Growth]) -> Model:
    """The same model for a grown schema, which gives every row the score that it had.

    Rows of known ids and all other weights are kept; admitted ids start from their field's unseen row. Raises
    ConfigError for a model that is solved: it has to be solved again from all rows.
    """
    if isinstance(model, Solved):
        raise ConfigError(f"{type(model).__name__} is solved from all rows at once; fit it again on old and new rows")
    grown = type(model)(schema, model.config)
    weights, tables = dict(model.state_dict()), dict(grown.named_parameters())
    for name, rows in table_rows(grown, growths).items():
        weights[name] = _gather(weights[name], rows.start, out=tables[name].detach())
    grown.load_state_dict(weights)
    return grown


class TableRows:
    """Where the rows of a grown table come from, [R] int64: ``start`` for weights, ``known`` with -1 for new ids."""

    def __init__(self, module: FieldEmbedding, growths: Mapping[str, Growth]) -> None:
        starts, known, offset = [], [], 0
        for name in module.names:
            rows = torch.from_numpy(growths[name].rows)
            known.append(torch.where(rows < 0, -1, rows + offset))
            starts.append(torch.where(rows < 0, UNSEEN, rows) + offset)
            offset += growths[name].old_rows
        self.start, self.known = torch.cat(starts), torch.cat(known)


def table_rows(model: Model, growths: Mapping[str, Growth]) -> dict[str, TableRows]:
    """Parameter name -> where its rows come from, of every table of ids."""
    tables = {name: one for name, one in model.named_modules() if isinstance(one, FieldEmbedding)}
    return {f"{name}.arena.weight": TableRows(one, growths) for name, one in tables.items()}


def grown_state(
    state: Mapping[str, Any], model: Model, optimizers: Optimizers, growths: Mapping[str, Growth]
) -> dict[str, Any]:
    """What optimisers remembered, for the grown model's: rows of known ids keep theirs, admitted ids have none yet.

    Learning rates are those of ``optimizers``.
    """
    names = {id(weight): name for name, weight in model.named_parameters()}
    rows = table_rows(model, growths)
    found = {}
    for part, now in optimizers.state_dict().items():
        weights = list(optimizers.parts[part].parameters)
        kept = {
            index: _grown_values(values, rows.get(names[id(weights[index])]), weights[index])
            for index, values in state.get(part, {}).get("state", {}).items()
        }
        found[part] = {**now, "state": kept}
    return found


def _grown_values(values: Mapping[str, Any], rows: TableRows | None, weight: Tensor) -> dict[str, Any]:
    def grown(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if rows is None or not value.ndim:
            return value.clone()  # steps write in place: an update that fails must not touch what it began from
        taken = zeros_beside(weight, (len(weight), *value.shape[1:]), value.dtype)
        _gather(value, rows.known.clamp(min=0), out=taken)
        taken[rows.known < 0] = 0
        return taken

    return {name: grown(value) for name, value in values.items()}


def _gather(table: Tensor, rows: Tensor, *, out: Tensor) -> Tensor:
    return torch.index_select(table.to(out.device), 0, rows.to(out.device), out=out)
