"""Events, catalogue, rows and pairs as the CSV or TSV files that the program reads (docs/inputs.md)."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable, Mapping, Sequence

from .._convert import flaw_of
from .._errors import ConfigError, InputError
from ..arrow import pyarrow
from .outputs import target, whole_files
from .sources import Part, Source, files_of
from .texts import UNITS, any_text, id_lists, id_text, key_text, number_text, readable, time_text


_MOST_COLUMNS = 4096


@dataclasses.dataclass(frozen=True)
class Column:
    """A column that the program knows: its name, whether it must be there, what makes text of it, and what it is as Parquet (values.py)."""

    name: str
    needed: bool
    text: Callable[[Part, str, Any, str], Any]
    sort: str = "text"
    filled: bool = False  #: no row lacks a value


def _id(part: Part, name: str, array: Any, unit: str) -> Any:
    return id_text(part, name, array)


def _time(required: bool) -> Callable[[Part, str, Any, str], Any]:
    return lambda part, name, array, unit: time_text(part, name, array, unit, required)


def _number(required: bool) -> Callable[[Part, str, Any, str], Any]:
    return lambda part, name, array, unit: number_text(part, name, array, required)


def _label(required: bool) -> Callable[[Part, str, Any, str], Any]:
    return lambda part, name, array, unit: any_text(part, name, array, required)


def _key(part: Part, name: str, array: Any, unit: str) -> Any:
    return key_text(part, name, array)


def _lists(part: Part, name: str, array: Any, unit: str) -> Any:
    return id_lists(part, name, array)


EVENTS = (Column("user", True, _id, filled=True), Column("item", True, _id, filled=True), Column("time", True, _time(True), "time", filled=True),
          Column("kind", False, _label(True), filled=True), Column("value", False, _number(False), "number"))
ROWS = (Column("user", True, _id, filled=True), Column("item", False, _lists, "list"), Column("time", False, _time(False), "time"),
        Column("segment", False, _label(False)), Column("row_key", False, _key, "key", filled=True))
PAIRS = (Column("user", True, _id, filled=True), Column("item", True, _id, filled=True), Column("score", True, _number(True), "number", filled=True))
CATALOGUE = (Column("item", True, _id, filled=True), Column("first_seen", False, _time(False), "time"), Column("retired", False, _time(False), "time"),
             Column("title", False, _label(False)))


def events(sources: Any, out: Any, *, columns: dict[str, str] | None = None, time_unit: str = "s", overwrite: bool = False) -> int:
    """Events into a .csv or .tsv with the columns user, item, time, and kind and value where the sources have them. Returns the rows.

    sources: a path, paths, or a folder of .parquet, .arrow, .ipc or .feather files, read in the order of their names.
    columns: {"user", "item", "time", "kind", "value"} to names in the sources; a name that is given must be there.
    Ids are texts or whole numbers. Times are timestamps and dates (written as UTC, cut to seconds; without a zone they are UTC), ISO 8601 texts, or
    numbers since 1970 in `time_unit` "s", "ms", "us" or "ns". Memory is that of a row group, or of a record batch of Arrow.
    Raises InputError naming file and row (counted from 0 in each file), ConfigError, IoError, ImportError without pyarrow."""
    return _convert(EVENTS, sources, out, columns, time_unit, overwrite)


def rows(sources: Any, out: Any, *, columns: dict[str, str] | None = None, time_unit: str = "s", overwrite: bool = False) -> int:
    """Training rows, as `events`: user, and item, time, segment and row_key where the sources have them. `item` may be a list of ids."""
    return _convert(ROWS, sources, out, columns, time_unit, overwrite)


def pairs(sources: Any, out: Any, *, columns: dict[str, str] | None = None, overwrite: bool = False) -> int:
    """Scores of pairs, as `events`: user, item, score."""
    return _convert(PAIRS, sources, out, columns, "s", overwrite)


def catalogue(sources: Any, out: Any, *, columns: dict[str, str] | None = None, drop: Sequence[str] = (), time_unit: str = "s",
              overwrite: bool = False) -> int:
    """A catalogue, as `events`: item, and first_seen, retired and title where the sources have them; every other column but those in `drop` is
    an attribute under its own name: texts, numbers, truth values, dates. A column of lists is refused unless it is dropped."""
    return _convert(CATALOGUE, sources, out, columns, time_unit, overwrite, attributes=True, drop=drop)


def ids(sources: Any, out: Any, *, column: str, overwrite: bool = False) -> int:
    """A column of ids, as `events`, under its own name."""
    return _convert((Column(column, True, _id),), sources, out, None, "s", overwrite)


def under_own_names(kind: str, sources: Any, out: Any, columns: dict[str, str], time_unit: str) -> int:
    """events, rows, pairs or catalogue whose header has the names of the sources: `columns` says which they are, as the program's own flags
    do, and are told to it again. What is there already is replaced."""
    known = {"events": EVENTS, "rows": ROWS, "pairs": PAIRS, "catalogue": CATALOGUE}[kind]
    return _convert(known, sources, out, columns, time_unit, True, attributes=kind == "catalogue", own_names=True)


def _convert(known: Sequence[Column], sources: Any, out: Any, mapped: dict[str, str] | None, unit: str, overwrite: bool,
             attributes: bool = False, drop: Sequence[str] = (), own_names: bool = False) -> int:
    path = target(out, overwrite, (".csv", ".tsv"))
    if unit not in UNITS:
        raise ConfigError(f"time_unit: {unit!r} is not one of {', '.join(UNITS)}")
    files = files_of(sources)
    pa = pyarrow()
    from pyarrow import csv
    first = Source(files[0])
    mapped = mapped or {}
    chosen = chosen_columns(known, files[0], first.schema.names, mapped, drop if attributes else None)
    names = [source if own_names else one.name for source, one in chosen]
    differing(names)
    bare = [name[:name.rfind(":")] if ":" in name else name for name in names]  # as the program reads a header
    twice = next((name for name, one in zip(names, bare) if bare.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(f"columns: the program cuts what stands behind a colon, so {twice!r} would be {bare[names.index(twice)]!r}, which is another "
                          "column's name too; drop or rename one")
    wrong = next((name for name, one in zip(names, bare) if not one or flaw_of(one)), None)
    if wrong is not None:
        raise ConfigError(f"columns: one would be called {wrong!r}, {'which holds ' + flaw_of(wrong) if flaw_of(wrong) else 'no name as the program reads it'}; "
                          "drop or rename it")
    if len(names) > _MOST_COLUMNS:
        raise ConfigError(f"columns: there are {len(names)}, and the program reads {_MOST_COLUMNS} at most; drop what is not needed (drop, --drop)")
    wanted = list(dict.fromkeys(source for source, _ in chosen))
    schema = pa.schema([(name, pa.large_string()) for name in names])
    options = csv.WriteOptions(delimiter="," if path.endswith(".csv") else "\t")
    total = 0
    with whole_files(path) as (file,), csv.CSVWriter(file, schema, write_options=options) as writer:
        for number, name in enumerate(files):
            source = first if number == 0 else Source(name)
            same_columns(source.path, source.schema.names, files[0], first.schema.names, known, mapped, drop if attributes else None)
            for part in source.parts(wanted):
                # A lone column that is empty would be a blank line, which readers skip; ids, which every table has, are never empty.
                texts = [one.text(part, column, part.batch.column(column), unit) for column, one in chosen]
                writer.write_batch(readable(part, names, texts))
                total += part.batch.num_rows
        if total == 0:
            raise InputError(f"{files[0]}: {'and the other files have' if len(files) > 1 else 'has'} no rows")
    return total


def chosen_columns(known: Sequence[Column], path: str, there: Sequence[str], mapped: Mapping[str, str],
                   drop: Sequence[str] | None) -> list[tuple[str, Column]]:
    """Columns to convert and their names in a source that has the columns `there`. drop: of a catalogue, whose other columns are attributes; None:
    others are passed over."""
    for key in mapped:
        if key not in [one.name for one in known]:
            raise ConfigError(f"columns: there is no {key!r}; keys are {', '.join(one.name for one in known)}")
    chosen = [(mapped.get(one.name, one.name), one) for one in known if one.needed or one.name in mapped or one.name in there]
    if drop is not None:
        for name in drop:
            if name not in there:
                raise ConfigError(f"drop: {path} has no column {name!r}; it has {', '.join(there)}")
        taken = {source for source, _ in chosen}
        chosen += [(name, Column(name, False, _label(False), "attribute")) for name in there if name not in taken and name not in drop]
    return chosen


def differing(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that stands twice."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"columns: two columns would be called {twice!r}; drop or rename one")


def same_columns(path: str, names: Sequence[str], first_path: str, first_names: Sequence[str], known: Sequence[Column], mapped: Mapping[str, str],
                 drop: Sequence[str] | None) -> None:
    """Raises InputError for a file that has a column more than the first, which would be lost without a word; one less is found by its reader."""
    wanted = [mapped.get(one.name, one.name) for one in known]
    more = [name for name in names if name not in first_names and (name not in drop if drop is not None else name in wanted)]
    if more:
        raise InputError(f"{path}: has the column {more[0]!r}, and {first_path} has not; files of one table have the same columns")
