"""Functions that run as they are where their caller is compiled."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")


def eager(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Keep a function out of compiled graphs: one ends before it, another begins after it.

    ``torch.compiler.disable`` alone would import torch's compiler where it stands: 1.2 seconds at every start.
    """

    @wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        if torch.compiler.is_compiling():
            as_it_is = torch.compiler.disable(function)  # type: ignore[no-untyped-call]  # torch does not type it
            result: Result = as_it_is(*args, **kwargs)
            return result
        return function(*args, **kwargs)

    return call
