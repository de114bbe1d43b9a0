"""Training with PyTorch: NegativeDataset and EpochSampler on a negative set, which mine nothing, so that forked workers are safe;
MiningCollate, which mines per batch; losses that need what is known of the negatives. Needs torch."""
from __future__ import annotations

import operator
from typing import Any, Iterator, Sequence

import numpy as np

try:
    import torch
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("quarry.torch needs PyTorch: pip install torch", name="torch") from None

from . import _sets
from ._convert import integers, path_text
from ._errors import ConfigError, InputError
from ._losses import MiningCollate, inclusion_weights, sampled_softmax_loss

__all__ = ["EpochSampler", "MiningCollate", "NegativeDataset", "inclusion_weights", "sampled_softmax_loss"]

_GOLDEN = 0x9E3779B97F4A7C15


def _mix(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: the same bits on every machine and in every release of NumPy."""
    x = numbers + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _mix_of(*numbers: int) -> np.ndarray:
    """uint64 [1] from whole numbers: one stream for each sequence of them."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = _mix(state ^ np.array([number % 2**64], np.uint64))
    return state


def _count(value: Any, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise ConfigError(f"{name}: {value!r} is out of range; a whole number from {low} to {high}")
    return int(value)


class NegativeDataset(torch.utils.data.Dataset):
    """Rows of a negative set (a folder, or STORE@VERSION), with n of the k negatives of each, chosen anew in every epoch.

    Map-style: ds[i] is a dict of tensors that the default collate function stacks:
        row int64: i. user int64. positive int64: one of the row's positives, chosen like the negatives; -1: it has none.
        item int64 [n]: row numbers of items, -1 behind the last. score, logq float32 [n], NaN there.
        count int64: how many of the n there are.
    The choice is uniform, without replacement, and depends on (epoch_seed, epoch, row key) alone: not on rank, worker, batch or order.
    n: 1 to k; None: all of them, in the order of picking. Raises InputError, IoError, ConfigError."""

    def __init__(self, path: Any, *, n: int | None = None, epoch_seed: int = 0, verify: bool = False) -> None:
        self.set = _sets.NegativeSet(path_text(path, "path"), verify)
        self.n = self.set.k if n is None else _count(n, "n", 1, self.set.k)
        self.epoch_seed = _count(epoch_seed, "epoch_seed", 0, 2**63 - 1)
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()  # workers that stay alive see it change

    @property
    def epoch(self) -> int:
        """The epoch whose negatives are given."""
        return int(self._epoch.item())

    def set_epoch(self, epoch: int) -> None:
        """Chooses the negatives of this epoch from here on, in workers too. Call it between epochs."""
        self._epoch.fill_(_count(epoch, "epoch", 0, 2**62))

    def __len__(self) -> int:
        return len(self.set)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"row {index} of {len(self)}")
        index %= len(self)
        return {name: column[0] for name, column in self._choose(self.set[index:index + 1], np.array([index])).items()}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, torch.Tensor]]:
        """Rows of a whole batch at once, as a DataLoader asks for them; each as ds[i] gives it. Raises IndexError."""
        columns = {name: column.unbind(0) for name, column in self.batch(indices).items()}
        return [dict(zip(columns, values)) for values in zip(*columns.values())]

    def batch(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """The same as the default collate function makes of ds[i] for i in indices, integers [B], without the way through single
        rows. Raises IndexError; InputError for what is no row numbers, such as a mask."""
        if len(indices) == 0:
            raise IndexError("no rows are asked for")
        places = integers(indices, "indices", -2**63, 2**63 - 1, np.int64)
        return self._choose(self.set[places], np.where(places < 0, places + len(self), places))

    def _choose(self, rows: _sets.Rows, places: np.ndarray) -> dict[str, torch.Tensor]:
        size, k = len(places), self.set.k
        count = rows.count.astype(np.int64)
        of_row = _mix(_mix_of(self.epoch_seed, self.epoch) ^ rows.row_key.astype(np.uint64))
        slot = np.arange(k)
        # Filled slots by their random keys, then the empty ones; the first n of them, back in the order of picking.
        keys = _mix(of_row[:, None] ^ _mix(np.arange(1, k + 1, dtype=np.uint64))[None, :])
        by_key = np.lexsort((keys, slot[None, :] >= count[:, None]), axis=-1)
        chosen = np.zeros((size, k), bool)
        np.put_along_axis(chosen, by_key[:, :self.n], True, axis=1)
        chosen[count <= self.n] = slot < self.n  # all there are
        slots = np.sort(np.where(chosen, slot[None, :], k), axis=1)[:, :self.n]
        taken = np.minimum(count, self.n)
        there = np.arange(self.n)[None, :] < taken[:, None]
        slots = np.minimum(slots, k - 1)

        def of(column: np.ndarray, dtype: Any, nothing: Any) -> torch.Tensor:
            return torch.from_numpy(np.where(there, np.take_along_axis(column, slots, 1).astype(dtype), dtype(nothing)))
        begin, end = rows.positive_offset[:-1].astype(np.int64), rows.positive_offset[1:].astype(np.int64)
        number = (_mix(of_row) % np.maximum(end - begin, 1).astype(np.uint64)).astype(np.int64)
        positive = np.full(size, -1, np.int64)
        has = end > begin
        positive[has] = rows.positive[(begin + number)[has]]
        return {"row": torch.from_numpy(places),
                "user": torch.from_numpy(rows.user.astype(np.int64)), "positive": torch.from_numpy(positive),
                "item": of(rows.item, np.int64, -1), "score": of(rows.score, np.float32, np.nan), "logq": of(rows.logq, np.float32, np.nan),
                "count": torch.from_numpy(taken)}


class EpochSampler(torch.utils.data.Sampler):
    """Row numbers of a NegativeDataset for one rank: an order fixed by (epoch_seed of the dataset, epoch), cut among ranks so that together
    they have every row once. Workers of a DataLoader share a rank's rows as they do with any sampler.

    rank, world: of torch.distributed where it is set up and they are not given; else 0 of 1. shuffle: False keeps the order of the set.
    even: leave out up to world - 1 rows at the end of the order, so that all ranks have equally many; else some have one more.
    Raises ConfigError."""

    def __init__(self, dataset: NegativeDataset, *, rank: int | None = None, world: int | None = None, shuffle: bool = True,
                 even: bool = False) -> None:
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if (rank is None) != (world is None):
            raise ConfigError("rank and world: give both or neither")
        if world is None:
            rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        self.dataset, self.shuffle, self.even = dataset, shuffle, even
        self.world = _count(world, "world", 1, 2**31 - 1)
        self.rank = _count(rank, "rank", 0, self.world - 1)
        self._start = 0

    def set_epoch(self, epoch: int) -> None:
        """Of this sampler and its dataset. Another epoch begins at its first row; that of a state that was loaded goes on where it says."""
        if epoch != self.dataset.epoch:
            self._start = 0
        self.dataset.set_epoch(epoch)

    def state_dict(self, rows_done: int) -> dict[str, int]:
        """What load_state_dict needs to go on behind `rows_done` rows of this rank in the epoch: those that the loop has trained on, since a
        DataLoader asks for rows ahead of it. More than there are, as a short last batch counted as a whole one, are all."""
        done = min(_count(rows_done, "rows_done", 0, 2**62), self._rank_rows())
        return {"epoch": self.dataset.epoch, "rows_done": done, "rows": len(self.dataset), "epoch_seed": self.dataset.epoch_seed,
                "world": self.world, "rank": self.rank, "shuffle": int(self.shuffle), "even": int(self.even)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """The next iteration goes on where the state says; the one after it begins at the first row. Raises InputError for the state of
        another set, seed, rank or number of ranks."""
        own = self.state_dict(0)
        for name in ("rows", "epoch_seed", "world", "rank", "shuffle", "even"):
            if state.get(name) != own[name]:
                raise InputError(f"{name}: the state has {state.get(name)!r}, this sampler {own[name]}; resume with what the state was made by")
        start = _count(state["rows_done"], "rows_done", 0, self._rank_rows())
        self.dataset.set_epoch(state["epoch"])
        self._start = start

    def _rank_rows(self) -> int:
        rows = len(self.dataset)
        if self.even:
            rows -= rows % self.world
        return len(range(self.rank, rows, self.world))

    def __len__(self) -> int:
        return self._rank_rows() - self._start

    def __iter__(self) -> Iterator[int]:
        rows = len(self.dataset)
        order = np.arange(rows)
        if self.shuffle:
            start = _mix_of(self.dataset.epoch_seed, self.dataset.epoch)
            order = np.argsort(_mix(start ^ _mix(np.arange(rows, dtype=np.uint64))), kind="stable")
        mine = order[self.rank::self.world][:self._rank_rows()][self._start:]
        self._start = 0
        return iter(mine.tolist())
