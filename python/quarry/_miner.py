"""Mining from Python: Miner."""
from __future__ import annotations

import concurrent.futures
import datetime
import os
import threading
import warnings
from typing import Any, Callable, Iterable, Literal, Mapping, Sequence, Union, overload

import numpy as np

from . import _quarry
from ._convert import (MOST_INDEX, NO_TIME, columns_of, flaw_of, host_array, ids_of, in_place, integers, is_path, numbers, path_text, positives as
                       positives_of, put_features, put_table)
from ._errors import ConfigError, InputError, StaleWarning
from ._logq import logq_of_items
from ._negatives import Negatives
from ._prefetch import Prefetcher
from ._synthetic import Synthetic
from ._tables import put_catalogue, put_events
from ._updates import items_update, log_update

Path = Union[str, bytes, "os.PathLike[Any]"]
Table = Union[Path, Mapping[str, Any], Any]  # also a pandas.DataFrame, a pyarrow.Table


def _users_and_items(users: Any, items: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """uint32 [n] each. Raises InputError."""
    users = integers(users, f"{name}[0] (users)", 0, MOST_INDEX, np.uint32)
    items = integers(items, f"{name}[1] (items)", 0, MOST_INDEX, np.uint32)
    if len(users) != len(items):
        raise InputError(f"{name}: {len(users)} users and {len(items)} items; they are pairs")
    return users, items


def _pairs(table: Any, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """uint32 [n], uint32 [n], float32 [n]. Raises InputError."""
    if not isinstance(table, (tuple, list)) or len(table) != 3:
        raise InputError(f"{name}: must be a path, or (users, items, values), arrays of one length")
    users, items = _users_and_items(table[0], table[1], name)
    values = numbers(table[2], f"{name}[2] (values)")
    if len(values) != len(users):
        raise InputError(f"{name}: {len(users)} pairs and {len(values)} values; a pair has one")
    return users, items, values


class Miner:
    """Mines hard negatives for batches of training rows, on the CPU.

    items, users: float32, float16 or bfloat16 [rows, dim], row-major, in host memory (NumPy, torch and whatever speaks DLPack or the
        buffer protocol), or the path of a .npy, .fbin or .safetensors file. Arrays are not copied: the Miner holds a reference, and
        their numbers must not change while it lives. Without `users` every batch brings its queries.
    recipe: the name of a recipe (`quarry.recipes()`), a path (ends in .toml or has a '/'), or TOML of several lines.
    overrides: texts like "k=4" or "branch.hard.source.pool=100", as --set of the command line.
    events: path of a CSV or TSV file, or a table of columns [n]: a dict of arrays or lists, a pandas.DataFrame, a pyarrow.Table; or a list of
        these, one log together. catalogue: a path or a table; without the column `item` a table has a row per item in their order.
        docs/inputs.md has the columns; a table means what a file of the same values does. Users and items: ids, as texts or integers (row numbers where
        there are no user_ids, item_ids). Times: seconds since 1970, datetime64 or timestamps of any unit and zone, ISO 8601 texts; fractions
        of a second are cut. Values: numbers, NaN, None or null for none. Kinds and attributes: texts, categories, integers; attributes also truth
        values, floats and dates. Tables are copied: the caller's arrays may change afterwards.
    item_ids, user_ids: FILE, FILE:COLUMN, or the ids in the order of the rows; None: ids are row numbers. Only files, tables of events and
        catalogue, and row keys know ids: batches name users and items by row number.
    event_columns: {"user", "item", "time", "kind", "value"} to names; event_kind: every event is of this kind, which needs no column.
    catalogue_columns: {"item", "first_seen", "retired", "title"}; pair_columns: {"user", "item", "value"}.
    pairs: name to the path of a table of user, item and score, or to (users, items, values): integers [n], row numbers, and numbers [n]; each
        pair once. features: name to an array or path, a row per item.
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

    def __init__(self, items: Any, recipe: Path = "balanced", *, users: Any = None, events: Table | Sequence[Table] | None = None,
                 catalogue: Table | None = None, item_ids: Any = None, user_ids: Any = None,
                 event_columns: dict[str, str] | None = None, event_kind: str = "", catalogue_columns: dict[str, str] | None = None,
                 pairs: Mapping[str, Path | tuple[Any, Any, Any]] | None = None, pair_columns: dict[str, str] | None = None,
                 features: Mapping[str, Any] | None = None, item_lists: Mapping[str, Any] | None = None,
                 known_positives: tuple[Any, Any] | None = None, as_of: int | str | datetime.datetime | None = None, seed: int = 0,
                 round: int = 0, threads: int | None = None, retriever: str = "auto", overrides: Sequence[str] = (),
                 unknown_ids: str = "reject", allow_inert: bool = False) -> None:
        r = _quarry.Request()
        put_table(r, "items", items)
        if users is not None:
            put_table(r, "users", users)
        r.recipe = path_text(recipe, "recipe")
        if isinstance(recipe, os.PathLike) and "/" not in r.recipe:
            r.recipe = "./" + r.recipe  # a path, whatever it looks like
        r.recipe_is_text = "\n" in r.recipe
        r.overrides = [overrides] if isinstance(overrides, str) else list(overrides)
        r.set_item_ids(*ids_of(item_ids, "item_ids"))
        r.set_user_ids(*ids_of(user_ids, "user_ids"))
        c = columns_of(event_columns, {"user": "user", "item": "item", "time": "time", "kind": "kind", "value": "value"}, "event_columns")
        if flaw_of(event_kind):
            raise ConfigError(f"event_kind {event_kind!r} holds {flaw_of(event_kind)}; mend it where it is made")
        if event_kind and "kind" in (event_columns or {}):
            raise ConfigError(f"event_kind {event_kind!r} gives every event one kind and event_columns['kind'] reads it from a column; "
                              "give one of the two")
        r.set_event_columns(c["user"], c["item"], c["time"], c["kind"], c["value"], "value" in (event_columns or {}), event_kind)
        put_events(r, events, c, event_kind)
        c = columns_of(catalogue_columns, {"item": "item", "first_seen": "first_seen", "retired": "retired", "title": "title"}, "catalogue_columns")
        r.set_catalogue_columns(*c.values())
        put_catalogue(r, catalogue, c)
        r.pair_files = {name: path_text(table, f"pairs[{name!r}]") for name, table in (pairs or {}).items() if is_path(table)}
        for name, table in (pairs or {}).items():
            if not is_path(table):
                r.set_pairs(name, *_pairs(table, f"pairs[{name!r}]"))
        r.set_pair_columns(*columns_of(pair_columns, {"user": "user", "item": "item", "value": "score"}, "pair_columns").values())
        put_features(r, features)
        lists = item_lists or {}
        r.item_list_files = {name: path_text(path, f"item_lists[{name!r}]") for name, path in lists.items() if is_path(path)}
        for name, table in lists.items():
            if not is_path(table):
                r.set_item_list(name, integers(table, f"item_lists[{name!r}]", 0, MOST_INDEX, np.uint32))
        if known_positives is not None:
            if not isinstance(known_positives, (tuple, list)) or len(known_positives) != 2:
                raise InputError("known_positives: must be (users, items), two integer arrays of one length; of pairs p [n, 2] they are "
                                 "(p[:, 0], p[:, 1])")
            r.set_known_positives(*_users_and_items(*known_positives, "known_positives"))
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
        self._process = os.getpid()
        self._stale_batches = 0
        self._lock = threading.Lock()
        self._updater: concurrent.futures.ThreadPoolExecutor | None = None

    def __reduce__(self) -> Any:
        raise TypeError("a Miner cannot be pickled or copied: it has threads and tables of this process. Make one in each process, as from "
                        "files, or mine in the one that has it (DataLoader: num_workers=0 and Miner.prefetch)")

    def __repr__(self) -> str:
        return (f"<quarry.Miner of {self.num_items} items of {self.dim} numbers and {self.num_users} users, recipe {self._miner.recipe_name!r}, "
                f"k {self.k}, {self.retriever}, {self.threads} threads, version {self.version}, seed {self.seed}, round {self.round}>")

    def mine(self, users: Any = None, positives: Any = None, *, times: Any = None, queries: Any = None, segments: Any = None,
             keys: Any = None, k: int | None = None, round: int | None = None, version: int | None = None,
             stale: str = "error", out: str = "numpy") -> Negatives:
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
        k: negatives per row; None: the recipe's. Another one makes a second miner, with tables of its own, when first asked for; sixteen are
            kept.
        round: as of the Miner, for this batch; None: the Miner's (`set_round`). The answers are those of a Miner made with it.
        version: that of the items that the batch counts on, as of the model that made its queries; None: any. Where the Miner's is another
            one, stale="error" raises StaleError before anything is mined; stale="warn" mines with the items that there are, warns
            (StaleWarning) and counts (`stale_batches`). `Negatives.version` says which it was.
        out: "numpy", or "torch" for Negatives of tensors of the CPU, over the same memory (`Negatives.to_torch`). What the batch came as
            decides nothing.

        Raises InputError, before anything is mined, for wrong types, shapes, devices and numbers out of range; ForkError; OutOfMemory."""
        return self._mine(None, users, positives, times, queries, segments, keys, k, round, version, stale, out)

    def _mine(self, stop: Any, users: Any = None, positives: Any = None, times: Any = None, queries: Any = None, segments: Any = None,
              keys: Any = None, k: int | None = None, round: int | None = None, version: int | None = None,
              stale: str = "error", out: str = "numpy") -> Negatives:
        """mine, which a StopFlag of another thread can end with Cancelled."""
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
        if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or not 1 <= k <= 65535):
            raise ConfigError(f"k: {k!r} is out of range; a whole number from 1 on, or None for the recipe's")
        if out not in ("numpy", "torch"):
            raise ConfigError(f"out: {out!r} is not one of numpy, torch")
        if stale not in ("error", "warn"):
            raise ConfigError(f"stale: {stale!r} is not one of error, warn")
        if version is not None:
            version = _version(version)
        mined = Negatives(**self._miner.mine(rows, None if k is None else int(k), None if round is None else _u32(round, "round"),
                                             version if stale == "error" else None, keys, users, times, segments, offsets, values,
                                             queries, stop), positives=0 if values is None else len(values))
        if version is not None and mined.version != version:
            with self._lock:
                self._stale_batches += 1
            warnings.warn(f"a batch of version {version} was mined with items of version {mined.version}", StaleWarning, stacklevel=3)
        return mined.to_torch() if out == "torch" else mined

    @overload
    def update_items(self, items: Any = None, *, users: Any = None, item_ids: Any = None, user_ids: Any = None,
                     features: Mapping[str, Any] | None = None, version: int | None = None, wait: Literal[True] = True) -> int: ...
    @overload
    def update_items(self, items: Any = None, *, users: Any = None, item_ids: Any = None, user_ids: Any = None,
                     features: Mapping[str, Any] | None = None, version: int | None = None, wait: Literal[False]) -> concurrent.futures.Future[int]: ...

    def update_items(self, items: Any = None, *, users: Any = None, item_ids: Any = None, user_ids: Any = None,
                     features: Mapping[str, Any] | None = None, version: int | None = None,
                     wait: bool = True) -> int | concurrent.futures.Future[int]:
        """Takes other vectors, as of a later checkpoint, without a stop: they are checked and prepared (unit rows, 8-bit rows, FAISS's index)
        beside those in use, `mine` in other threads going on with these, and take their place between two batches. No batch is lost, mined
        twice or mined with both. Batches that begin afterwards get what a Miner made with the new vectors gives, bit for bit.

        items, users: as of the Miner; None: they stay. Not copied, so give a copy of what a training goes on changing
            (weight.detach().clone()). Files are mapped: write the next one beside and rename it, since one that is written over changes, or
            ends, under the batches in work. As many rows as there are, or more behind them, with which all files are read again, and need
            item_ids, user_ids, features of as many where they were given.
        version: a whole number that batches and `Negatives.version` speak of; None: one more.
        wait: False returns a Future of the version at once; an update that cannot be made is raised by its result(). Updates are made one
            after the other, in the order asked for.

        Miners of another k or round that batches were mined with since the last update are made too. Returns the version. Where it raises
        (as the Miner does, InputError for fewer rows, KeyboardInterrupt) nothing has changed. While it runs both tables are in memory with
        what is prepared of them; it takes `threads` threads, as mining does."""
        return self._update(items_update(items, users, item_ids, user_ids, features, None if version is None else _version(version)), wait)

    @overload
    def update_events(self, users: Any = None, items: Any = None, times: Any = None, kinds: Any = None, values: Any = None, *,
                      files: Path | Sequence[Path] | None = None, wait: Literal[True] = True) -> int: ...
    @overload
    def update_events(self, users: Any = None, items: Any = None, times: Any = None, kinds: Any = None, values: Any = None, *,
                      files: Path | Sequence[Path] | None = None, wait: Literal[False]) -> concurrent.futures.Future[int]: ...

    def update_events(self, users: Any = None, items: Any = None, times: Any = None, kinds: Any = None, values: Any = None, *,
                      files: Path | Sequence[Path] | None = None, wait: bool = True) -> int | concurrent.futures.Future[int]:
        """Adds events to the log, as arrays or as files, as update_items adds vectors: without a stop, and with the answers of a Miner that
        was made with the longer log, bit for bit.

        users, items: integers [n], row numbers. times: integers [n], seconds since 1970. kinds: a text for all, or n texts; None where the
            Miner has an event_kind. values: numbers [n], NaN for none; None: none has one.
        files: further files of events, read with the Miner's event_columns.

        Events later than the Miner's `as_of` do not exist, as ever; without an as_of the latest event of all moves it, and with it the ages
        of events. Events, catalogue, pairs and ids are read again, from files, which must be there and unchanged, and from the Miner's copies of tables (vectors
        are not: they stay those of `version`): it costs what making a Miner costs, beside mining.
        Returns the version of the items, which stays. wait and errors: as of update_items."""
        return self._update(log_update(users, items, times, kinds, values, files, self._miner.fixed_kind), wait)

    def _update(self, update: Any, wait: bool) -> int | concurrent.futures.Future[int]:
        if self._process != os.getpid():
            return self._miner.update(update, None)  # which says what is wrong: the thread is not in this process
        with self._lock:
            if self._updater is None and not wait:
                self._updater = concurrent.futures.ThreadPoolExecutor(1, "quarry-update")
            updater = self._updater
        if updater is None:
            return self._miner.update(update, None)
        stop = _quarry.StopFlag()
        done = updater.submit(self._miner.update, update, stop)  # behind those that were asked for before
        if not wait:
            return done
        try:
            return done.result()
        except BaseException:  # Ctrl-C, which the other thread does not hear
            stop.set()
            done.cancel()
            concurrent.futures.wait([done])
            raise

    def mixed_logq(self, negatives: Negatives, items: Any = None, *, batch: int | None = None) -> np.ndarray:
        """log(B / (B + B') p + B' / (B + B') / N) of what this Miner mined with branches of the sources `batch` and `uniform`, as of the recipe
        `mns`: quarry.mixed_logq, the logarithm of the probability of an item in one draw (Yang et al., "Mixed negative sampling for learning
        two-tower neural networks in recommendations", WWW Companion 2020), float64 of the shape of the items, NaN in empty slots. It is of one
        draw, so correct positives too: sampled_softmax_loss(..., logq=miner.mixed_logq(negatives),
        positive_logq=miner.mixed_logq(negatives, positives)).

        p: an item's part of `popularity`, so the Miner needs events. N: `num_items`. B' and B: slots of a row, of each source. B' is counted in the
        fullest row. B is the positives of the batch's other rows, in the mean of its rows (a row with several counts as that many, a repeated item as often as it is
        there), but no more than the slots that the branch gives a full row: where the branch is smaller than the batch, each
        row draws its share of it. Where no row is full the batch was smaller than its branch, and all of it is drawn.

        negatives: of one call of mine(). StaleWarning where the Miner has another version or round since: popularity, N and branches are
        today's. items: whole numbers [rows] or [rows, n], -1 for none: of these, such as the rows' positives; None: of `negatives.item`. batch:
        positives of the other rows, from 0 on; None: what mine() was given. Raises ConfigError where the recipe has neither source, no event is
        positive, or batch is None and the negatives are of several calls; InputError."""
        sources = {source: self._miner.branches_from(source) for source in ("batch", "uniform")}
        if not sources["batch"] and not sources["uniform"]:
            raise ConfigError("mixed_logq: no branch of the recipe has the source batch or uniform; the recipe mns has both")
        for name, then, now in (("version", negatives.version, self.version), ("round", negatives.round, self.round)):
            if then is not None and then != now:
                warnings.warn(f"mixed_logq: the negatives are of {name} {then} and the Miner has {name} {now}; its popularity, items and branches may be "
                              "others. Ask before the Miner changes, or mine again", StaleWarning, stacklevel=2)
        popularity = self.popularity
        if not popularity.any():
            raise ConfigError("mixed_logq: no event is positive, so that no item's share of the positives is known: give the Miner events=, or "
                              "call quarry.mixed_logq with shares of your own")
        if batch is None and sources["batch"]:
            if negatives.positives is None:
                raise ConfigError("mixed_logq: the negatives are of several calls of mine(), or not of one, so the positives of a row's batch are not "
                                  "known; give what one call returned, or batch=, the positives of the batch's other rows")
            rows = max(len(negatives), 1)
            batch = round(negatives.positives * (rows - 1) / rows)
        own = negatives.to_numpy()
        return logq_of_items(own.item if items is None else host_array(items, "items"), own.branch, own.count, sources["batch"], sources["uniform"],
                             batch or 0, popularity)

    def synthesize(self, negatives: Negatives, positives: Any, *, vectors: bool = False) -> Synthetic:
        """Synthetic negatives by interpolation: each negative moved toward a positive of its row, coefficient * positive + (1 - coefficient) *
        negative, as positive mixing of Huang et al., "MixGCF: an improved training method for graph neural network-based recommender
        systems", KDD 2021. Which of the row's positives, and the coefficient, uniform in [0, 1), are chance of seed, `negatives.round`, row
        key and item alone: the same in whatever batch, process or thread.

        negatives: of this Miner's mine(). positives: those of the same rows, in the forms that mine() takes. vectors: also the vectors,
        float32, from the Miner's items as they were given (not their unit rows); else train on item, positive and coefficient with the
        model's own. Raises InputError, ConfigError for negatives of several rounds, and with vectors StaleError for those of other items
        than the Miner has."""
        offsets, values = positives_of(positives, len(negatives))
        negatives = negatives.to_numpy()
        if negatives.round is None or vectors and negatives.version is None:
            raise ConfigError("negatives: are of several rounds or versions; synthesize what one call of mine() gave")
        positive, coefficient, vector = self._miner.synthesize(negatives.round, negatives.version if vectors else None, negatives.key,
                                                               np.ascontiguousarray(negatives.item), offsets, values, bool(vectors))
        return Synthetic(negatives.item.copy(), positive, coefficient, vector)

    def set_round(self, round: int) -> None:
        """Mines as a Miner of another round from the next batch on, bit for bit: chance is new, and schedules of the recipe are taken at it,
        as in a curriculum by step or epoch. Where the recipe has schedules a round needs a miner of its own, which is made here, while other
        threads go on with the former, whose tables it shares: it takes a millisecond with 100,000 items, but for a schedule in [exposure], by
        which the log is read again. Those of the last rounds are kept. Raises ConfigError."""
        self._miner.set_round(_u32(round, "round"))

    def prefetch(self, batches: Iterable[Any], depth: int = 2, *, arguments: Callable[[Any], Any] | None = None,
                 **fixed: Any) -> Prefetcher:
        """Iterates over (batch, Negatives) of `batches`, in order, with up to `depth` batches mined ahead in another thread: while one is
        trained on, the next is mined.

        arguments: from a batch to what mine() takes, as a dict of keywords or a tuple of (users, positives); None: batches are these.
        fixed: keywords of mine() for all.

        `batches` is iterated in the thread that asks, up to `depth` ahead of it, so queries that a model makes there are up to `depth`
        steps old; arrays of a batch must stay as they are until it comes back. What it or mine() raises is raised when its batch is due. Close it
        (close(), `with`, or its last batch) to stop early; Ctrl-C is heard while waiting. Several threads may take from it. For checkpoints of a
        recipe with a source `queue` take its `queue`. Raises ConfigError for a depth outside of 1 to 1024, InputError for keywords that mine()
        does not take."""
        return Prefetcher(self, batches, depth, arguments, fixed)

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
    def _has_queue(self) -> bool:
        """The recipe has a source `queue`."""
        return self._miner.has_queue

    @property
    def queue(self) -> tuple[np.ndarray, np.ndarray]:
        """(offsets uint64 [rows + 1], items uint32): the positives of the rows mined before, oldest first, as far back as the recipe's
        sources `queue` look. Row r has items[offsets[r]:offsets[r + 1]]. Set it to what it was to go on where another process ended; None
        empties it. The rows of a batch come in the order of their keys, and only when all of it is mined. While batches are mined ahead they
        are in it too: checkpoints take `Prefetcher.queue`. Raises InputError."""
        return self._miner.queue()

    @queue.setter
    def queue(self, rows: tuple[Any, Any] | None) -> None:
        if rows is None:
            rows = (np.zeros(1, np.uint64), np.zeros(0, np.uint32))
        if not isinstance(rows, (tuple, list)) or len(rows) != 2:
            raise InputError("queue: must be (offsets, items), two integer arrays")
        self._miner.set_queue(integers(rows[0], "queue[0] (offsets)", 0, 2**63 - 1, np.uint64),
                              integers(rows[1], "queue[1] (items)", 0, MOST_INDEX, np.uint32))

    @property
    def popularity(self) -> np.ndarray:
        """uint32 [num_items]: how many users each item is positive for up to `as_of`; a copy. All 0 without events."""
        return np.asarray(self._miner.popularity())

    @property
    def version(self) -> int:
        """Of the items in use: 0, until update_items."""
        return self._miner.version

    @property
    def stale_batches(self) -> int:
        """Batches that were mined with items of another version than they asked for (stale="warn")."""
        return self._stale_batches

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


def _version(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < 2**63:
        raise ConfigError(f"version: {value!r} is out of range; a whole number from 0 on")
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
