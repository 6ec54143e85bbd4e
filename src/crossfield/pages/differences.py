"""Where a model differs from its paper: the ``PAPER:`` notes in its file and in the layers that it uses."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from crossfield.models.base import Model

_LAYERS = "crossfield.layers."
_COMMENT = re.compile(r"^[ \t]*#\s*PAPER:\s*(.*(?:\n\s*#(?!\s*PAPER:).*)*)", re.MULTILINE)
_BESIDE_CODE = re.compile(r"\S[ \t]*#\s*PAPER:\s*(.*)")
_PARAGRAPH = re.compile(r"^[ \"]*PAPER:\s*(.*(?:\n[ \t]*[^\s\"].*)*)", re.MULTILINE)


def differences(kind: type[Model]) -> list[tuple[str, str]]:
    """Each note with the module it stands in, the model's own first."""
    model = sys.modules[kind.__module__]
    found = {(_short(model), note): None for note in notes(inspect.getsource(model))}
    for part in _layers_of(model):
        found |= {(_short(inspect.getmodule(part)), note): None for note in notes(inspect.getsource(part))}
    return list(found)


def _short(module: ModuleType | None) -> str:
    return module.__name__.removeprefix("crossfield.").replace(".", "/") + ".py" if module else ""


def notes(source: str) -> list[str]:
    """The ``PAPER:`` comments and paragraphs of docstrings of a source, in order, each as one line."""
    found = [(one.start(), re.sub(r"\n\s*#\s?", " ", one[1])) for one in _COMMENT.finditer(source)]
    found += [(one.start(), one[1]) for kind in (_BESIDE_CODE, _PARAGRAPH) for one in kind.finditer(source)]
    return [re.sub(r"\s+", " ", text).strip().removesuffix('"""').strip() for _, text in sorted(found)]


def _layers_of(model: ModuleType) -> list[Any]:
    """Classes and functions of the layers that a module uses, with those that they use in turn."""
    waiting, found = list(_used(model, inspect.getsource(model))), []
    while waiting:
        part = waiting.pop(0)
        if part not in found:
            found.append(part)
            waiting += _used(sys.modules[part.__module__], inspect.getsource(part))
    return found


def _used(module: ModuleType, source: str) -> Iterator[Any]:
    names = {node.id: None for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    for name in names:
        one = getattr(module, name, None)
        is_code = inspect.isclass(one) or inspect.isfunction(one)
        if is_code and str(getattr(one, "__module__", "")).startswith(_LAYERS):
            yield one
