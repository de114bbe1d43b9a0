"""Arrow's vectors as NumPy arrays, in place: a column of fixed-size lists is a matrix already."""
from __future__ import annotations

from typing import Any

import numpy as np

from ._errors import InputError

_WIDTHS = {"halffloat": np.float16, "float": np.float32}


def pyarrow() -> Any:
    """The module. Raises ImportError that says how to get it."""
    try:
        import pyarrow as module
    except ImportError:
        raise ImportError("Arrow and Parquet need pyarrow: pip install pyarrow") from None
    return module


def is_arrow(value: Any) -> bool:
    """An array or column of pyarrow."""
    return type(value).__module__.partition(".")[0] == "pyarrow" and hasattr(value, "type")


def matrix(column: Any, name: str = "column") -> np.ndarray:
    """A column of vectors as a read-only NumPy array [rows, dim] at the same address.

    column: a pyarrow FixedSizeListArray (or FixedShapeTensorArray of one dimension) of float32 or float16, also a slice of one; a
        ChunkedArray of one chunk; or what exports such an array (`__arrow_c_array__`, `__arrow_c_stream__`), as a polars Series does.
    name: what errors call it.
    The array keeps the Arrow buffer alive. Raises InputError, which says the call that makes a copy, where the numbers do not lie as a matrix:
    several chunks, lists of any length, nulls, float64; and for anything else. bfloat16 has no type in Arrow."""
    pa = pyarrow()
    if not is_arrow(column):
        if hasattr(column, "__arrow_c_array__"):
            column = pa.array(column)
        elif hasattr(column, "__arrow_c_stream__"):
            column = pa.chunked_array(column)
        else:
            raise InputError(f"{name}: is a {type(column).__name__}; a pyarrow array or column of fixed_size_list is needed")
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks != 1:
            raise InputError(f"{name}: lies in {column.num_chunks} chunks, which are no matrix; {name}.combine_chunks() makes a copy that is")
        column = column.chunk(0)
    if isinstance(column, pa.ExtensionArray):
        if len(getattr(column.type, "shape", [0])) != 1:
            raise InputError(f"{name}: is {column.type}; vectors of one dimension are needed")
        column = column.storage
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        raise InputError(f"{name}: is {kind}, whose rows may differ in length; {name}.cast(pyarrow.list_({kind.value_type}, DIM)) makes a copy "
                         "with DIM numbers in each row")
    if not pa.types.is_fixed_size_list(kind):
        raise InputError(f"{name}: is {kind}; fixed_size_list of float or halffloat is needed")
    dtype = _WIDTHS.get(str(kind.value_type))
    if dtype is None:
        raise InputError(f"{name}: its numbers are {kind.value_type}; float32 or float16 are read in place, and "
                         f"{name}.cast(pyarrow.list_(pyarrow.float32(), {kind.list_size})) makes a copy")
    if column.null_count:
        raise InputError(f"{name}: row {first(pa, column.is_null())} is null; {name}.drop_null() makes a copy without such rows, and "
                         "ids must be left out with them")
    rows, dim = len(column), kind.list_size
    values = column.values  # of the whole array, wherever a slice begins
    begin = column.offset * dim
    within = values.slice(begin, rows * dim)
    if within.null_count:
        place = first(pa, within.is_null())
        raise InputError(f"{name}: row {place // dim} has a null in place {place % dim}; vectors are whole")
    if rows == 0 or dim == 0:
        return np.zeros((rows, dim), dtype)
    size = np.dtype(dtype).itemsize
    offset = within.offset * size
    buffer = within.buffers()[1]
    if (buffer.address + offset) % size:
        raise InputError(f"{name}: begins at an address that is no multiple of {size} bytes; pyarrow.concat_arrays([{name}]) makes a copy that does")
    found = np.frombuffer(buffer, dtype, rows * dim, offset).reshape(rows, dim)
    found.flags.writeable = False  # Arrow's data never change
    return found


def first(pa: Any, mask: Any) -> int:
    """Place of the first true of a boolean array; -1: none."""
    import pyarrow.compute as pc
    return int(pc.index(mask, pa.scalar(True)).as_py())
