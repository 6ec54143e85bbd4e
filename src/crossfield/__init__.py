"""Deep recommender models, from a raw file to a trained, honest, reusable ranker."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["Dataset", "Layout", "Ranker", "Recipe", "load"]

if TYPE_CHECKING:
    from crossfield.data.dataset import Dataset
    from crossfield.data.source import Layout
    from crossfield.ranker import Ranker, load
    from crossfield.recipe import Recipe

_HOMES = {
    "Dataset": "crossfield.data.dataset",
    "Layout": "crossfield.data.source",
    "Ranker": "crossfield.ranker",
    "Recipe": "crossfield.recipe",
    "load": "crossfield.ranker",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `crossfield --help` does not wait for torch.
    if name not in _HOMES:
        raise AttributeError(f"module 'crossfield' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
