"""Reading negative sets and versions of stores as memory-mapped NumPy columns."""
from __future__ import annotations

import bisect
import json
import operator
import os
from typing import Any, Iterator, Mapping

import numpy as np

from . import _quarry
from ._convert import path_text
from ._errors import InputError

_ROW = ("row_key", "user", "time", "count", "positive_min", "kappa", "certified")
_SLOT = ("item", "score", "gap", "branch", "raw_rank", "survivor_rank", "quantile", "stratum", "logq", "fill")
_PLACES = ("positive_offset", "positive")


class Rows(Mapping[str, np.ndarray]):
    """Rows of a set: a mapping of column names to arrays, which are attributes too: rows.item. `positive_offset` begins with 0."""

    def __init__(self, columns: dict[str, np.ndarray]) -> None:
        self._columns = columns

    def __repr__(self) -> str:
        return f"<quarry.Rows: {len(self._columns.get('row_key', ()))} rows of {', '.join(self._columns)}>"

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __getattr__(self, name: str) -> np.ndarray:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(f"there is no column {name!r}; columns are {', '.join(self._columns) if not name.startswith('_') else ''}")
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def positives(self, row: int) -> np.ndarray:
        """uint32: the positives of a row of these."""
        offsets = self._columns["positive_offset"]
        rows = len(offsets) - 1
        if not -rows <= row < rows:
            raise IndexError(f"row {row} of {rows}")
        row %= rows
        return self._columns["positive"][int(offsets[row]):int(offsets[row + 1])]


class NegativeSet:
    """A finished negative set, mapped and never changed; host/store/FORMAT.md describes columns and dtypes. len() is its rows.

    set[i] is a row: a dict of numbers, of arrays [k] and, under "positives", of its positives. set[i:j] and set[integer array] are Rows;
    a range within a shard is a view of the mapped files, anything else a copy. Empty slots of `item` hold 0xFFFFFFFF."""

    def __init__(self, name: str, verify: bool) -> None:
        folder, manifest, self.content_hash = _quarry.open_set(name, verify)
        self.manifest: dict[str, Any] = json.loads(manifest)
        version = self.manifest.get("version")
        self._name = folder if version is None else f"{folder}@{version}"  # what a tag meant stays meant
        #: Names by number, of `branch`, `stratum` and `fill`.
        self.branches: list[str] = self.manifest["branches"]
        self.strata: list[str] = self.manifest["strata"]
        self.fill_codes: list[str] = self.manifest["fill_codes"]
        self.k: int = self.manifest["k"]
        #: A dict of memory-mapped columns for each shard, in row order.
        self.shards: list[dict[str, np.ndarray]] = []
        self._plain: list[dict[str, np.ndarray]] = []  # the same memory as arrays, which are sliced ten times as fast as memmaps
        self._first: list[int] = []
        for shard in self.manifest["shards"]:
            path = os.path.join(folder, shard["path"])
            self.shards.append({column: np.load(os.path.join(path, column + ".npy"), mmap_mode="r") for column in shard["columns"]})
            self._plain.append({column: values.view(np.ndarray) for column, values in self.shards[-1].items()})
            self._first.append(shard["first_row"])
        self._rows: int = self.manifest["rows"]

    def __repr__(self) -> str:
        return f"<quarry.NegativeSet {self._name!r}: {self._rows} rows, k {self.k}, {len(self.shards)} shards, content {self.content_hash}>"

    def __len__(self) -> int:
        return self._rows

    def __reduce__(self) -> tuple[Any, ...]:
        return NegativeSet, (self._name, False)  # another process maps the files itself

    def column(self, name: str) -> np.ndarray:
        """A whole column: mapped where the set has one shard, else a copy of all. Raises InputError for a name that is none, and for
        `positive_offset`, which begins anew in every shard."""
        if name == "positive_offset" or (self.shards and name not in self.shards[0]):
            raise InputError(f"there is no column {name!r} to be had whole; there are {', '.join((*_ROW, *_SLOT, 'positive'))}")
        if len(self.shards) == 1:
            return self.shards[0][name]
        return np.concatenate([shard[name] for shard in self.shards]) if self.shards else np.zeros(0)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            begin, end, step = index.indices(self._rows)
            return self._range(begin, max(begin, end)) if step == 1 else self._take(np.arange(begin, end, step))
        if np.ndim(index) == 0:
            try:
                place = operator.index(index)
            except TypeError:
                raise InputError(f"rows are chosen by whole numbers; this is {index!r}. A column is column(name)") from None
            shard, row = self._place(place)
            found: dict[str, Any] = {name: shard[name][row] for name in (*_ROW, *_SLOT)}
            offsets = shard["positive_offset"]
            found["positives"] = shard["positive"][int(offsets[row]):int(offsets[row + 1])]
            return found
        indices = np.asarray(index)
        if indices.dtype == bool:
            if indices.shape != (self._rows,):
                raise InputError(f"a mask of shape {indices.shape} for {self._rows} rows")
            indices = np.flatnonzero(indices)
        if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
            raise InputError(f"rows are chosen by one whole number, a slice, or one dimension of whole numbers; this is {indices.dtype} of "
                             f"shape {indices.shape}")
        return self._take(indices.astype(np.int64))

    def _place(self, index: int) -> tuple[dict[str, np.ndarray], int]:
        row = index + self._rows if index < 0 else index
        if not 0 <= row < self._rows:
            raise IndexError(f"row {index} of {self._rows}")
        shard = bisect.bisect_right(self._first, row) - 1
        return self._plain[shard], row - self._first[shard]

    def _range(self, begin: int, end: int) -> Rows:
        parts = []
        for first, shard in zip(self._first, self._plain):
            low, high = max(begin - first, 0), min(end - first, len(shard["row_key"]))
            if low < high:
                parts.append(_cut(shard, low, high))
        if len(parts) == 1:
            return Rows(parts[0])
        if not parts:
            return self._range_of_none()
        return Rows(_join(parts))

    def _range_of_none(self) -> Rows:
        if not self.shards:
            return Rows({})
        return Rows(_cut(self._plain[0], 0, 0))

    def _take(self, indices: np.ndarray) -> Rows:
        if len(indices) == 0:
            return self._range_of_none()
        rows = np.where(indices < 0, indices + self._rows, indices)
        outside = (rows < 0) | (rows >= self._rows)
        if outside.any():
            raise IndexError(f"row {int(indices[np.argmax(outside)])} of {self._rows}")
        of_row = np.searchsorted(self._first, rows, "right") - 1
        begin, count = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        columns: dict[str, np.ndarray] = {}
        in_shards = [(np.flatnonzero(of_row == s), self._plain[s], self._first[s]) for s in np.unique(of_row)]
        for chosen, shard, first in in_shards:
            local = rows[chosen] - first
            for name in (*_ROW, *_SLOT):
                taken = shard[name][local]
                if name not in columns:
                    columns[name] = np.empty((len(rows), *taken.shape[1:]), taken.dtype)
                columns[name][chosen] = taken
            begin[chosen] = shard["positive_offset"][local]
            count[chosen] = shard["positive_offset"][local + 1] - shard["positive_offset"][local]
        offsets = np.concatenate([[0], np.cumsum(count)])
        positive = np.empty(int(offsets[-1]), np.uint32)
        for chosen, shard, _ in in_shards:
            # Entry e of row r is number e - offsets[r] of those that begin at begin[r] in its shard.
            of_entry = np.repeat(chosen, count[chosen])
            number = np.arange(len(of_entry)) - np.repeat(np.cumsum(count[chosen]) - count[chosen], count[chosen])
            positive[offsets[of_entry] + number] = shard["positive"][begin[of_entry] + number]
        columns["positive_offset"], columns["positive"] = offsets.astype(np.uint64), positive
        return Rows(columns)


def _cut(shard: dict[str, np.ndarray], low: int, high: int) -> dict[str, np.ndarray]:
    columns = {name: shard[name][low:high] for name in (*_ROW, *_SLOT)}
    offsets = shard["positive_offset"]
    first, last = int(offsets[low]), int(offsets[high])
    columns["positive_offset"] = offsets[low:high + 1] - offsets[low]
    columns["positive"] = shard["positive"][first:last]
    return columns


def _join(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    columns = {name: np.concatenate([part[name] for part in parts]) for name in (*_ROW, *_SLOT, "positive")}
    offsets, total = [np.zeros(1, np.uint64)], np.uint64(0)
    for part in parts:
        offsets.append(part["positive_offset"][1:] + total)
        total = offsets[-1][-1]
    columns["positive_offset"] = np.concatenate(offsets)
    return columns


def open(path: Any, *, verify: bool = False) -> NegativeSet:  # noqa: A001 (quarry.open)
    """A negative set by its folder, or a version of a store as STORE@VERSION (a number or a tag; STORE alone is its `latest`).

    Checks manifest, sizes and headers of every shard, with `verify` also every byte against its hash. Raises InputError naming the file,
    IoError."""
    return NegativeSet(path_text(path, "path"), verify)
