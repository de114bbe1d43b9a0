"""Parquet, Arrow and Feather files, one after the other, a batch of rows at a time."""
from __future__ import annotations

import os
from typing import Any, Iterator, Sequence

from .._convert import is_path, path_text
from .._errors import InputError, IoError
from ..arrow import first, pyarrow

ENDINGS = (".parquet", ".pq", ".arrow", ".ipc", ".feather", ".arrows")
TEXT_ENDINGS = (".csv", ".tsv", ".inter", ".item", ".user")  # as the program reads tables
_BATCH = 16384


class Part:
    """Rows of a file: `batch`, a RecordBatch, begins with row `row` of `path`."""

    def __init__(self, path: str, row: int, batch: Any) -> None:
        self.path, self.row, self.batch = path, row, batch

    def where(self, place: int) -> str:
        return f"{self.path}: row {self.row + place}"

    def refuse(self, mask: Any, what: str) -> None:
        """Raises InputError naming the first row for which the mask (pyarrow, bool) is true, if there is one."""
        place = first(pyarrow(), mask)
        if place >= 0:
            raise InputError(f"{self.where(place)}: {what}")


def files_of(sources: Any, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """Paths in the order in which they are read: files as given, those of a folder by name. Raises InputError."""
    out: list[str] = []
    for source in [sources] if is_path(sources) else list(sources):
        path = path_text(source, "sources")
        if not os.path.isdir(path):
            if not path.lower().endswith(endings):
                unpack = "; unpack it first with gunzip" if path.lower().endswith(".gz") else ""
                raise InputError(f"{path}: its extension is not one of {', '.join(endings)}{unpack}")
            out.append(path)
            continue
        names = sorted(name for name in os.listdir(path) if not name.startswith((".", "_")))
        for name in names:
            whole = os.path.join(path, name)
            if os.path.isdir(whole):
                raise InputError(f"{whole}: is a folder within a folder, whose name may be a value of the table; name such folders one by one")
            if not name.lower().endswith(endings):
                raise InputError(f"{whole}: its extension is not one of {', '.join(endings)}; name the files one by one, or move it away")
            out.append(whole)
        if not names:
            raise InputError(f"{path}: is a folder without files")
    if not out:
        raise InputError("sources: none are given")
    return out


class Source:
    """An open file: its schema, and its rows as Parts."""

    def __init__(self, path: str) -> None:
        self.path = path
        pa = pyarrow()
        self._parquet = path.lower().endswith((".parquet", ".pq"))
        try:
            if self._parquet:
                import pyarrow.parquet as pq
                # By default columns of all row groups are read ahead, into memory.
                self._file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
                self.schema = self._file.schema_arrow
            else:
                try:
                    self._file = pa.ipc.open_file(pa.OSFile(path))
                except pa.ArrowInvalid:
                    self._file = pa.ipc.open_stream(pa.OSFile(path))
                self.schema = self._file.schema
        except OSError as error:
            raise IoError(f"{path}: {error}") from None
        except MemoryError:  # Arrow's is an ArrowException too
            raise
        except pa.ArrowException as error:
            raise InputError(f"{path}: cannot be read as {'Parquet' if self._parquet else 'Arrow IPC'}: {error}") from None

    def parts(self, columns: Sequence[str]) -> Iterator[Part]:
        """Rows in order, with these columns. Raises InputError for one that is not there, or there twice."""
        for name in columns:
            count = self.schema.names.count(name)
            if count != 1:
                raise InputError(f"{self.path}: has {'no' if count == 0 else f'{count}'} column{'s' if count else ''} {name!r}; it has "
                                 f"{', '.join(self.schema.names)}")
        pa, row = pyarrow(), 0
        try:
            for batch in self._batches(list(columns)):
                for begin in range(0, batch.num_rows, _BATCH):
                    part = batch.slice(begin, _BATCH)
                    yield Part(self.path, row, part)
                    row += part.num_rows
        except OSError as error:
            raise IoError(f"{self.path}: behind row {row}: {error}") from None
        except MemoryError:
            raise
        except pa.ArrowException as error:
            raise InputError(f"{self.path}: behind row {row}: {error}") from None

    def _batches(self, columns: list[str]) -> Iterator[Any]:
        if self._parquet:
            for group in range(self._file.num_row_groups):
                yield from self._file.iter_batches(batch_size=_BATCH, row_groups=[group], columns=columns)
        elif hasattr(self._file, "num_record_batches"):
            for number in range(self._file.num_record_batches):
                yield self._file.get_batch(number).select(columns)
        else:
            for batch in self._file:
                yield batch.select(columns)
