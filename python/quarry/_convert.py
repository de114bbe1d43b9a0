"""What people pass, made into what the library takes: tables in place, columns as exact types, names of what is wrong."""
from __future__ import annotations

import os
from typing import Any, Mapping, Sequence

import numpy as np

from ._errors import ConfigError, InputError
from .arrow import is_arrow, matrix

_CPU = 1  # DLPack's kDLCPU
_DEVICES = {2: "CUDA", 3: "pinned host memory of CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 11: "pinned host memory of ROCm",
            13: "managed memory of CUDA", 14: "oneAPI", 15: "WebGPU", 16: "Hexagon", 17: "MAIA"}
_PINNED = 3, 11


def path_text(path: Any, name: str) -> str:
    """A path as text. Raises InputError for one whose bytes are not UTF-8."""
    text = os.fsdecode(path)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{name}: the path {os.fsencode(path)!r} is not UTF-8; give the file another name") from None
    return text


def flaw_of(text: str) -> str:
    """What makes a text none that files could hold: "a NUL byte", "half a surrogate pair"; "": nothing."""
    if "\0" in text:
        return "a NUL byte"
    if text.isascii():
        return ""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return ""


def is_path(value: Any) -> bool:
    return isinstance(value, (str, bytes, os.PathLike))


def in_place(array: Any, name: str) -> Any:
    """An array that the library can read where it lies. Raises InputError saying what to do with one that it cannot."""
    if is_arrow(array):
        array = matrix(array, name)
    device = getattr(array, "__dlpack_device__", None)
    if device is not None:
        try:
            kind = int(device()[0])
        except (ValueError, BufferError, RuntimeError):  # torch's of a device that DLPack does not know
            kind = -1
        if kind != _CPU:
            raise InputError(_elsewhere(array, kind, name))
    if getattr(array, "requires_grad", False):
        array = array.detach()  # the same memory
    if isinstance(array, np.ndarray) and not array.dtype.isnative:
        raise InputError(f"{name}: its numbers are of the other byte order ({array.dtype}); "
                         f"{name}.astype({array.dtype.newbyteorder('=').name!r}) makes a copy of this machine's")
    if isinstance(array, np.ndarray) and array.dtype == object:
        raise InputError(f"{name}: is an array of Python objects; make it float32 with {name}.astype('float32')")
    if isinstance(array, np.ndarray) and (array.dtype.kind in "USMmc" or array.dtype.itemsize > 8 or
                                          array.dtype.kind == "V" and array.dtype.itemsize != 2):  # 2: bfloat16
        raise InputError(f"{name}: is {array.dtype}; numbers are needed: float32, float16 or bfloat16")
    if device is None and not _has_buffer(array):
        raise InputError(f"{name}: is a {type(array).__name__}; pass a NumPy array, a torch tensor on the CPU, or the path of a "
                         "file (.npy, .fbin, .safetensors)")
    return array


def _elsewhere(array: Any, kind: int, name: str) -> str:
    """What is said of an array that is not in ordinary host memory: where it lies, and the call of its own library that makes a copy there."""
    library = type(array).__module__.partition(".")[0]
    what = "column" if ":" in name else name
    place = getattr(array, "device", None)
    words = str(place) if place is not None and kind not in _PINNED and library == "torch" else _DEVICES.get(kind, "")
    lies = f"in {words}" if kind in _PINNED else f"on device {words}" if words else "on a device other than the CPU"
    if library == "cupy":
        copy = f"cupy.asnumpy({what})"
    elif library in ("jax", "jaxlib"):
        copy = f"jax.device_get({what})"
    elif library == "torch":
        copy = f"{what}.clone()" if kind in _PINNED else f"{what}.cpu()"
    elif hasattr(array, "cpu"):
        copy = f"{what}.cpu()"
    else:
        return (f"{name}: is a {type(array).__module__}.{type(array).__qualname__} and lies {lies}; this build mines on the CPU: make a NumPy array of it "
                "with the library that it comes from")
    return f"{name}: lies {lies}; this build mines on the CPU: {copy} makes a copy there"


def _has_buffer(value: Any) -> bool:
    try:
        memoryview(value).release()
    except TypeError:
        return False
    return True


def host_array(value: Any, name: str) -> np.ndarray:
    """Numbers as a NumPy array, in place where they are an array already."""
    if not isinstance(value, np.ndarray) and hasattr(value, "__dlpack_device__") and not is_arrow(value):  # Arrow columns are asarray's
        array = in_place(value, name)
        try:
            return np.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError) as error:  # a torch.bfloat16, for one
            raise InputError(f"{name}: is {getattr(value, 'dtype', type(value).__name__)}, which NumPy does not take ({error}); make it one "
                             "that it does, such as float32 or int64") from None
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"{name}: is no array of numbers ({error})") from None


def integers(value: Any, name: str, low: int, high: int, dtype: Any, ndims: Sequence[int] = (1,)) -> np.ndarray:
    """Whole numbers of low ... high as contiguous `dtype`; in place where they are that already."""
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, int) and not isinstance(one, bool) for one in value):
        # NumPy makes floats of a list with numbers on both sides of 2^63.
        wrong = next((place for place, one in enumerate(value) if not low <= one <= high), None)
        if wrong is not None:
            raise InputError(f"{name}: entry {wrong} is {value[wrong]}; {low} to {high} are allowed")
        value = np.array(value, dtype)
    array = host_array(value, name)
    if array.size == 0 and array.dtype == np.float64:  # what numpy makes of []
        array = array.astype(np.int64)
    if array.dtype.kind == "M":
        raise InputError(f"{name}: is {array.dtype}; seconds since 1970 are needed: {name}.astype('datetime64[s]').astype('int64')")
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name}: is {array.dtype}; whole numbers are needed, such as int64")
    if array.dtype.kind == "f":
        raise InputError(f"{name}: is {array.dtype}; whole numbers are needed, such as int64: {name}.astype('int64')")
    if array.ndim not in ndims:
        raise InputError(f"{name}: has shape {array.shape}; {' or '.join(map(str, ndims))} dimension(s) are needed")
    if array.size > 0:
        least, most = int(array.min()), int(array.max())
        if least < low or most > high:
            flat = array.reshape(-1)
            place = int(np.argmax((flat < low) | (flat > high)))
            raise InputError(f"{name}: entry {place} is {int(flat[place])}; {low} to {high} are allowed")
    return np.ascontiguousarray(array, dtype=dtype)


def numbers(value: Any, name: str) -> np.ndarray:
    """float32 [n], contiguous, NaN and infinite ones among them. Raises InputError, also for a number that float32 cannot hold."""
    array = host_array(value, name)
    if array.dtype.kind not in "iuf" or array.ndim != 1:
        raise InputError(f"{name}: is {array.dtype} of shape {array.shape}; numbers of one dimension are needed")
    with np.errstate(over="ignore"):
        out = np.ascontiguousarray(array, np.float32)
    beyond = np.isinf(out) & np.isfinite(array)
    if beyond.any():
        place = int(np.argmax(beyond))
        raise InputError(f"{name}: entry {place} is {array[place]}; -3.4e38 to 3.4e38 are allowed")
    return out


def put_table(request: Any, name: str, table: Any) -> None:
    """Items or users, a path or an array, into a request. Raises InputError."""
    if is_path(table):
        getattr(request, f"set_{name}_file")(path_text(table, name))
    else:
        getattr(request, f"set_{name}")(in_place(table, name))


def put_features(request: Any, features: Mapping[str, Any] | None) -> None:
    """Likewise tables of features by their names."""
    for name, table in (features or {}).items():
        if is_path(table):
            request.set_feature_file(name, path_text(table, f"features[{name!r}]"))
        else:
            request.set_feature(name, in_place(table, f"features[{name!r}]"))


MOST_INDEX = 2**32 - 2
NO_TIME = 2**63 - 1


def positives(value: Any, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """[rows + 1] offsets and the positives that they cut. `value`: [rows], [rows, p] with -1 for none, a list of lists, or a pair
    of arrays (offsets, values)."""
    name = "positives"
    if isinstance(value, tuple) and len(value) == 2 and all(hasattr(part, "dtype") for part in value):
        offsets = integers(value[0], "positives[0] (offsets)", 0, 2**63 - 1, np.uint64)
        values = integers(value[1], "positives[1]", 0, MOST_INDEX, np.uint32)
        if len(offsets) != rows + 1:
            raise InputError(f"positives[0]: has {len(offsets)} offsets; {rows + 1} are needed, one more than rows")
        return offsets, values
    if isinstance(value, (list, tuple)) and any(not np.isscalar(row) and not isinstance(row, int) for row in value):
        lists = [integers(row, f"positives[{r}]", 0, MOST_INDEX, np.uint32) for r, row in enumerate(value)]
        _same_rows(len(lists), rows, name)
        offsets = np.zeros(rows + 1, np.uint64)
        np.cumsum([len(row) for row in lists], out=offsets[1:])
        return offsets, np.concatenate(lists) if lists else np.zeros(0, np.uint32)
    array = integers(value, name, -1, MOST_INDEX, np.int64, (1, 2))
    _same_rows(len(array), rows, name)
    array = array.reshape(rows, -1) if rows else array.reshape(0, 1)
    there = array >= 0
    offsets = np.zeros(rows + 1, np.uint64)
    np.cumsum(there.sum(axis=1), out=offsets[1:])
    return offsets, np.ascontiguousarray(array[there], np.uint32)


def _same_rows(got: int, rows: int, name: str) -> None:
    if got != rows:
        raise InputError(f"{name}: is of {got} rows; the batch has {rows}")


def columns_of(value: dict[str, str] | None, defaults: dict[str, str], name: str) -> dict[str, str]:
    """Column names over their defaults. Raises ConfigError for a key that is none."""
    value = value or {}
    for key in value:
        if key not in defaults:
            raise ConfigError(f"{name}: there is no {key!r}; keys are {', '.join(defaults)}")
    return {**defaults, **value}


def ids_of(value: Any, name: str) -> tuple[str, str, list[str]]:
    """Path, column and ids, of which what is not given is empty. `value`: FILE, FILE:COLUMN, or the ids in order."""
    if value is None:
        return "", "", []
    if is_path(value):
        text = path_text(value, name)
        path, colon, column = text.rpartition(":")
        if colon and path and "/" not in column and not os.path.exists(text):
            return path, column, []
        return text, "", []
    ids = value.tolist() if hasattr(value, "tolist") else list(value)
    for place, one in enumerate(ids):
        if not isinstance(one, (str, int)) or isinstance(one, bool):
            raise InputError(f"{name}: entry {place} is {one!r}; ids are texts or whole numbers")
        flaw = flaw_of(one) if isinstance(one, str) else ""
        if flaw:  # who a user is stays out of messages, which end up in logs
            shown = "" if name.startswith("user") else f", {one!r:.80},"
            raise InputError(f"{name}: entry {place}{shown} holds {flaw}; ids are texts that a file could hold, so mend it where it is made")
    if not ids:
        raise InputError(f"{name}: has no ids; leave it out where ids are row numbers")
    return "", "", [str(one) for one in ids]
