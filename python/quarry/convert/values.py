"""Table files of the program as typed Arrow columns: its own reader finds the fields and reads times, numbers and keys."""
from __future__ import annotations

from typing import Any, Callable, Iterator, Mapping, Sequence

from .. import _quarry
from .._errors import ConfigError, InputError
from ..arrow import pyarrow
from .sources import Part
from .tables import Column

#: What a column may be as Parquet, the first by default, by what it is to the program (Column.sort).
_CHOICES = {"time": ("timestamp", "text"), "number": ("float", "text"), "key": ("int", "text"), "list": ("list", "text"), "text": ("text",),
            "attribute": ("text", "float", "int", "bool", "date", "timestamp")}


class TextPart(Part):
    """Rows of a table file: those of its batch."""

    def __init__(self, path: str, table: _quarry.TextTable, slots: Mapping[str, int]) -> None:
        super().__init__(path, 0, None)
        self.table, self.slots = table, slots

    def where(self, place: int) -> str:
        return self.table.where(place)


class TextSource:
    """An open .csv, .tsv, .inter, .item or .user file: the names of its columns, and its rows as TextParts."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._table = _quarry.TextTable(path)
        self.names: list[str] = list(self._table.columns)

    def parts(self, columns: Sequence[str]) -> Iterator[TextPart]:
        """Rows in order, with these columns; each part until the next. Raises InputError for a column that is not there."""
        for name in columns:
            if name not in self.names:
                raise InputError(f"{self.path}:1: has no column {name!r}; it has {', '.join(self.names)}")
        self._table.select(list(columns))
        slots = {name: slot for slot, name in enumerate(columns)}
        while self._table.next():
            yield TextPart(self.path, self._table, slots)


class TypedColumn:
    """What makes an Arrow array of a column of a part: `field` is its name, type and whether it may be null."""

    def __init__(self, source: str, column: Column, types: Mapping[str, str]) -> None:
        pa = pyarrow()
        choices = _CHOICES[column.sort]
        kind = types.get(column.name, choices[0])
        if kind not in choices:
            raise ConfigError(f"types: {column.name} cannot be {kind!r}; it may be {' or '.join(choices)}")
        self._source, self._filled = source, column.filled
        makers: dict[tuple[str, str], tuple[Any, Callable[..., Any]]] = {
            ("time", "timestamp"): (pa.timestamp("ms", "UTC"), _quarry.TextTable.times), ("number", "float"): (pa.float64(), _quarry.TextTable.numbers),
            ("key", "int"): (pa.uint64(), _quarry.TextTable.keys), ("attribute", "float"): (pa.float64(), _quarry.TextTable.floats),
            ("attribute", "int"): (pa.int64(), _quarry.TextTable.ints), ("attribute", "bool"): (pa.bool_(), _quarry.TextTable.bools),
            ("attribute", "date"): (pa.date32(), _quarry.TextTable.dates),
            ("attribute", "timestamp"): (pa.timestamp("ms", "UTC"), _quarry.TextTable.instants)}
        self._read: Callable[..., Any] | None
        made, self._read = makers.get((column.sort, kind), (pa.string(), None))
        self._lists = kind == "list"
        if self._lists:
            made = pa.list_(pa.field("element", pa.string(), nullable=False))
        self.field = pa.field(column.name, made, nullable=not column.filled)

    def array(self, part: TextPart) -> Any:
        """Raises InputError naming file and line."""
        pa = pyarrow()
        import pyarrow.compute as pc
        if self._read is None:
            texts = self._texts(part)
            empty = pc.equal(pc.binary_length(texts), 0)
            if self._filled:
                self._refuse_empty(part, empty)
            if self._lists:
                return self._split(part, texts, empty)
            return texts if self._filled else pc.if_else(empty, pa.scalar(None, pa.string()), texts)
        values, valid = self._read(part.table, part.slots[self._source])
        lacking = None if valid.all() else valid == 0
        if lacking is not None and self._filled:
            self._refuse_empty(part, pa.array(lacking))
        if pa.types.is_boolean(self.field.type):
            values = values.view(bool)
        if not pa.types.is_temporal(self.field.type):
            return pa.array(values, self.field.type, mask=lacking)
        return pa.array(values, pa.int32() if values.itemsize == 4 else pa.int64(), mask=lacking).view(self.field.type)

    def _refuse_empty(self, part: TextPart, empty: Any) -> None:
        part.refuse(empty, f"{self.field.name} is empty; every row needs one, so fill it in, or leave the row out")

    def _texts(self, part: TextPart) -> Any:
        pa = pyarrow()
        texts: Any = part.table.texts(part.slots[self._source])
        offsets, chars = texts
        return pa.StringArray.from_buffers(len(offsets) - 1, pa.py_buffer(offsets), pa.py_buffer(chars))

    def _split(self, part: TextPart, texts: Any, empty: Any) -> Any:
        """Ids that | stands between; an empty text has none and is null."""
        pa = pyarrow()
        import pyarrow.compute as pc
        lists = pc.split_pattern(texts, "|")
        rows = pc.list_parent_indices(lists)
        there = pc.invert(empty.take(rows))
        place = pc.index(pc.and_(there, pc.equal(pc.binary_length(lists.values), 0)), pa.scalar(True)).as_py()
        if place >= 0:
            row = rows[place].as_py()
            raise InputError(f"{part.where(row)}: {self.field.name} has an empty id in {texts[row].as_py()!r:.80}; ids stand between '|', and none of "
                             "them is empty")
        lengths = pc.if_else(empty, 0, pc.list_value_length(lists))
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
        return pa.ListArray.from_arrays(offsets, lists.values.filter(there), type=self.field.type, mask=empty)


def checked_types(types: Mapping[str, str], names: Sequence[str]) -> None:
    """Raises ConfigError for a column that is none of `names`, or a type that is none."""
    known = list(dict.fromkeys(kind for choices in _CHOICES.values() for kind in choices))
    for name, kind in types.items():
        if name not in names:
            raise ConfigError(f"types: there is no column {name!r}; there are {', '.join(names)}")
        if kind not in known:
            raise ConfigError(f"types: {name}: {kind!r} is not one of {', '.join(known)}")
