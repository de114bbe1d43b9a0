"""Events, catalogue, rows and pairs out of the files that the program reads (docs/inputs.md), into Parquet."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

from ..arrow import pyarrow
from .outputs import target, whole_files
from .sources import TEXT_ENDINGS, files_of
from .tables import CATALOGUE, EVENTS, PAIRS, ROWS, Column, chosen_columns, differing, same_columns
from .values import TextSource, TypedColumn, checked_types

#: The most of a row group, and so about what memory takes.
_GROUP_ROWS, _GROUP_BYTES = 1 << 20, 64 << 20


def events_to_parquet(sources: Any, out: Any, *, columns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None,
                      overwrite: bool = False) -> int:
    """Events as the program reads them into a .parquet with the columns user, item, time, and kind and value where the sources have them.
    Returns the rows.

    sources: a path, paths, or a folder of .csv (commas), .tsv, .inter, .item or .user (tabs) files, read in the order of their names.
    columns: {"user", "item", "time", "kind", "value"} to names in the sources; a name that is given must be there. Others are left out.
    types: {"time": "text"} and {"value": "text"} keep the letters, unread. By default `time` is timestamp[ms, UTC] (finer fractions are cut; the
        program reads whole seconds) and `value` the float64 that the program rounds to fp32, null where the field is empty.
    Ids and kinds are texts, letter for letter. Nothing is dictionary-encoded. Memory is that of a row group: 2^20 rows or 64 MiB at most.
    Raises InputError naming file, line and value, ConfigError, IoError, ImportError without pyarrow."""
    return _convert(EVENTS, sources, out, columns, types, overwrite)


def rows_to_parquet(sources: Any, out: Any, *, columns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None,
                    overwrite: bool = False) -> int:
    """Training rows, as `events_to_parquet`: user, and item (list of texts; null: none), time and segment (null: none) and row_key (uint64) where
    the sources have them. types: "text" for item, time and row_key."""
    return _convert(ROWS, sources, out, columns, types, overwrite)


def pairs_to_parquet(sources: Any, out: Any, *, columns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None,
                     overwrite: bool = False) -> int:
    """Scores of pairs, as `events_to_parquet`: user, item, score (float64). types: {"score": "text"}."""
    return _convert(PAIRS, sources, out, columns, types, overwrite)


def catalogue_to_parquet(sources: Any, out: Any, *, columns: Mapping[str, str] | None = None, types: Mapping[str, str] | None = None,
                         drop: Sequence[str] = (), overwrite: bool = False) -> int:
    """A catalogue, as `events_to_parquet`: item, and first_seen and retired (timestamps) and title where the sources have them; every other column
    but those in `drop` is an attribute under its own name. Null where a field is empty.

    types: attributes are texts, or what this says of them: "float" (float64), "int" (int64), "bool" (true, false), "date" (date32) or "timestamp"
        (timestamp[ms, UTC], of any year). A value that does not fit is an InputError. Numbers lose how they were written (1.50 is 1.5), which
        makes other labels on the way back."""
    return _convert(CATALOGUE, sources, out, columns, types, overwrite, drop=drop)


def _convert(known: Sequence[Column], sources: Any, out: Any, mapped: Mapping[str, str] | None, types: Mapping[str, str] | None, overwrite: bool,
             drop: Sequence[str] | None = None) -> int:
    path = target(out, overwrite, (".parquet",))
    mapped, types = mapped or {}, types or {}
    files = files_of(sources, TEXT_ENDINGS)
    pa = pyarrow()
    import pyarrow.parquet as pq
    first = TextSource(files[0])
    chosen = chosen_columns(known, files[0], first.names, mapped, drop)
    names = [column.name for _, column in chosen]
    differing(names)
    checked_types(types, names)
    typed = [TypedColumn(source, column, types) for source, column in chosen]
    wanted = list(dict.fromkeys(source for source, _ in chosen))
    schema = pa.schema([column.field for column in typed])
    total = 0
    with whole_files(path) as (file,), pq.ParquetWriter(file, schema, use_dictionary=False, compression="zstd") as writer:
        group = _Group(writer, schema)
        for number, name in enumerate(files):
            source = first if number == 0 else TextSource(name)
            same_columns(name, source.names, files[0], first.names, known, mapped, drop)
            for part in source.parts(wanted):
                batch = pa.RecordBatch.from_arrays([column.array(part) for column in typed], schema=schema)
                group.add(batch)
                total += batch.num_rows
        group.write()
    return total


class _Group:
    """Batches until they are a row group."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema, self._rows, self._bytes = writer, schema, 0, 0
        self._batches: list[Any] = []

    def add(self, batch: Any) -> None:
        if self._rows + batch.num_rows > _GROUP_ROWS or self._bytes + batch.nbytes > _GROUP_BYTES:
            self.write()
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes

    def write(self) -> None:
        if self._batches:
            self._writer.write_table(pyarrow().Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows, self._bytes = [], 0, 0
