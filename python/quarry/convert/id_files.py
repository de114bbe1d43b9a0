"""Ids in a column of a .csv or .tsv file."""
from __future__ import annotations

from typing import Any

from .._convert import ids_of
from .._errors import ConfigError, InputError, IoError
from ..arrow import pyarrow


class IdFile:
    """Ids of a .csv or .tsv file, so many at a time."""

    def __init__(self, ids: Any) -> None:
        path, column, given = ids_of(ids, "ids")
        if given:
            raise ConfigError("ids: is a list; give the path of a .csv or .tsv file")
        if not path.endswith((".csv", ".tsv")):
            raise ConfigError(f"ids: {path} does not end in .csv or .tsv")
        pa = pyarrow()
        from pyarrow import csv
        self.path, self.count, self.left = path, 0, pa.array([], pa.string())
        parse = csv.ParseOptions(delimiter="," if path.endswith(".csv") else "\t", newlines_in_values=True)
        try:
            with csv.open_csv(path, read_options=csv.ReadOptions(block_size=16 << 20), parse_options=parse) as probe:
                names = probe.schema.names
            if column == "" and len(names) != 1:
                column = next((name for name in names if name in ("id", "item", "user")), "")
            if column == "" and len(names) == 1:
                column = names[0]
            if column not in names:
                raise ConfigError(f"ids: {path} has the columns {', '.join(names)}; say which has the ids: {path}:COLUMN")
            convert = csv.ConvertOptions(column_types={column: pa.string()}, include_columns=[column], strings_can_be_null=False,
                                         quoted_strings_can_be_null=False)
            self.reader = csv.open_csv(path, read_options=csv.ReadOptions(block_size=16 << 20), parse_options=parse, convert_options=convert)
        except OSError as error:
            raise IoError(f"{path}: {error}") from None
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: {error}") from None

    def take(self, rows: int) -> Any:
        """The next ids, a pyarrow string array. Raises InputError where there are fewer."""
        pa = pyarrow()
        parts, have = [self.left], len(self.left)
        while have < rows:
            batch = self.next_batch()
            if batch is None:
                raise InputError(f"{self.path}: has {self.count + have} ids, fewer than there are vectors")
            parts.append(batch.column(0))
            have += batch.num_rows
        whole = pa.concat_arrays(parts)
        self.left, self.count = whole.slice(rows), self.count + rows
        return whole.slice(0, rows)

    def next_batch(self) -> Any:
        """A RecordBatch of the column; None: there are no more. Not between calls of take."""
        try:
            return self.reader.read_next_batch()
        except StopIteration:
            return None
        except pyarrow().ArrowInvalid as error:
            raise InputError(f"{self.path}: behind id {self.count}: {error}") from None

    def end(self, rows: int) -> None:
        """Raises InputError if there are more ids than the rows taken."""
        more = len(self.left)
        while not more:
            batch = self.next_batch()
            if batch is None:
                return
            more = batch.num_rows
        raise InputError(f"{self.path}: has more ids than the {rows} vectors; they belong to other vectors")
