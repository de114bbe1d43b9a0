"""Mining from Python: Miner, and Negatives, what it gives."""
from __future__ import annotations

import dataclasses
import datetime
import os
from typing import Any, Mapping, Sequence, Union

import numpy as np

from . import _quarry
from ._convert import (MOST_INDEX, NO_TIME, columns_of, ids_of, in_place, integers, is_path, path_text, positives as
                       positives_of)
from ._errors import ConfigError, InputError

Path = Union[str, bytes, "os.PathLike[Any]"]

FILL_CODES: tuple[str, ...] = tuple(_quarry.fill_codes())
"""What the numbers of `Negatives.fill` mean."""
NO_BRANCH = 255
"""`Negatives.branch` of an empty slot."""
NO_USER = 2**32 - 1


@dataclasses.dataclass(frozen=True, eq=False)
class Negatives:
    """The negatives of a batch: NumPy arrays of their own memory. Row r belongs to row r of the batch. In a row filled slots come first,
    in the order of picking: slot j is filled if and only if j < count[r]. Meanings are those of host/store/FORMAT.md."""

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
        return _quarry.content_hash(self.item.astype(np.uint32), self.score, self.stratum, self.fill)

    @staticmethod
    def concatenate(parts: Sequence["Negatives"]) -> "Negatives":
        """Batches laid end to end. Raises InputError where there are none, or they differ in k."""
        if not parts or len({part.k for part in parts}) != 1:
            raise InputError(f"concatenate: {len(parts)} batches of k {sorted({part.k for part in parts})}; one or more of the same k are needed")
        names = [field.name for field in dataclasses.fields(Negatives)]
        return Negatives(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


class Miner:
    """Mines hard negatives for batches of training rows, on the CPU.

    items, users: float32, float16 or bfloat16 [rows, dim], row-major, in host memory (NumPy, torch and whatever speaks DLPack or the
        buffer protocol), or the path of a .npy, .fbin or .safetensors file. Arrays are not copied: the Miner holds a reference, and
        their numbers must not change while it lives. Without `users` every batch brings its queries.
    recipe: the name of a recipe (`quarry.recipes()`), a path (ends in .toml or has a '/'), or TOML of several lines.
    overrides: texts like "k=4" or "branch.hard.source.pool=100", as --set of the command line.
    events: path or paths of CSV or TSV files, one log together. catalogue: path. docs/inputs.md has both.
    item_ids, user_ids: FILE, FILE:COLUMN, or the ids in the order of the rows; None: ids are row numbers. Only files and row keys know
        ids: batches name users and items by row number.
    event_columns: {"user", "item", "time", "kind", "value"} to names; event_kind: every event is of this kind, which needs no column.
    catalogue_columns: {"item", "first_seen", "retired", "title"}; pair_columns: {"user", "item", "value"}.
    pairs: name to the path of a table of user, item and score. features: name to an array or path, a row per item.
    item_lists: name to row numbers of items, or to the path of a table with a column `item`.
    known_positives: (users, items), integer arrays of one length: positives that are in no event, kept out of all rows of their users.
        What `quarry mine --rows` takes from its table, where all rows are known before; here batches come one by one.
    as_of: seconds since 1970, an ISO 8601 text or a datetime; later events do not exist. None: the time of the latest event.
    seed, round: whole numbers of 0 to 2^32 - 1, of which, with row keys, all chance comes. A recipe's schedules are taken at `round`.
    threads: 1 to 4096; None: what `set_num_threads` said, else as many as the process may use. They change no result.
    retriever: as --retriever of the command line; "auto" is exact.
    unknown_ids: "reject" or "drop" what names an id without a vector. allow_inert: accept a safety filter that has nothing to go by.

    Raises ConfigError, InputError, IoError, OutOfMemory. Several threads may call one Miner: batches are mined one after the other, with
    the interpreter's lock released. Ctrl-C is heard between tiles, within a second or two. After a fork only the process that made the
    Miner can use it (ForkError)."""

    def __init__(self, items: Any, recipe: Path = "balanced", *, users: Any = None, events: Path | Sequence[Path] | None = None,
                 catalogue: Path | None = None, item_ids: Any = None, user_ids: Any = None,
                 event_columns: dict[str, str] | None = None, event_kind: str = "", catalogue_columns: dict[str, str] | None = None,
                 pairs: Mapping[str, Path] | None = None, pair_columns: dict[str, str] | None = None,
                 features: Mapping[str, Any] | None = None, item_lists: Mapping[str, Any] | None = None,
                 known_positives: tuple[Any, Any] | None = None, as_of: int | str | datetime.datetime | None = None, seed: int = 0,
                 round: int = 0, threads: int | None = None, retriever: str = "auto", overrides: Sequence[str] = (),
                 unknown_ids: str = "reject", allow_inert: bool = False) -> None:
        r = _quarry.Request()
        if is_path(items):
            r.set_items_file(path_text(items, "items"))
        else:
            r.set_items(in_place(items, "items"))
        if is_path(users):
            r.set_users_file(path_text(users, "users"))
        elif users is not None:
            r.set_users(in_place(users, "users"))
        r.recipe = path_text(recipe, "recipe")
        if isinstance(recipe, os.PathLike) and "/" not in r.recipe:
            r.recipe = "./" + r.recipe  # a path, whatever it looks like
        r.recipe_is_text = "\n" in r.recipe
        r.overrides = [overrides] if isinstance(overrides, str) else list(overrides)
        if events is not None:
            paths = [events] if isinstance(events, (str, bytes, os.PathLike)) else events
            r.events = [path_text(path, "events") for path in paths]
        r.catalogue = "" if catalogue is None else path_text(catalogue, "catalogue")
        r.set_item_ids(*ids_of(item_ids, "item_ids"))
        r.set_user_ids(*ids_of(user_ids, "user_ids"))
        c = columns_of(event_columns, {"user": "user", "item": "item", "time": "time", "kind": "kind", "value": "value"}, "event_columns")
        if event_kind and "kind" in (event_columns or {}):
            raise ConfigError(f"event_kind {event_kind!r} gives every event one kind and event_columns['kind'] reads it from a column; "
                              "give one of the two")
        r.set_event_columns(c["user"], c["item"], c["time"], c["kind"], c["value"], "value" in (event_columns or {}), event_kind)
        names = {"item": "item", "first_seen": "first_seen", "retired": "retired", "title": "title"}
        r.set_catalogue_columns(*columns_of(catalogue_columns, names, "catalogue_columns").values())
        r.pairs = {name: path_text(path, f"pairs[{name!r}]") for name, path in (pairs or {}).items()}
        r.set_pair_columns(*columns_of(pair_columns, {"user": "user", "item": "item", "value": "score"}, "pair_columns").values())
        for name, table in (features or {}).items():
            if is_path(table):
                r.set_feature_file(name, path_text(table, f"features[{name!r}]"))
            else:
                r.set_feature(name, in_place(table, f"features[{name!r}]"))
        lists = item_lists or {}
        r.item_list_files = {name: path_text(path, f"item_lists[{name!r}]") for name, path in lists.items() if is_path(path)}
        for name, table in lists.items():
            if not is_path(table):
                r.set_item_list(name, integers(table, f"item_lists[{name!r}]", 0, MOST_INDEX, np.uint32))
        if known_positives is not None:
            if not isinstance(known_positives, (tuple, list)) or len(known_positives) != 2:
                raise InputError("known_positives: must be (users, items), two integer arrays of one length; of pairs p [n, 2] they are "
                                 "(p[:, 0], p[:, 1])")
            known_users = integers(known_positives[0], "known_positives[0] (users)", 0, MOST_INDEX, np.uint32)
            known_items = integers(known_positives[1], "known_positives[1] (items)", 0, MOST_INDEX, np.uint32)
            if len(known_users) != len(known_items):
                raise InputError(f"known_positives: {len(known_users)} users and {len(known_items)} items; they are pairs")
            r.set_known_positives(known_users, known_items)
        r.as_of = _time_text(as_of)
        r.seed, r.round = _u32(seed, "seed"), _u32(round, "round")
        if threads is not None:
            if not isinstance(threads, int) or not 1 <= threads <= 4096:
                raise ConfigError(f"threads: {threads!r} is out of range; 1 to 4096, or None for the default of set_num_threads")
            r.threads = threads
        r.retriever = retriever
        if unknown_ids not in ("reject", "drop"):
            raise ConfigError(f"unknown_ids: {unknown_ids!r} is not one of reject, drop")
        r.drop_unknown_ids = unknown_ids == "drop"
        r.allow_inert = bool(allow_inert)
        self._miner = _quarry.Miner(r)

    def mine(self, users: Any = None, positives: Any = None, *, times: Any = None, queries: Any = None, segments: Any = None,
             keys: Any = None, k: int | None = None) -> Negatives:
        """Negatives for a batch of B rows, in their order.

        users: integers [B], row numbers of the users. May be left out where the Miner knows no users.
        positives: the row numbers of each row's positive items, which are never its negatives: integers [B], or [B, p] with -1 where there
            is none, or a list of lists, or a tuple of two arrays (offsets [B + 1] from 0, values). None: rows have none, and filters relative to a
            positive do nothing.
        times: integers [B], seconds since 1970; 2^63 - 1, and None for all: the row has none.
        queries: float32 [B, dim], contiguous, in host memory, not copied: vectors to use instead of the users'. A row whose query is not
            finite, or has no direction under cosine, is empty with the fill code bad_row.
        segments: B texts, the value of the recipe's segment column that each row belongs to.
        keys: integers [B] of 0 to 2^64 - 1, a different one per row of a run. None: the command line's keys, which are made of user,
            positives and time, so that the answers are the command line's. Equal keys draw alike.
        k: negatives per row; None: the recipe's. Another one makes a second miner, with tables of its own, when first asked for.

        Raises InputError, before anything is mined, for wrong types, shapes, devices and numbers out of range; ForkError; OutOfMemory."""
        if users is not None:
            users = integers(users, "users", 0, MOST_INDEX, np.uint32)
            rows = len(users)
        elif queries is not None and getattr(queries, "ndim", 0) == 2:
            rows = int(queries.shape[0])
        else:
            raise InputError("users: none are given, and no queries [B, dim] either; a batch needs one of them")
        offsets = values = None
        if positives is not None:
            offsets, values = positives_of(positives, rows)
        if times is not None:
            times = integers(times, "times", -2**63, NO_TIME, np.int64)
        if keys is not None:
            keys = integers(keys, "keys", 0, 2**64 - 1, np.uint64)
        if queries is not None:
            queries = in_place(queries, "queries")
        if segments is not None:
            segments = [str(segment) for segment in segments]
        wanted = self.k if k is None else k
        if isinstance(wanted, bool) or not isinstance(wanted, (int, np.integer)) or not 1 <= wanted <= 65535:
            raise ConfigError(f"k: {wanted!r} is out of range; a whole number from 1 on, or None for the recipe's")
        return Negatives(**self._miner.mine(rows, int(wanted), keys, users, times, segments, offsets, values, queries))

    @property
    def k(self) -> int:
        """Negatives per row, of the recipe."""
        return self._miner.k

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self._miner.dim

    @property
    def num_items(self) -> int:
        """Rows of items."""
        return self._miner.num_items

    @property
    def num_users(self) -> int:
        """Users that the Miner knows; 0: none, and batches bring queries."""
        return self._miner.num_users

    @property
    def branches(self) -> list[str]:
        """Names of the recipe's branches; `Negatives.branch` counts in them."""
        return self._miner.branches

    @property
    def strata(self) -> list[str]:
        """Names of strata; `Negatives.stratum` counts in them."""
        return self._miner.strata

    @property
    def recipe(self) -> str:
        """The recipe's TOML, overrides applied."""
        return self._miner.recipe

    @property
    def retriever(self) -> str:
        """What searches."""
        return self._miner.retriever

    @property
    def promise(self) -> str:
        """"cpu_gpu_identical" or "same_index" (docs/row_contract.md)."""
        return self._miner.promise

    @property
    def as_of(self) -> int | None:
        """Seconds since 1970: the last time that events count of; None: there is no such time."""
        return None if self._miner.as_of == NO_TIME else self._miner.as_of

    @property
    def seed(self) -> int:
        """Of all chance."""
        return self._miner.seed

    @property
    def round(self) -> int:
        """Of all chance, and at which schedules were taken."""
        return self._miner.round

    @property
    def threads(self) -> int:
        """Threads that mine."""
        return self._miner.threads

    @property
    def warnings(self) -> list[str]:
        """What is doubtful about recipe and inputs, and what `unknown_ids="drop"` left out, in sentences."""
        return self._miner.warnings

    @property
    def items_address(self) -> int:
        """Where the library reads the items: that of the array given."""
        return self._miner.items_address

    @property
    def users_address(self) -> int:
        """Where the library reads the users; 0 without."""
        return self._miner.users_address


def _u32(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**32:
        raise ConfigError(f"{name}: {value!r} is out of range; a whole number from 0 to 4294967295")
    return int(value)


def _time_text(value: int | str | datetime.datetime | None) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        value = int((value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)).timestamp())
    try:
        return str(_quarry.check_time(str(value), "as_of"))
    except InputError as error:  # of the request, not of the data
        raise ConfigError(str(error)) from None
