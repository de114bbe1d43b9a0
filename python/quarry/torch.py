"""Training on a negative set with PyTorch: NegativeDataset and EpochSampler. Needs torch; mines nothing, so forked workers are safe."""
from __future__ import annotations

from typing import Any, Iterator

import numpy as np
import torch

from . import _sets
from ._convert import path_text
from ._errors import ConfigError, InputError

_GOLDEN = 0x9E3779B97F4A7C15


def _mix(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finalizer: the same bits on every machine and in every release of NumPy."""
    x = numbers + np.uint64(_GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _stream(*numbers: int) -> np.ndarray:
    """uint64 [1] from whole numbers."""
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
        row = self.set[int(index)]
        count = int(row["count"])
        of_row = _stream(self.epoch_seed, self.epoch, int(row["row_key"]))
        slots = np.arange(count)
        if self.n < count:
            keys = _mix(of_row ^ _mix(np.arange(1, count + 1, dtype=np.uint64)))
            slots = np.sort(np.argsort(keys, kind="stable")[:self.n])
        item = np.full(self.n, -1, np.int64)
        score, logq = np.full(self.n, np.nan, np.float32), np.full(self.n, np.nan, np.float32)
        item[:len(slots)], score[:len(slots)], logq[:len(slots)] = row["item"][slots], row["score"][slots], row["logq"][slots]
        positives = row["positives"]
        positive = int(positives[int(_mix(of_row)[0] % np.uint64(len(positives)))]) if len(positives) else -1
        return {"row": torch.tensor(int(index) % len(self)), "user": torch.tensor(int(row["user"])), "positive": torch.tensor(positive),
                "item": torch.from_numpy(item), "score": torch.from_numpy(score), "logq": torch.from_numpy(logq),
                "count": torch.tensor(len(slots))}


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
            start = _stream(self.dataset.epoch_seed, self.dataset.epoch)
            order = np.argsort(_mix(start ^ _mix(np.arange(rows, dtype=np.uint64))), kind="stable")
        mine = order[self.rank::self.world][:self._rank_rows()][self._start:]
        self._start = 0
        return iter(mine.tolist())
