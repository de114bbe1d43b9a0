"""Events and catalogue in memory: tables of columns, as the library reads files of the same values."""
from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from . import _quarry
from ._columns import Column, as_id, as_label, as_number, as_time, column_of
from ._convert import flaw_of, is_path, path_text
from ._errors import InputError
from .arrow import pyarrow

_Role = Callable[[Column, str], Column]


def is_table(value: Any) -> bool:
    """Columns with names: a Mapping, a pandas.DataFrame, a pyarrow.Table, or what exports Arrow's stream."""
    return isinstance(value, Mapping) or _is_frame(value) or _is_arrow_table(value) or hasattr(value, "__arrow_c_stream__")


def _is_frame(value: Any) -> bool:
    return any(base.__name__ == "DataFrame" and base.__module__.partition(".")[0] == "pandas" for base in type(value).__mro__)


def _is_arrow_table(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "pyarrow" and type(value).__name__ in ("Table", "RecordBatch")


def put_events(request: Any, events: Any, columns: Mapping[str, str], fixed_kind: str) -> None:
    """Paths and tables, one log together, into a request. Raises InputError."""
    if events is None:
        return
    if is_path(events) or is_table(events):
        parts: Sequence[Any] = [events]
    else:
        try:
            parts = list(events)
        except TypeError:
            raise InputError(f"events: is a {type(events).__name__}; give a path, a table of columns, or a list of these") from None
    roles: dict[str, _Role] = {columns["user"]: as_id, columns["item"]: as_id, columns["time"]: as_time}
    if not fixed_kind:
        roles.setdefault(columns["kind"], as_label)
    roles.setdefault(columns["value"], as_number)
    paths = []
    for place, part in enumerate(parts):
        name = "events" if len(parts) == 1 else f"events[{place}]"
        if is_path(part):
            paths.append(path_text(part, "events"))
        elif is_table(part):
            request.add_events(_table(part, name, roles, None, columns["value"]))
        else:
            raise InputError(f"{name}: is a {type(part).__name__}; give a path, or a table of columns: a dict, a pandas.DataFrame or a pyarrow.Table")
    request.events = paths


def put_catalogue(request: Any, catalogue: Any, columns: Mapping[str, str]) -> None:
    """A path or a table into a request. Raises InputError."""
    if catalogue is None:
        return
    if is_path(catalogue):
        request.catalogue = path_text(catalogue, "catalogue")
    elif is_table(catalogue):
        roles: dict[str, _Role] = {columns["item"]: as_id, columns["first_seen"]: as_time, columns["retired"]: as_time}
        request.set_catalogue(_table(catalogue, "catalogue", roles, as_label, ""))
    else:
        raise InputError(f"catalogue: is a {type(catalogue).__name__}; give a path, or a table of columns: a dict, a pandas.DataFrame or a "
                         "pyarrow.Table")


def _table(table: Any, name: str, roles: Mapping[str, _Role], other: _Role | None, late: str) -> Any:
    """A _quarry.Table. roles: of the columns that are read; other: of all others, or None: these are named only. late: the column that is
    refused only once the library reads it."""
    names, entries = _columns_of(table, name)
    for place, column in enumerate(names):
        if not isinstance(column, str) or not column or flaw_of(column):
            raise InputError(f"{name}: column {place} is called {column!r}; names of columns are texts, and not empty"
                             f"{' (this one holds ' + flaw_of(column) + ')' if isinstance(column, str) and column else ''}")
        if column in names[:place]:
            raise InputError(f"{name}: two columns are called {column!r}; drop or rename one")
    _refuse_index(table, name, names, list(roles), other is not None)
    out = _quarry.Table(name, len(table) if _is_frame(table) else 0)
    rows_of = ""  # the column that says how many rows there are
    for place, column in enumerate(names):
        role = roles.get(column, other)
        where = f"{name}: column {column!r}"
        if role is None:
            out.add_refused(column, f"{where}: is not read")
            continue
        try:
            found = role(column_of(entries(place), where), where)
        except InputError as error:
            if column != late:
                raise
            out.add_refused(column, str(error))
            continue
        if not rows_of:
            rows_of, out.rows = column, len(found)
        elif len(found) != out.rows:
            raise InputError(f"{where} has {len(found)} entries, column {rows_of!r} has {out.rows}; columns of one table have the same length")
        if found.kind == "integers":
            out.add_integers(column, found.values, found.bits())
        elif found.kind == "numbers":
            out.add_numbers(column, found.values, found.bits())
        elif found.kind == "codes":
            out.add_codes(column, found.values, found.texts)
        else:
            out.add_texts(column, found.values)
    return out


def _columns_of(table: Any, name: str) -> tuple[list[Any], Callable[[int], Any]]:
    """Names of columns, and what gives a column by its place."""
    if isinstance(table, Mapping):
        columns = list(table.values())
        return list(table), columns.__getitem__
    if _is_frame(table):
        return list(table.columns), lambda place: table.iloc[:, place]
    if not _is_arrow_table(table):
        pa = pyarrow()
        try:
            table = pa.table(table)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InputError(f"{name}: is a {type(table).__name__}, which is no table of columns ({error})") from None
    return table.schema.names, table.column


def _refuse_index(table: Any, name: str, names: Sequence[str], columns: Sequence[str], in_order: bool) -> None:
    """Raises InputError for a pandas.DataFrame whose index looks like a column that is missed, or like another order of the items."""
    if not _is_frame(table):
        return
    for level in table.index.names:
        if level in columns and level not in names:
            raise InputError(f"{name}: {level!r} is the index and no column; {name}.reset_index() makes it one")
    if in_order and columns[0] not in names:
        import numpy as np
        index = table.index.to_numpy()
        if index.dtype.kind not in "iu" or not np.array_equal(index, np.arange(len(index))):
            raise InputError(f"{name}: has no column {columns[0]!r}, and its index is not 0, 1, 2, ...; give the column, or "
                             f"{name}.reset_index(drop=True) where a row per item stands in the order of items")
