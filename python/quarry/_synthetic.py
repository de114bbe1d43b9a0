"""Synthetic negatives, between a negative and a positive."""
from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Synthetic:
    """What `Miner.synthesize` gives: NumPy arrays of their own memory."""

    item: np.ndarray  #: int64 [B, k] the negative that is mixed; -1 in an empty slot
    positive: np.ndarray  #: int64 [B, k] the positive that is mixed into it; -1: none, in empty slots and rows without positives
    coefficient: np.ndarray  #: float32 [B, k] share of the positive, of [0, 1); NaN where there is none
    vector: np.ndarray | None  #: float32 [B, k, dim]; NaN where there is none; None: not asked for

    def __repr__(self) -> str:
        return f"<quarry.Synthetic of {self.item.shape[0]} rows, k {self.item.shape[1]}, {'with' if self.vector is not None else 'without'} vectors>"
