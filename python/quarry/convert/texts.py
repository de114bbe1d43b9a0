"""Typed columns as the texts that the program reads: ids, times, numbers."""
from __future__ import annotations

from typing import Any, Sequence

from .._errors import InputError
from ..arrow import first, pyarrow
from .sources import Part

_MOST_TIME = 253402300799  # the end of 9999
_MOST_FLOAT = 3.4028234663852886e38
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


_MOST_RECORD = 16 << 20  # bytes of a line that the program reads


def readable(part: Part, names: Sequence[str], columns: Sequence[Any]) -> Any:
    """A RecordBatch of texts that the program reads as they are. Raises InputError for a NUL byte, for bytes that are no UTF-8 (not all who write
    Parquet check), and for a row that is longer than a line may be."""
    pa = pyarrow()
    import pyarrow.compute as pc
    for name, texts in zip(names, columns):
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            place, wrong = next((place, one) for place, one in enumerate(texts.cast(pa.large_binary()).to_pylist()) if one and not _is_utf8(one))
            raise InputError(f"{part.where(place)}: {name} is {wrong!r:.80}, which is no UTF-8; write it as what it is") from None
        nul = first(pa, pc.match_substring(texts, "\0"))
        if nul >= 0:
            raise InputError(f"{part.where(nul)}: {name} is {texts[nul].as_py()!r:.80}, which holds a NUL byte, and the program reads none; is it a "
                             "damaged value, or one of fixed width? Cut it off, or leave the row out")
    if sum(texts.nbytes for texts in columns) > _MOST_RECORD // 2:  # as quotes are doubled
        lengths = pa.scalar(0, pa.int64())
        for texts in columns:
            for more in (pc.binary_length(texts), pc.count_substring(texts, '"')):
                lengths = pc.add(lengths, pc.fill_null(more, 0).cast(pa.int64()))
        part.refuse(pc.greater(lengths, _MOST_RECORD - 3 * len(columns)),  # quotes and a separator
                    f"its texts are longer than the {_MOST_RECORD >> 20} MiB that a line of the program may have; leave out what is not needed")
    return pa.record_batch(list(columns), schema=pa.schema([(name, pa.large_string()) for name in names]))


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def plain(array: Any) -> Any:
    """Without extension, dictionary or runs."""
    pa = pyarrow()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_run_end_encoded(array.type):
        import pyarrow.compute as pc
        array = pc.run_end_decode(array)
    return array


def _is_text(kind: Any) -> bool:
    types = pyarrow().types
    return types.is_string(kind) or types.is_large_string(kind) or (hasattr(types, "is_string_view") and types.is_string_view(kind))


def id_text(part: Part, name: str, array: Any, allow_empty: bool = False) -> Any:
    """Ids: texts as they are, whole numbers in decimal."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = plain(array)
    kind = array.type
    part.refuse(array.is_null(), f"{name} is null; every row needs an id, so leave the row out")
    if _is_text(kind) or pa.types.is_null(kind):
        out = array.cast(pa.large_string())
    elif pa.types.is_integer(kind) or pa.types.is_decimal(kind) and kind.scale == 0:
        out = array.cast(pa.large_string())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        try:
            out = array.cast(pa.large_string())
        except pa.ArrowInvalid:
            raise InputError(f"{part.where(0)} or behind: {name} is {kind} and no UTF-8; write ids as texts") from None
    else:
        raise InputError(f"{part.path}: column {name} is {kind}; ids are texts or whole numbers")
    if not allow_empty:
        part.refuse(pc.equal(out, ""), f"{name} is empty; every row needs an id")
    return out


def id_lists(part: Part, name: str, array: Any) -> Any:
    """Ids of a row with | between, from a list of ids, or from a text that is like that already. Null: none."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = plain(array)
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        if array.null_count:
            array = pc.fill_null(array.cast(pa.large_string()) if not _is_text(kind) else array, "")
        return id_text(part, name, array, allow_empty=True)
    if pa.types.is_fixed_size_list(kind):
        array = array.cast(pa.large_list(kind.value_type))
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    flat = array.flatten()
    owner = pc.list_parent_indices(array)  # of each entry, counted from the first row of the array
    entries = Part(part.path, 0, None)
    mask = flat.is_null() if len(flat) else None
    if mask is not None and pc.any(mask).as_py():
        raise InputError(f"{part.where(owner[pc.index(mask, pa.scalar(True)).as_py()].as_py())}: {name} has a null in its list; leave it out")
    texts = id_text(entries, name, flat, allow_empty=True)
    for wrong, what in ((pc.match_substring(texts, "|"), "an id with '|', which stands between ids"), (pc.equal(texts, ""), "an empty id")):
        if pc.any(wrong).as_py():
            raise InputError(f"{part.where(owner[pc.index(wrong, pa.scalar(True)).as_py()].as_py())}: {name} has {what}; such an id cannot be "
                             "in a list")
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths.cast(pa.int32()))])
    return pc.binary_join(pa.ListArray.from_arrays(offsets, texts.cast(pa.string())), "|").cast(pa.large_string())


def time_text(part: Part, name: str, array: Any, unit: str, required: bool) -> Any:
    """Times: typed ones as ISO 8601 in UTC, cut to seconds; numbers counted in `unit`; texts as they are."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = plain(array)
    kind = array.type
    if required:
        part.refuse(array.is_null(), f"{name} is null; every row needs a time")
    if _is_text(kind) or pa.types.is_null(kind):
        if required:
            part.refuse(pc.equal(array, ""), f"{name} is empty; every row needs a time")
        return array.cast(pa.large_string())
    if pa.types.is_date(kind):
        array, kind = array.cast(pa.timestamp("s") if pa.types.is_date32(kind) else pa.timestamp("ms")), pa.timestamp("s")
    if pa.types.is_timestamp(array.type):
        per_second = UNITS[array.type.unit]
        seconds = _floor(array.cast(pa.int64()), per_second)  # instants of UTC, whatever the zone
    elif pa.types.is_integer(kind):
        if pa.types.is_uint64(kind):
            part.refuse(pc.greater(array, pa.scalar(2**63 - 1, pa.uint64())), f"{name} is no time")
        seconds = _floor(array.cast(pa.int64()), UNITS[unit])
    elif pa.types.is_floating(kind):
        numbers = array.cast(pa.float64())
        part.refuse(pc.fill_null(pc.invert(pc.is_finite(numbers)), False), f"{name} is no finite number; null says that there is no time")
        part.refuse(pc.fill_null(pc.greater(pc.abs(numbers), 9e18), False), f"{name} is no time")
        seconds = _floor(pc.floor(numbers).cast(pa.int64(), safe=False), UNITS[unit])
    else:
        raise InputError(f"{part.path}: column {name} is {kind}; times are timestamps, dates, numbers since 1970 or ISO 8601 texts")
    part.refuse(pc.fill_null(pc.less(seconds, 0), False), f"{name} is before 1970; allowed are 1970 to 9999")
    part.refuse(pc.fill_null(pc.greater(seconds, _MOST_TIME), False),
                f"{name} is after 9999; allowed are 1970 to 9999. If these are milliseconds, say so: time_unit ms (--time-unit ms)")
    if unit == "s" and not pa.types.is_timestamp(array.type):
        return seconds.cast(pa.large_string())  # the program still refuses 20240501
    return _instant(seconds)


def _instant(seconds: Any) -> Any:
    """ISO 8601 in UTC."""
    pa = pyarrow()
    import pyarrow.compute as pc
    texts = seconds.cast(pa.timestamp("s")).cast(pa.large_string())
    return pc.binary_join_element_wise(texts, pa.scalar("Z", pa.large_string()), pa.scalar("", pa.large_string()))


def _floor(numbers: Any, divisor: int) -> Any:
    """Quotients rounded down."""
    pa = pyarrow()
    import pyarrow.compute as pc
    if divisor == 1:
        return numbers
    quotient = pc.divide(numbers, pa.scalar(divisor, pa.int64()))  # towards zero
    back = pc.multiply(quotient, pa.scalar(divisor, pa.int64()))
    return pc.subtract(quotient, pc.cast(pc.greater(back, numbers), pa.int64()))


def number_text(part: Part, name: str, array: Any, required: bool, label: bool = False) -> Any:
    """Numbers that are finite in fp32, with all their digits; as a label any finite one."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = plain(array)
    kind = array.type
    if required:
        part.refuse(array.is_null(), f"{name} is null; every row needs a number")
    if _is_text(kind) or pa.types.is_null(kind):
        if required:
            part.refuse(pc.equal(array, ""), f"{name} is empty; every row needs a number")
        return array.cast(pa.large_string())
    if pa.types.is_floating(kind):
        numbers = array.cast(pa.float64())
        part.refuse(pc.fill_null(pc.invert(pc.is_finite(numbers)), False), f"{name} is NaN or infinite; null says that there is no number")
        if not label:
            part.refuse(pc.fill_null(pc.greater(pc.abs(numbers), _MOST_FLOAT), False), f"{name} is outside of [-3.4e38, 3.4e38]")
        return numbers.cast(pa.large_string())
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return array.cast(pa.large_string())
    raise InputError(f"{part.path}: column {name} is {kind}; numbers are needed")


def any_text(part: Part, name: str, array: Any, required: bool = False) -> Any:
    """A label: texts, whole numbers, truth values (true, false), dates and decimals."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = plain(array)
    kind = array.type
    if required:
        part.refuse(array.is_null(), f"{name} is null; every row needs one")
    if pa.types.is_floating(kind):
        return number_text(part, name, array, False, label=True)
    if pa.types.is_timestamp(kind):
        return _instant(_floor(array.cast(pa.int64()), UNITS[kind.unit]))  # a label, which no year bounds
    if not (_is_text(kind) or pa.types.is_null(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_date(kind) or
            pa.types.is_decimal(kind)):
        raise InputError(f"{part.path}: column {name} is {kind}, which is no single text; leave it out (drop, --drop)")
    out = array.cast(pa.large_string())
    if required:
        part.refuse(pc.equal(out, ""), f"{name} is empty; every row needs one")
    return out


def key_text(part: Part, name: str, array: Any) -> Any:
    """Row keys: whole numbers from 0 to 2^64 - 1."""
    pa = pyarrow()
    array = plain(array)
    part.refuse(array.is_null(), f"{name} is null; every row needs a key")
    if not (pa.types.is_integer(array.type) or _is_text(array.type)):
        raise InputError(f"{part.path}: column {name} is {array.type}; row keys are whole numbers")
    if pa.types.is_signed_integer(array.type):
        import pyarrow.compute as pc
        part.refuse(pc.less(array, 0), f"{name} is below 0")
    return array.cast(pa.large_string())
