"""Sampling probabilities that depend on the batch: logQ corrections for in-batch and mixed negatives."""
from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import InputError


def _shares(value: Any, name: str) -> np.ndarray:
    try:
        p = np.asarray(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: is no array of numbers ({error})") from None
    wrong = ~((p >= 0) & (p <= 1))
    if wrong.any():
        place = int(np.argmax(wrong.reshape(-1)))
        raise InputError(f"{name}: entry {place} is {float(p.reshape(-1)[place])}; probabilities of 0 to 1 are needed, such as counts / "
                         "counts.sum()")
    return p


def _whole(value: Any, name: str, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
        raise InputError(f"{name}: {value!r} is out of range; a whole number from {low} on")
    return int(value)


def in_batch_logq(probability: Any, batch: int) -> np.ndarray:
    """log(1 - (1 - p)^B), float64 of the shape of `probability`: the logarithm of the probability that an item is among the B positives of
    a batch, where each is drawn by itself and is that item with probability p (its share of the positives). It is the correction for a
    softmax over all distinct items of a batch, as of a recipe's source `batch` whose k is at least their number. The hardest k of more are no
    sample, and no logQ corrects for them. A row's own positive is there in any case, so of its negatives B - 1 draws decide: give B - 1 where
    that matters. For small p it is the log(B p) of Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations", RecSys 2019, to a constant.

    probability: numbers of 0 to 1, any shape, such as popularity[negatives.item] / popularity.sum(). batch: rows B, from 1 on. -inf where
    p is 0. Raises InputError."""
    p, rows = _shares(probability, "probability"), _whole(batch, "batch", 1)
    with np.errstate(divide="ignore"):
        return np.log(-np.expm1(rows * np.log1p(-p)))


def mixed_logq(probability: Any, batch: int, uniform: int, num_items: int) -> np.ndarray:
    """log Q* of mixed negative sampling, float64 of the shape of `probability`: Q* = B / (B + B') p + B' / (B + B') / N, the probability of
    an item in one draw from B positives of a batch and B' items drawn uniformly from N. Yang et al., "Mixed negative sampling for learning
    two-tower neural networks in recommendations", WWW Companion 2020.

    probability: an item's share p of the positives, any shape. batch: B, uniform: B', not both 0. num_items: N. Raises InputError."""
    p = _shares(probability, "probability")
    own, drawn, items = _whole(batch, "batch", 0), _whole(uniform, "uniform", 0), _whole(num_items, "num_items", 1)
    if own + drawn == 0:
        raise InputError("batch and uniform: both are 0; nothing is drawn")
    with np.errstate(divide="ignore"):
        return np.log((own * p + drawn / items) / (own + drawn))


def logq_of_items(item: Any, branch: np.ndarray, count: np.ndarray, batch_branches: list[int], uniform_branches: list[int], others: int,
                  popularity: np.ndarray) -> np.ndarray:
    """mixed_logq of `item`, int64 [rows] or [rows, n], -1 for none, which is NaN. branch: uint8 [rows, k], count: [rows] filled slots; others: positives
    of the other rows of a row's batch. popularity: positives of each item; not all 0."""
    item = np.asarray(item)
    if item.dtype.kind not in "iu" or item.ndim not in (1, 2) or len(item) != len(branch):
        raise InputError(f"items: are {item.dtype} of shape {item.shape}; whole numbers of shape [{len(branch)}] or [{len(branch)}, n] are needed")
    there = item >= 0
    if item.size and int(item.max()) >= len(popularity):
        raise InputError(f"items: one is {int(item.max())}; the Miner has {len(popularity)} items")
    uniform = int(np.isin(branch, uniform_branches).sum(axis=1).max()) if branch.size else 0  # shorter rows ran out of items
    full = count == branch.shape[1]
    batch = _whole(others, "batch", 0)
    if not batch_branches:
        batch = 0
    elif full.any():  # then its slots of the batch are all that the branch gives
        batch = min(batch, int(np.isin(branch[full], batch_branches).sum(axis=1).max()))
    share = popularity / popularity.sum()
    out = np.full(item.shape, np.nan)
    out[there] = mixed_logq(share[item[there]], batch, uniform, len(popularity))
    return out
