"""Embeddings: columns of lists into .npy files, and back."""
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from .._convert import path_text
from .._errors import ConfigError, InputError, IoError
from ..arrow import pyarrow
from .id_files import IdFile
from .outputs import target, whole_files
from .sources import Part, Source, files_of
from .texts import id_text, readable

_MOST_ROWS, _MOST_DIM = 4_294_967_294, 65_536
_GROUP_BYTES = 64 << 20


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What was written."""

    rows: int
    dim: int
    dtype: str  #: "float32" or "float16"


def embeddings(sources: Any, out: Any, *, column: str = "embedding", id_column: str | None = None, ids_out: Any = None,
               dtype: str | None = None, bad_rows: str = "reject", overwrite: bool = False) -> Vectors:
    """A column of vectors into a .npy file, and the ids of its rows into a .csv or .tsv with the column `id`, for --item-ids or --user-ids.

    sources: a path, paths, or a folder of .parquet, .arrow, .ipc or .feather files, read in the order of their names.
    column: fixed_size_list, list or large_list of float32 or float16 (or fixed_shape_tensor of one dimension).
    id_column: texts or whole numbers, and ids_out, the file for them: both or neither.
    dtype: None keeps float32 or float16; "float32" and "float16" convert, float64 too.
    bad_rows: "reject" NaN and infinity, or "keep" them for `quarry mine --bad-rows drop`.
    Every row has as many numbers as the first, and none is null. Memory is that of a row group, or of a record batch of Arrow; repeated ids are
    found by the program. The .npy file appears last.
    Raises InputError naming file and row (counted from 0 in each file), ConfigError, IoError, ImportError without pyarrow."""
    path = target(out, overwrite, (".npy",))
    if (id_column is None) != (ids_out is None):
        raise ConfigError("id_column and ids_out belong together: the column of the ids, and the .csv or .tsv file for them")
    if dtype not in (None, "float32", "float16"):
        raise ConfigError(f"dtype: {dtype!r} is not one of float32, float16; None keeps what there is")
    if bad_rows not in ("reject", "keep"):
        raise ConfigError(f"bad_rows: {bad_rows!r} is not one of reject, keep")
    files = files_of(sources)
    pa = pyarrow()
    from pyarrow import csv
    paths = [path] if ids_out is None else [target(ids_out, overwrite, (".csv", ".tsv")), path]
    wanted = [column] if id_column is None else [id_column, column]
    if id_column == column:
        raise ConfigError(f"id_column and column are both {column!r}")
    rows, dim, kind = 0, 0, None
    with whole_files(*paths) as opened:
        file = opened[-1]
        file.write(bytes(128))  # the header, which needs the number of rows
        writer = None
        if id_column is not None:
            delimiter = "," if paths[0].endswith(".csv") else "\t"
            writer = csv.CSVWriter(opened[0], pa.schema([("id", pa.large_string())]), write_options=csv.WriteOptions(delimiter=delimiter))
        for name in files:
            for part in Source(name).parts(wanted):
                block = _block(part, column, dim, kind, dtype, bad_rows == "keep")
                dim, kind = block.shape[1], block.dtype
                rows += len(block)
                if rows > _MOST_ROWS:
                    raise InputError(f"{part.path}: there are more than {_MOST_ROWS} rows, which is the most")
                file.write(block.reshape(-1).view(np.uint8).data if block.size else b"")
                if writer is not None and id_column is not None:
                    writer.write_batch(readable(part, ["id"], [id_text(part, id_column, part.batch.column(id_column))]))
        if rows == 0 or kind is None:
            raise InputError(f"{files[0]}: {'and the other files have' if len(files) > 1 else 'has'} no rows")
        if writer is not None:
            writer.close()
        text = f"{{'descr': '{kind.str}', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
        file.seek(0)
        file.write(b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + text.encode().ljust(117) + b"\n")
    return Vectors(rows, dim, kind.name)


def _block(part: Part, column: str, dim: int, kind: Any, dtype: str | None, keep_bad: bool) -> np.ndarray:
    """[rows, dim], contiguous. `dim`, `kind`: of the rows before; 0 and None: there are none."""
    pa = pyarrow()
    import pyarrow.compute as pc
    array = part.batch.column(column)
    if isinstance(array, pa.ExtensionArray):
        if len(getattr(array.type, "shape", [0])) != 1:
            raise InputError(f"{part.path}: column {column} is {array.type}; tensors of one dimension are needed")
        array = array.storage
    types, given = pa.types, array.type
    if not (types.is_fixed_size_list(given) or types.is_list(given) or types.is_large_list(given)):
        raise InputError(f"{part.path}: column {column} is {given}; lists of float32 or float16 are needed")
    if str(given.value_type) not in ("float", "halffloat", "double"):
        raise InputError(f"{part.path}: column {column} is {given}; its numbers must be float32 or float16")
    if types.is_float64(given.value_type) and dtype is None:
        raise InputError(f"{part.path}: column {column} is {given}; say that its numbers may be rounded to fp32: dtype float32 (--dtype float32)")
    part.refuse(array.is_null(), f"{column} is null; leave such rows out")
    if types.is_fixed_size_list(given):
        found = given.list_size
        if dim and found != dim:
            raise InputError(f"{part.where(0)}: {column} has {found} numbers; {dim} are needed, as in the rows before")
    else:
        lengths = pc.list_value_length(array)
        found = dim or lengths[0].as_py()
        wrong = pc.index(pc.not_equal(lengths, pa.scalar(found, lengths.type)), pa.scalar(True)).as_py()
        if wrong >= 0:
            raise InputError(f"{part.where(wrong)}: {column} has {lengths[wrong].as_py()} numbers; {found} are needed, as in the rows before")
    if not 1 <= found <= _MOST_DIM:
        raise InputError(f"{part.where(0)}: {column} has {found} numbers; 1 to {_MOST_DIM} are allowed")
    values = array.flatten()
    if values.null_count:
        place = pc.index(values.is_null(), pa.scalar(True)).as_py()
        raise InputError(f"{part.where(place // found)}: {column} has a null in place {place % found}; vectors are whole")
    numbers = values.to_numpy(zero_copy_only=True).reshape(-1, found)
    if not keep_bad:
        _refuse_bad(part, column, numbers, numbers, "; leave the row out, or keep it for mine --bad-rows drop: bad_rows keep (--bad-rows keep)")
    if dtype is not None and numbers.dtype != dtype:
        with np.errstate(over="ignore"):
            narrow = numbers.astype(dtype)
        _refuse_bad(part, column, np.where(np.isfinite(numbers), narrow, 0), numbers, f", which {dtype} does not hold")
        numbers = narrow
    if kind is not None and numbers.dtype != kind:
        raise InputError(f"{part.path}: column {column} is {numbers.dtype}, and of the files before {kind}; say which is wanted: dtype "
                         f"{kind} (--dtype {kind})")
    return np.ascontiguousarray(numbers)


def _refuse_bad(part: Part, column: str, numbers: np.ndarray, shown: np.ndarray, what: str) -> None:
    good = np.isfinite(numbers)
    if not good.all():
        row, place = (int(one) for one in np.argwhere(~good)[0])
        raise InputError(f"{part.where(row)}: {column} has {shown[row, place]} in place {place}{what}")


def embeddings_to_parquet(vectors: Any, out: Any, *, ids: Any = None, column: str = "embedding", id_column: str = "id",
                          overwrite: bool = False) -> Vectors:
    """A .npy file (float32 or float16, [rows, dim]) into Parquet: `column`, a fixed_size_list that is nowhere null, neither dictionary-encoded nor
    compressed, and `id_column`.

    ids: FILE or FILE:COLUMN, a .csv or .tsv with an id for each row; None: no such column is written.
    Row groups hold 64 MiB of numbers at most, and memory as much. Raises InputError, ConfigError, IoError, ImportError without pyarrow."""
    pa = pyarrow()
    import pyarrow.parquet as pq
    source = path_text(vectors, "vectors")
    path = target(out, overwrite, (".parquet",))
    try:
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise IoError(f"{source}: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:  # EOFError: of an empty file
        raise InputError(f"{source}: is no .npy file of numbers: {error}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{source}: is an archive of arrays (.npz); save the one that is meant as .npy: np.save(\"x.npy\", np.load(...)[NAME])")
    if array.ndim != 2 or array.dtype.str not in ("<f4", "<f2") or not array.flags.c_contiguous:
        raise InputError(f"{source}: is {array.dtype.str} of shape {array.shape}; float32 or float16 [rows, dim] in C order is needed")
    if array.size == 0:
        raise InputError(f"{source}: has shape {array.shape}, no numbers")
    rows, dim = array.shape
    if ids is not None and column == id_column:
        raise ConfigError(f"column and id_column are both {column!r}")
    value = pa.field("item", pa.float32() if array.dtype == np.float32 else pa.float16(), nullable=False)
    fields = [pa.field(column, pa.list_(value, dim), nullable=False)]
    texts = None
    if ids is not None:
        fields.insert(0, pa.field(id_column, pa.string(), nullable=False))
        texts = IdFile(ids)
    schema = pa.schema(fields)
    step = max(1, min(1 << 20, _GROUP_BYTES // (dim * array.itemsize)))
    with whole_files(path) as (file,):
        with pq.ParquetWriter(file, schema, use_dictionary=False, compression={column: "none", **({id_column: "zstd"} if texts else {})},
                              write_statistics=False) as writer:
            for begin in range(0, rows, step):
                block = np.ascontiguousarray(array[begin:begin + step])
                lists = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), type=fields[-1].type)
                columns = [lists] if texts is None else [texts.take(len(block)), lists]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=step)
        if texts is not None:
            texts.end(rows)
    return Vectors(rows, dim, array.dtype.name)
