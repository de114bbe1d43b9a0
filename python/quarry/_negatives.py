"""Negatives, what Miner.mine gives."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Sequence

import numpy as np

from . import _quarry
from ._errors import ConfigError, InputError

FILL_CODES: tuple[str, ...] = tuple(_quarry.fill_codes())
"""What the numbers of `Negatives.fill` mean."""
_OF_A_BATCH = ("version", "round", "positives")  # fields of Negatives that are no columns
NO_BRANCH = 255
"""`Negatives.branch` of an empty slot."""


@dataclasses.dataclass(frozen=True, eq=False)
class Negatives:
    """The negatives of a batch: NumPy arrays of their own memory, or with `to_torch()` and mine(out="torch") tensors of the CPU, of the same dtypes.
    Row r belongs to row r of the batch. In a row filled slots come first, in the order of picking: slot j is filled if and only if
    j < count[r]. Meanings are those of host/store/FORMAT.md."""

    key: np.ndarray  #: uint64 [B] key of the row, of which all chance comes
    item: np.ndarray  #: int64 [B, k] row number of the item; -1 in an empty slot
    score: np.ndarray  #: float32 [B, k] exact score; NaN in an empty slot
    branch: np.ndarray  #: uint8 [B, k] place in `Miner.branches`; 255 in an empty slot
    raw_rank: np.ndarray  #: uint32 [B, k] place among the branch's candidates, from 1; 0: not ranked
    survivor_rank: np.ndarray  #: uint32 [B, k] place among those that the filters let through, from 1; 0: not ranked
    stratum: np.ndarray  #: uint32 [B, k] place in `Miner.strata`; of an empty slot: the stratum that lacks it
    logq: np.ndarray  #: float32 [B, k] the logQ of sampled softmax; NaN: a deterministic pick, or an empty slot
    fill: np.ndarray  #: uint8 [B, k] place in FILL_CODES: 0 filled, else why the slot is empty
    count: np.ndarray  #: uint16 [B] filled slots
    kappa: np.ndarray  #: float32 [B, branches] next sampling key of the branch; NaN: none
    positive_min: np.ndarray  #: float32 [B] least exact score of the row's positives; NaN: none
    certified: np.ndarray  #: uint8 [B] 1: the row's search is proven equal to brute force
    version: int | None = None  #: of the items that they were mined from (`Miner.version`); None: of several, or not known
    round: int | None = None  #: of chance and schedules; None likewise
    positives: int | None = None  #: positives of the batch's rows, all together; None likewise

    def __repr__(self) -> str:
        filled = int(as_numpy(self.count).sum())
        share = 100.0 * filled / max(len(self) * self.k, 1)
        return f"<quarry.Negatives of {len(self)} rows, k {self.k}, {share:.4g} % filled, version {self.version}, round {self.round}>"

    def __len__(self) -> int:
        return len(self.key)

    @property
    def k(self) -> int:
        """Slots per row."""
        return int(self.item.shape[1])

    @property
    def gap(self) -> np.ndarray:
        """float32 [B, k]: positive_min - score; NaN without positives and in empty slots."""
        return self.positive_min[:, None] - self.score

    def content_hash(self) -> str:
        """32 hex digits over item, score, stratum and fill: what `quarry mine` prints and manifests hold for the same rows in the same
        order."""
        own = self.to_numpy()
        return _quarry.content_hash(own.item.astype(np.uint32), own.score, own.stratum, own.fill)

    @staticmethod
    def concatenate(parts: Sequence["Negatives"]) -> "Negatives":
        """Batches laid end to end. Raises InputError where there are none, or they differ in k."""
        if not parts or len({part.k for part in parts}) != 1:
            raise InputError(f"concatenate: {len(parts)} batches of k {sorted({part.k for part in parts})}; one or more of the same k are needed")
        fields: dict[str, Any] = {}
        for field in dataclasses.fields(Negatives):
            values = [getattr(part, field.name) for part in parts]
            if field.name in _OF_A_BATCH:
                fields[field.name] = values[0] if len(set(values)) == 1 and (field.name != "positives" or len(parts) == 1) else None
            else:
                fields[field.name] = np.concatenate([as_numpy(value) for value in values])
        whole = Negatives(**fields)
        return whole.to_torch() if any(part._is_torch() for part in parts) else whole

    def to_torch(self) -> "Negatives":
        """The same with torch tensors in the place of the arrays, over the same memory. Unsigned columns keep their dtypes, of which torch
        computes with few: `negatives.count.long()` is a copy that it does with. Raises ImportError without torch, ConfigError for one that is
        older than 2.3 and lacks these dtypes."""
        try:
            import torch
        except ImportError:
            raise ImportError('Negatives as tensors (to_torch, out="torch") need PyTorch: pip install torch', name="torch") from None
        if not hasattr(torch, "uint16"):
            raise ConfigError(f"to_torch: torch {torch.__version__} has no unsigned integers; 2.3 or later is needed, or "
                              "torch.from_numpy(negatives.item) of single columns")
        # A uint64 of the module is NumPy's unsigned long long, which torch does not know by that name.
        return self._with(lambda column: column if isinstance(column, torch.Tensor) else torch.from_numpy(column.view(column.dtype.str)))

    def to_numpy(self) -> "Negatives":
        """The same with NumPy arrays in the place of tensors, over the same memory where it is the CPU's."""
        return self._with(as_numpy)

    def _is_torch(self) -> bool:
        return not isinstance(self.item, np.ndarray)

    def _with(self, of: Callable[[Any], Any]) -> "Negatives":
        return dataclasses.replace(self, **{field.name: of(getattr(self, field.name)) for field in dataclasses.fields(self)
                                            if field.name not in _OF_A_BATCH})


def as_numpy(column: Any) -> np.ndarray:
    """An array, or a tensor's memory; of a tensor on a device a copy."""
    return column if isinstance(column, np.ndarray) else column.detach().cpu().numpy()
