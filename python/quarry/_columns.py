"""One column of a table in memory, whatever holds it, as numbers or texts that the library takes."""
from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from . import _quarry
from ._convert import host_array, is_path
from ._errors import InputError
from .arrow import is_arrow, pyarrow

_NO_CODE = 2**32 - 1
_MOST_TIME = 253402300799  # the end of 9999
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}
_SECONDS = {"W": 604800, "D": 86400, "h": 3600, "m": 60, "s": 1}


@dataclasses.dataclass
class Column:
    """`kind` integers, truths (int64), numbers (float64), times (datetime64), texts (_quarry.Texts) or codes (uint32, of `texts`)."""

    kind: str
    values: Any
    valid: np.ndarray | None = None  #: bool [n]; None: every entry has a value, or an empty text
    texts: Any = None

    def __len__(self) -> int:
        return len(self.values)

    def bits(self) -> np.ndarray | None:
        """`valid` as Arrow's bitmap."""
        return None if self.valid is None else np.packbits(self.valid, bitorder="little")


def column_of(value: Any, where: str) -> Column:
    """Raises InputError, which begins with `where`, for what is no column of texts, numbers, truth values or times."""
    if is_path(value) or isinstance(value, (dict, set, frozenset)) or value is None:
        raise InputError(f"{where}: is a {type(value).__name__}, no column; give a list or an array with an entry per row")
    if isinstance(value, (list, tuple, range)):
        return _objects(list(value), where)
    if type(value).__module__.partition(".")[0] == "pandas":
        return _of_pandas(value, where)
    if is_arrow(value) or hasattr(value, "__arrow_c_stream__") or hasattr(value, "__arrow_c_array__"):
        pa = pyarrow()
        try:
            if not is_arrow(value):
                value = pa.chunked_array(value) if hasattr(value, "__arrow_c_stream__") else pa.array(value)
            return _of_arrow(value, where)
        except (pa.ArrowException, TypeError) as error:
            raise InputError(f"{where}: is a {type(value).__name__} that Arrow does not read as a column ({error})") from None
    return _of_numpy(value if isinstance(value, np.ma.MaskedArray) else host_array(value, where), where)


def _known(valid: np.ndarray) -> np.ndarray | None:
    return None if valid.all() else valid


def _objects(entries: list[Any], where: str) -> Column:
    kind, values, valid = _quarry.objects_column(entries, where)
    return Column(kind, values, None if valid is None else _known(valid.view(bool)))


def _of_numpy(array: np.ndarray, where: str) -> Column:
    if array.ndim != 1:
        named = f"; a table is {{name: array[name]}} of its fields {', '.join(array.dtype.names)}" if array.dtype.names else ""
        if array.shape == () and array.dtype.kind in "iufb":
            raise InputError(f"{where}: is the number {array}: one row is no table, pandas.DataFrame(records) makes one of them")
        raise InputError(f"{where}: has shape {array.shape}; a column has one dimension{named}")
    valid = None
    if isinstance(array, np.ma.MaskedArray):
        valid, array = _known(~np.ma.getmaskarray(array)), np.ma.getdata(array)
    kind = array.dtype.kind
    if kind in "OT":
        return _objects([entry if there else None for entry, there in zip(array.tolist(), valid)] if valid is not None else array.tolist(), where)
    if kind == "U":
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
        points = array.view(np.uint32).reshape(len(array), -1) if array.dtype.itemsize and len(array) else np.zeros((len(array), 1), np.uint32)
        texts = _quarry.texts_of_wide(points, where)
        return Column("texts", texts) if valid is None else _masked_texts(texts, valid)
    if kind == "b":
        return Column("truths", array.astype(np.int64), valid)
    if kind in "iu":
        if kind == "u" and array.size and int(array.max()) >= 2**63:  # what reads it says what is allowed
            return _objects([entry if there else None for entry, there in zip(array.tolist(), valid)] if valid is not None else array.tolist(), where)
        return Column("integers", np.ascontiguousarray(array, np.int64), valid)
    if kind == "f":
        with np.errstate(over="ignore"):
            array = np.ascontiguousarray(array, np.float64)
        return Column("numbers", array, _known(~np.isnan(array) & (True if valid is None else valid)))
    if kind == "M":
        there = ~np.isnat(array)
        return Column("times", array, _known(there if valid is None else there & valid))
    words = {"S": "bytes; decode them, for example with numpy.char.decode(column)", "m": "spans of time; numbers are needed"}
    raise InputError(f"{where}: is {array.dtype}, {words.get(kind, 'none of texts, numbers, truth values and times')}")


def _masked_texts(texts: Any, valid: np.ndarray) -> Column:
    codes = np.arange(len(texts), dtype=np.uint32)
    codes[~valid] = _NO_CODE
    return Column("codes", codes, None, texts)


def _coded(codes: np.ndarray, values: Column, where: str) -> Column:
    """Entries of `values` by their places, negative where there is none."""
    there = codes >= 0
    if codes.size and codes.max() >= max(len(values), 1):
        place = int(np.argmax(codes >= max(len(values), 1)))
        raise InputError(f"{where}, row {place}: is of category {int(codes[place])}; there are {len(values)}, numbered from 0")
    if values.kind in ("texts", "codes"):
        if values.kind == "codes":  # a category of categories
            codes = np.where(there, values.values[np.where(there, codes, 0)].astype(np.int64), _NO_CODE) if len(values) else codes
            return Column("codes", np.where(there, codes, _NO_CODE).astype(np.uint32), None, values.texts)
        return Column("codes", np.where(there, codes, _NO_CODE).astype(np.uint32), None, values.values)
    if len(values) == 0:
        return Column("integers", np.zeros(len(codes), np.int64), _known(there))
    places = np.where(there, codes, 0)
    valid = there if values.valid is None else there & values.valid[places]
    return Column(values.kind, values.values[places], _known(valid))


def _of_pandas(series: Any, where: str) -> Column:
    import pandas as pd
    dtype = getattr(series, "dtype", None)
    if dtype is None or getattr(series, "ndim", 1) != 1:
        raise InputError(f"{where}: is a {type(series).__name__}, no column")
    series = pd.Series(series)
    if isinstance(dtype, pd.CategoricalDtype):
        return _coded(series.cat.codes.to_numpy().astype(np.int64), column_of(series.cat.categories, f"{where}, its categories"), where)
    if isinstance(dtype, pd.DatetimeTZDtype):
        return _of_numpy(series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), where)
    if hasattr(series.array, "__arrow_array__") and (isinstance(dtype, pd.ArrowDtype) or getattr(dtype, "storage", "").startswith("pyarrow")):
        return _of_arrow(series.array.__arrow_array__(), where)
    kind = getattr(dtype, "kind", "O")
    if pd.api.types.is_extension_array_dtype(dtype) and kind in "iufb":  # those with a mask
        valid = _known(~series.isna().to_numpy())
        return _of_numpy(np.ma.array(series.to_numpy(dtype.numpy_dtype if hasattr(dtype, "numpy_dtype") else None, na_value=0),
                                     mask=np.zeros(len(series), bool) if valid is None else ~valid), where)
    if isinstance(dtype, np.dtype):
        return _of_numpy(series.to_numpy(), where)
    return _objects(series.astype(object).tolist(), where)


def _of_arrow(array: Any, where: str) -> Column:
    pa = pyarrow()
    import pyarrow.compute as pc
    types = pa.types
    if isinstance(array, pa.ChunkedArray):
        kind = array.type
        if types.is_string(kind):  # together they may be longer than its offsets hold
            array = array.cast(pa.large_string())
        array = array.unify_dictionaries().combine_chunks() if types.is_dictionary(kind) else array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = array.chunk(0) if array.num_chunks == 1 else pa.concat_arrays(array.chunks)
    if not isinstance(array, pa.Array):
        raise InputError(f"{where}: is a {type(array).__name__}, no column")
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    kind = array.type
    if types.is_dictionary(kind):
        codes = pc.fill_null(array.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
        return _coded(codes, _of_arrow(array.dictionary, f"{where}, its dictionary"), where)
    if types.is_null(kind):
        return Column("integers", np.zeros(len(array), np.int64), np.zeros(len(array), bool))
    if types.is_decimal(kind):
        array = array.cast(pa.large_string())
    elif str(kind) in ("string", "large_string", "string_view"):
        array = array if types.is_large_string(kind) else array.cast(pa.large_string())
    valid = _known(array.is_valid().to_numpy(zero_copy_only=False)) if array.null_count else None
    if types.is_large_string(array.type):
        return _of_strings(pc.fill_null(array, "") if valid is not None else array, where)
    if types.is_boolean(kind):
        return Column("truths", pc.fill_null(array, False).to_numpy(zero_copy_only=False).astype(np.int64), valid)
    if types.is_integer(kind) or types.is_floating(kind):
        numbers = array.cast(pa.float64()) if types.is_floating(kind) else array
        numbers = (numbers if valid is None else pc.fill_null(numbers, 0)).to_numpy(zero_copy_only=False)
        return _of_numpy(numbers if valid is None else np.ma.array(numbers, mask=~valid), where)
    if types.is_timestamp(kind) or types.is_date(kind):
        unit = kind.unit if types.is_timestamp(kind) else "D" if types.is_date32(kind) else "ms"
        counts = array.cast(pa.int32()).cast(pa.int64()) if types.is_date32(kind) else array.cast(pa.int64())
        times = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype(f"datetime64[{unit}]")  # instants of UTC, whatever the zone
        if types.is_date64(kind):
            times = times.astype("datetime64[D]")
        return Column("times", times, valid)
    raise InputError(f"{where}: is {kind}; texts, numbers, truth values, timestamps and dates are taken")


def _of_strings(array: Any, where: str) -> Column:
    rows, begin = len(array), array.offset
    _, offsets, chars = array.buffers()
    if rows == 0 or offsets is None:
        return Column("texts", _quarry.texts_of_arrow(np.zeros(rows + 1, np.int64), np.zeros(0, np.uint8), where))
    places = np.frombuffer(offsets, np.int64, rows + 1, begin * 8)
    return Column("texts", _quarry.texts_of_arrow(places, np.frombuffer(chars if chars is not None else b"", np.uint8), where))


def as_id(column: Column, where: str) -> Column:
    """Ids: texts, or whole numbers."""
    if column.kind == "numbers" and len(column) == 0:
        return Column("integers", np.zeros(0, np.int64))
    if column.kind == "numbers":
        gap = "" if column.valid is None else f" (row {int(np.argmin(column.valid))} has none)"
        raise InputError(f"{where}: holds floating-point numbers{gap}; ids are texts or whole numbers: give every row one, and cast the column "
                         "to them, for example with astype('int64')")
    if column.kind not in ("integers", "texts", "codes"):
        raise InputError(f"{where}: holds {_called(column)}; ids are texts or whole numbers")
    return column


def _called(column: Column) -> str:
    return {"truths": "truth values", "times": f"times ({getattr(column.values, 'dtype', '')})", "texts": "texts", "codes": "texts"}.get(
        column.kind, column.kind)


def as_number(column: Column, where: str) -> Column:
    """Numbers, or texts that are."""
    if column.kind in ("truths", "times"):
        raise InputError(f"{where}: holds {_called(column)}; numbers are needed")
    return column


def as_time(column: Column, where: str) -> Column:
    """Seconds since 1970, or texts of times."""
    if column.kind == "truths":
        raise InputError(f"{where}: holds truth values; times are whole seconds since 1970, datetime64 or ISO 8601 texts")
    if column.kind == "times":
        return Column("integers", _seconds(column.values, column.valid, where), column.valid)
    if column.kind == "integers":
        _refuse_calendar_numbers(column, where)
    return column


def _seconds(times: np.ndarray, valid: np.ndarray | None, where: str) -> np.ndarray:
    """Whole seconds since 1970, fractions cut. Those without a value: 0."""
    _refuse_no_unit(times, where)
    unit, count = np.datetime_data(times.dtype)
    counts = times.astype(times.dtype.newbyteorder("=")).view(np.int64).copy()
    if valid is not None:
        counts[~valid] = 0
    if unit in ("Y", "M"):
        most = (8030 if unit == "Y" else 8030 * 12) - 1  # of 9999
    else:
        most = _MOST_TIME // _SECONDS[unit] if unit in _SECONDS else (_MOST_TIME + 1) * _PER_SECOND[unit] - 1
    wrong = (counts < 0) | (counts > min(most // count, 2**63 - 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        early = counts[row] < 0
        raise InputError(f"{where}, row {row}: time {times[row]} is {'before 1970' if early else 'after the year 9999'}; allowed are 1970 to 9999. "
                         f"{'Shift the times, or remove the row' if early else 'Is the unit right?'}")
    if unit in ("Y", "M"):
        return (counts * count).astype(f"datetime64[{unit}]").astype("datetime64[s]").astype(np.int64)
    if unit in _SECONDS:
        return counts * (count * _SECONDS[unit])
    if count == 1:
        return counts // _PER_SECOND[unit]
    # In steps of `count`: whole seconds first, so that no product is beyond int64.
    per = _PER_SECOND[unit]
    return np.array([int(one) * count // per for one in counts.tolist()], np.int64)


def _refuse_no_unit(times: np.ndarray, where: str) -> None:
    if np.datetime_data(times.dtype)[0] == "generic":
        raise InputError(f"{where}: is {times.dtype}, without a unit; numpy.array(column, 'datetime64[s]') has one")


def _time_texts(times: np.ndarray, where: str) -> list[str]:
    """Dates, or instants of UTC, cut to seconds."""
    unit, count = np.datetime_data(times.dtype)
    counts = times.astype(times.dtype.newbyteorder("=")).view(np.int64)
    per = {"Y": 366 * 86400, "M": 31 * 86400, **_SECONDS}.get(unit, 0) * count
    _refuse_no_unit(times, where)
    far = np.abs(counts // 2) > 10**11 // per if per else np.zeros(len(counts), bool)
    if far.any():
        raise InputError(f"{where}: holds {counts[np.argmax(far)]} as {times.dtype}, which is no time of the years 1 to 9999")
    if unit in _PER_SECOND:
        seconds = np.array([one * count // _PER_SECOND[unit] for one in counts.tolist()], np.int64).astype("datetime64[s]")
    else:
        seconds = times.astype("datetime64[s]")
    if unit in "YMWD":
        return np.datetime_as_string(seconds.astype("datetime64[D]")).tolist()
    return [text.replace("T", " ") + "Z" for text in np.datetime_as_string(seconds).tolist()]


def _refuse_calendar_numbers(column: Column, where: str) -> None:
    """20240501 is meant as a date; as seconds it would lie in 1970. Files are read likewise."""
    near = (column.values >= 19700101) & (column.values <= 20991231)
    if column.valid is not None:
        near &= column.valid
    for row in np.flatnonzero(near):
        text = str(column.values[row])
        try:
            np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:]}")
        except ValueError:
            continue
        raise InputError(f"{where}, row {row}: time {text} looks like a date written as YYYYMMDD, not like seconds since 1970 (it would lie in "
                         f"August or September 1970); make the column datetime64, or float64 if these are seconds")


def as_label(column: Column, where: str) -> Column:
    """Texts, whole numbers; truth values, numbers and times as `quarry convert` writes them. No value: an empty text."""
    if column.kind in ("integers", "texts", "codes"):
        return column
    valid = np.ones(len(column), bool) if column.valid is None else column.valid
    if column.kind == "numbers" and (np.isinf(column.values) & valid).any():
        row = int(np.argmax(np.isinf(column.values) & valid))
        raise InputError(f"{where}, row {row}: is {column.values[row]}; numbers are finite, and None or NaN says that there is none")
    distinct, codes = np.unique(column.values[valid], return_inverse=True)
    if column.kind == "truths":
        names = [("false", "true")[one] for one in distinct.tolist()]
    elif column.kind == "numbers":
        names = [number_text(one) for one in distinct.tolist()]
    else:
        names = _time_texts(distinct, where)
    places = np.full(len(column), -1, np.int64)
    places[valid] = codes.reshape(-1)
    return _coded(places, _objects(names, where) if names else Column("texts", _quarry.texts_of_arrow(np.zeros(1, np.int64), np.zeros(0, np.uint8), where)),
                  where)


def number_text(number: float) -> str:
    """The shortest decimal that is this number again, as Arrow writes it and so `quarry convert`: 3 for 3.0."""
    if number == 0 or 1e-6 <= abs(number) < 1e10:
        return np.format_float_positional(number, trim="-")
    return re.sub(r"e([+-])0", r"e\1", np.format_float_scientific(number, trim="-"))
