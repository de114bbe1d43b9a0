"""What update_items and update_events are asked for, made into what the library takes."""
from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from . import _quarry
from ._convert import MOST_INDEX, NO_TIME, flaw_of, ids_of, integers, is_path, numbers, path_text, put_features, put_table
from ._errors import ConfigError, InputError


def items_update(items: Any, users: Any, item_ids: Any, user_ids: Any, features: Mapping[str, Any] | None, version: int | None) -> Any:
    """An Update of vectors. Raises InputError, and ConfigError where nothing is given."""
    if items is None and users is None:
        raise ConfigError("update_items: neither items nor users are given; give those that are new")
    update = _quarry.Update()
    for name, table in (("items", items), ("users", users)):
        if table is not None:
            put_table(update, name, table)
    if item_ids is not None:
        update.set_item_ids(*ids_of(item_ids, "item_ids"))
    if user_ids is not None:
        update.set_user_ids(*ids_of(user_ids, "user_ids"))
    put_features(update, features)
    update.version = version
    return update


def _kinds(kinds: Any, rows: int, fixed_kind: str) -> tuple[np.ndarray, list[str]]:
    """Of each event its place in the names. One name for all, or one per event."""
    if fixed_kind:
        if kinds is not None and (not isinstance(kinds, str) or kinds != fixed_kind):
            raise InputError(f"kinds: every event of this Miner is of the kind {fixed_kind!r} (event_kind); leave kinds out")
        return np.zeros(rows, np.uint32), [fixed_kind]
    if kinds is None:
        raise InputError("kinds: none are given; give one text for all events, or one per event")
    if isinstance(kinds, str):
        if flaw_of(kinds):
            raise InputError(f"kinds: is {kinds!r}, which holds {flaw_of(kinds)}; mend it where it is made")
        kinds = [kinds] * min(rows, 1)
        places = np.zeros(rows, np.uint32)
        names = list(kinds)
    else:
        kinds = kinds.tolist() if hasattr(kinds, "tolist") else list(kinds)
        if len(kinds) != rows:
            raise InputError(f"kinds: {len(kinds)} texts for {rows} events; give one per event, or one text for all")
        place_of: dict[str, int] = {}
        for place, kind in enumerate(kinds):
            if not isinstance(kind, str):
                raise InputError(f"kinds: entry {place} is {kind!r}; kinds are texts")
            if kind not in place_of and flaw_of(kind):
                raise InputError(f"kinds: entry {place} is {kind!r}, which holds {flaw_of(kind)}; mend it where it is made")
            place_of.setdefault(kind, len(place_of))
        places = np.fromiter((place_of[kind] for kind in kinds), np.uint32, rows)
        names = list(place_of)
    if "" in names:
        raise InputError("kinds: a kind is empty; name it")
    return places, names


def log_update(users: Any, items: Any, times: Any, kinds: Any, values: Any, files: Any, fixed_kind: str) -> Any:
    """An Update of the log. Raises InputError, and ConfigError where nothing is given."""
    update = _quarry.Update()
    if files is not None:
        update.events = [path_text(path, "files") for path in ([files] if is_path(files) else files)]
    if users is None and items is None and times is None and kinds is None and values is None:
        if not update.events:
            raise ConfigError("update_events: no events are given; give users, items, times and kinds, or files")
        return update
    for name, column in (("users", users), ("items", items), ("times", times)):
        if column is None:
            raise InputError(f"{name}: are not given; events need users, items and times")
    users = integers(users, "users", 0, MOST_INDEX, np.uint32)
    items = integers(items, "items", 0, MOST_INDEX, np.uint32)
    times = integers(times, "times", 0, NO_TIME, np.int64)
    rows = len(users)
    if values is not None:
        values = numbers(values, "values")
        if np.isinf(values).any():
            raise InputError(f"values: entry {int(np.argmax(np.isinf(values)))} is infinite; a number, or NaN for none")
    for name, column in (("items", items), ("times", times), ("values", values)):
        if column is not None and len(column) != rows:
            raise InputError(f"{name}: has {len(column)} entries, users have {rows}; they are columns of one table")
    update.set_events(users, items, times, *_kinds(kinds, rows, fixed_kind), values)
    return update
