"""Hard-negative mining. docs/python.md of the project is the guide; every class and function says shapes, dtypes and errors."""
import os as _os
import typing as _typing

import numpy as _numpy  # before the environment is another: it brings a BLAS of its own

from ._environment import for_the_library as _for_the_library

with _for_the_library():
    from . import _quarry
from ._errors import (Cancelled, ConfigError, DeviceError, Error, ForkError, InputError, IoError, LockedError, OutOfMemory, StaleError,
                      StaleWarning)
from ._logq import in_batch_logq, mixed_logq
from ._miner import Miner
from ._negatives import FILL_CODES, NO_BRANCH, Negatives
from ._prefetch import Prefetcher
from ._program import program
from ._synthetic import Synthetic
from ._sets import NegativeSet, Rows, open  # noqa: A004

_LATER = {"mine_hard_negatives": "text", "log_to_mlflow": "_mlflow", "arrow": "", "convert": "", "text": ""}  # imported when first asked for

__all__ = ["Cancelled", "ConfigError", "DeviceError", "Error", "FILL_CODES", "ForkError", "InputError", "IoError", "LockedError", "Miner",
           "NO_BRANCH", "NegativeSet", "Negatives", "OutOfMemory", "Prefetcher", "Rows", "StaleError",
           "StaleWarning", "Synthetic", "get_num_threads", "in_batch_logq", "log_to_mlflow", "mine_hard_negatives", "mixed_logq", "open",
           "program", "recipes", "set_num_threads"]


if _typing.TYPE_CHECKING:
    from . import arrow as arrow, convert as convert, text as text
    from ._mlflow import log_to_mlflow
    from .text import mine_hard_negatives
else:
    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module 'quarry' has no attribute {name!r}")
        import importlib
        module = importlib.import_module(f".{_LATER[name] or name}", __name__)
        return getattr(module, name) if _LATER[name] else module


def set_num_threads(threads: int) -> None:
    """Threads of the Miners that are made from now on, where they are not told; 0: as many as the process may use. Raises ConfigError
    outside of 0 to 4096."""
    _quarry.set_num_threads(threads)


def get_num_threads() -> int:
    """Threads that a Miner made now would take."""
    return _quarry.get_num_threads()


def recipes() -> list[str]:
    """Names of the recipes that come with Quarry and can be mined; `python -m quarry recipes` says what they are."""
    return _quarry.recipes()
