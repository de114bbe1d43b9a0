"""Losses that need what a set or a Miner knows of its negatives. Needs torch."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np
import torch

from ._errors import InputError
from ._negatives import as_numpy


def _same_shape(name: str, tensor: torch.Tensor | np.ndarray, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise InputError(f"{name}: has shape {tuple(tensor.shape)}; {shape} is needed")


def _tensor(value: Any, dtype: torch.dtype, beside: torch.Tensor) -> torch.Tensor:
    """What is known of negatives, on the device of their scores. Also of NumPy, whose uint16 (`Negatives.count`) torch hardly knows."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value.astype(np.int64 if value.dtype.kind in "iu" else np.float64))
    return value.to(device=beside.device, dtype=dtype)


def sampled_softmax_loss(positive_score: torch.Tensor, negative_score: torch.Tensor, *, logq: torch.Tensor | np.ndarray | None = None,
                         count: torch.Tensor | np.ndarray | None = None, positive_logq: torch.Tensor | np.ndarray | None = None,
                         temperature: float = 1.0, reduction: str = "mean") -> torch.Tensor:
    """-log(exp(s+) / (exp(s+) + sum of exp(s_j) over the negatives)), s = score / temperature - logq: sampled softmax with the logQ
    correction of Bengio and Senecal, "Adaptive importance sampling to accelerate training of a neural probabilistic language model", IEEE
    Trans. Neural Networks 2008, as used for retrieval by Yi et al., RecSys 2019.

    positive_score: [B]. negative_score: [B, n], by the model in training. logq: [B, n] of `Negatives` or a set; None: no correction. A NaN
        is a deterministic pick, which is not corrected; a negative of -inf had no probability at all and is left out. FORMAT.md says where
        logq is this correction: exactly with replacement, nearly where a branch draws few of many.
    count: [B] filled slots, of which those behind are left out; None: all are filled.
    positive_logq: [B], that of the positive as if it had been drawn; None: it is always there, and is not corrected.
    reduction: "mean", "sum" or "none" ([B]). A row without a negative has a loss of 0.

    Scores are tensors, the rest tensors or the arrays of `Negatives`. In the dtype of the scores; differentiable by them.
    Raises InputError for shapes that do not fit."""
    if negative_score.ndim != 2:
        raise InputError(f"negative_score: has shape {tuple(negative_score.shape)}; [rows, n] is needed")
    rows, n = negative_score.shape
    _same_shape("positive_score", positive_score, (rows,))
    if isinstance(temperature, torch.Tensor) and temperature.numel() != 1 or not temperature > 0:
        raise InputError(f"temperature: {temperature} is out of range; more than 0")
    if reduction not in ("mean", "sum", "none"):
        raise InputError(f"reduction: {reduction!r} is not one of mean, sum, none")
    positive, negative = positive_score / temperature, negative_score / temperature
    used = torch.ones_like(negative, dtype=torch.bool)
    if count is not None:
        _same_shape("count", count, (rows,))
        used = torch.arange(n, device=negative.device)[None, :] < _tensor(count, torch.int64, negative)[:, None]
    if logq is not None:
        _same_shape("logq", logq, (rows, n))
        logq = _tensor(logq, negative.dtype, negative)
        used = used & ~torch.isneginf(logq)
        negative = negative - torch.where(used, torch.nan_to_num(logq, nan=0.0), torch.zeros_like(logq))
    if positive_logq is not None:
        _same_shape("positive_logq", positive_logq, (rows,))
        positive = positive - _tensor(positive_logq, positive.dtype, positive)
    negative = torch.where(used, negative, torch.full_like(negative, -torch.inf))  # also what is NaN in an empty slot
    loss = torch.logsumexp(torch.cat([positive[:, None], negative], 1), 1) - positive
    return loss.mean() if reduction == "mean" else loss.sum() if reduction == "sum" else loss


def inclusion_weights(log_weight: torch.Tensor, kappa: torch.Tensor) -> torch.Tensor:
    """1 / q of negatives that were sampled without replacement, q = 1 - exp(-exp(phi - kappa)): with it the sum of f / q over a row's picks
    estimates the sum of f over all of the branch's candidates without bias. Duffield, Lund and Thorup, "Priority sampling for estimation of
    arbitrary subset sums", J. ACM 2007; with Gumbel keys Kool, van Hoof and Welling, "Stochastic beams and where to find them", ICML 2019.

    log_weight: [B, n], phi of each negative by the recipe's weight (0 for uniform, score / tau for softmax). kappa: [B], the column of the
        branch in `kappa`; a NaN says that all candidates were taken: their weight is 1.
    For negatives of one branch with select `sample` that were all picked by it, without quota, cap or backfill. [B, n], of log_weight's
    dtype. Raises InputError for shapes that do not fit."""
    if log_weight.ndim != 2:
        raise InputError(f"log_weight: has shape {tuple(log_weight.shape)}; [rows, n] is needed")
    _same_shape("kappa", kappa, (log_weight.shape[0],))
    bound = kappa.to(log_weight)[:, None]
    all_taken = torch.isnan(bound)
    q = -torch.expm1(-torch.exp(log_weight - torch.where(all_taken, torch.zeros_like(bound), bound)))  # no NaN, whose gradient is one
    return torch.where(all_taken, torch.ones_like(q), 1.0 / q)


class MiningCollate:
    """A collate function that mines: rows of a dataset become a batch with its negatives.

        loader = DataLoader(data, batch_size=1024, collate_fn=quarry.torch.MiningCollate(miner, users="user", positives="item"))

    miner: a Miner. users, positives, times, queries: names of the batch's columns that mine() takes; None: not given. collate: what makes a
    batch (a dict of tensors) of rows; None: torch's default. fixed: further keywords of mine().
    The batch comes back with `prefix` + item, score, logq [B, k], branch [B, k], count [B], kappa [B, branches], which share the memory of
    mine()'s arrays. Raises InputError where the batch is no dict or lacks a column, or has one by such a name, and in a worker of a
    DataLoader, which has no Miner: use num_workers=0, with Miner.prefetch to overlap mining and training."""

    def __init__(self, miner: Any, *, users: str | None = "user", positives: str | None = "positive", times: str | None = None,
                 queries: str | None = None, collate: Any = None, prefix: str = "negative_", **fixed: Any) -> None:
        self.miner, self.collate, self.prefix, self.fixed = miner, collate or torch.utils.data.default_collate, prefix, fixed
        self.columns = {name: column for name, column in (("users", users), ("positives", positives), ("times", times), ("queries", queries))
                        if column is not None}

    def __call__(self, rows: Any) -> dict[str, Any]:
        if torch.utils.data.get_worker_info() is not None:
            raise InputError("MiningCollate: a worker of a DataLoader cannot mine; use num_workers=0, and Miner.prefetch to mine ahead")
        batch = self.collate(rows)
        if not isinstance(batch, Mapping):
            raise InputError(f"MiningCollate: a batch is a {type(batch).__name__}; a dict of columns is needed (collate=)")
        lacking = [column for column in self.columns.values() if column not in batch]
        if lacking:
            raise InputError(f"MiningCollate: the batch has no column {lacking[0]!r}; it has {', '.join(batch)}")
        mined = self.miner.mine(**{name: batch[column] for name, column in self.columns.items()}, **self.fixed)
        out = dict(batch)
        for name in ("item", "score", "logq", "branch", "count", "kappa"):
            if self.prefix + name in out:
                raise InputError(f"MiningCollate: the batch has a column {self.prefix + name!r} already; give another prefix")
            column = as_numpy(getattr(mined, name))
            out[self.prefix + name] = torch.from_numpy(column.astype("int64") if name == "count" else column)
        return out
