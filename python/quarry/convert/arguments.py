"""python -m quarry mine --items x.parquet ...: Parquet, Arrow and Feather among the program's arguments, converted on the way."""
from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from typing import Any, Callable, Sequence

from .._convert import ids_of
from .._errors import ConfigError, InputError, IoError
from ..arrow import pyarrow
from .sources import ENDINGS, Source, files_of
from .tables import ids, under_own_names
from .vectors import embeddings

_FORMAT = "1"  # another one where the same file would be converted otherwise
_VECTORS = ("--items", "--users")
_IDS = ("--item-ids", "--user-ids")
_TABLES = {"--events": ("events", "--event-columns"), "--more-events": ("events", "--event-columns"), "--catalogue": ("catalogue", "--catalogue-columns"),
           "--rows": ("rows", "--row-columns"), "--pairs": ("pairs", "--pair-columns")}
_OWN = ("--converted", "--time-unit")  # of this module; the program does not know them


def converted(arguments: Sequence[str]) -> list[str]:
    """The program's arguments with the paths of converted files in the place of .parquet, .arrow and .feather files, and of folders of these, given
    by --items, --users, --item-ids, --user-ids, --events, --more-events, --catalogue, --rows and --pairs. Whoever gives none gets what he gave, but for
    --converted, which then has nothing to do.

    --converted FOLDER: where the converted files are kept, made if it is not there; by default quarry/converted in the user's cache. They are named by
    the contents of their sources and how these were read: what is there already is taken as it is, and what a set was mined from stays as long as
    the folder does. --time-unit s, ms, us or ns: of times that are numbers; by default s. Raises quarry.Error,
    ImportError without pyarrow."""
    flags = _Flags(arguments)
    found = {place: convert for place, (flag, value) in flags.values.items() if (convert := _converter(flag, value)) is not None}
    if not found:
        return flags.without(("--converted",))
    folder = flags.last("--converted") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "quarry", "converted")
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise IoError(f"--converted: {folder}: {error.strerror}; name another folder") from None
    for place, convert in found.items():
        flags.replace(place, convert(flags, folder))
    return flags.without(_OWN)


class _Flags:
    """Arguments as flags with a value each, `--flag value` or `--flag=value`, by the place of the value."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.arguments = list(arguments)
        self.values: dict[int, tuple[str, str]] = {}
        for place, one in enumerate(self.arguments):
            flag, equals, value = one.partition("=")
            if one.startswith("--") and equals:
                self.values[place] = flag, value
            elif one.startswith("--") and place + 1 < len(self.arguments):
                self.values[place + 1] = one, self.arguments[place + 1]

    def last(self, flag: str) -> str:
        return next((value for one, value in reversed(self.values.values()) if one == flag), "")

    def replace(self, place: int, value: str) -> None:
        flag = self.values[place][0]
        self.arguments[place] = f"{flag}={value}" if self.arguments[place].startswith(flag + "=") else value

    def without(self, flags: Sequence[str]) -> list[str]:
        gone = {place for place, (flag, _) in self.values.items() if flag in flags}
        gone |= {place - 1 for place in gone if self.arguments[place - 1] in flags}
        return [one for place, one in enumerate(self.arguments) if place not in gone]


def _is_source(path: str) -> bool:
    """A file that is converted, or a folder of such files; a set is a folder too, and is none."""
    if path.lower().endswith(ENDINGS):
        return True
    try:
        return os.path.isdir(path) and any(name.lower().endswith(ENDINGS) for name in os.listdir(path))
    except OSError:  # the program says what is wrong with it
        return False


def _converter(flag: str, value: str) -> Callable[[_Flags, str], str] | None:
    """What makes the argument that the program reads; None: it reads this one."""
    if flag in _VECTORS and _is_source(value):
        return lambda flags, folder: _vectors(value, flag, flags, folder)
    if flag in _IDS:
        path, column, _ = ids_of(value, flag)
        if _is_source(path):
            return lambda flags, folder: _ids(path, column, flag, folder)
    if flag in _TABLES:
        name, equals, path = value.partition("=") if flag == "--pairs" else ("", "", value)
        if _is_source(path):
            kind, columns = _TABLES[flag]
            return lambda flags, folder: name + equals + _table(kind, path, columns, flags, folder)
    return None


def _vectors(path: str, flag: str, flags: _Flags, folder: str) -> str:
    pa = pyarrow()
    schema = Source(files_of(path)[0]).schema
    lists = [field.name for field in schema if isinstance(field.type, pa.FixedShapeTensorType) or
             (pa.types.is_fixed_size_list(field.type) or pa.types.is_list(field.type) or pa.types.is_large_list(field.type)) and
             pa.types.is_floating(field.type.value_type)]
    column = "embedding" if "embedding" in lists or len(lists) != 1 else lists[0]
    if column not in lists:
        raise ConfigError(f"{flag}: {path} has {len(lists) or 'no'} columns of vectors{' (' + ', '.join(lists) + ')' if lists else ''}; say which is meant: "
                          f"quarry convert embeddings {path} OUT.npy --column NAME")
    if pa.types.is_float64(schema.field(column).type.value_type):
        raise ConfigError(f"{flag}: {path}: the numbers of {column} are float64; say that they may be rounded to fp32: "
                          f"quarry convert embeddings {path} OUT.npy --column {column} --dtype float32")
    bad_rows = "keep" if flags.last("--bad-rows") == "drop" else "reject"
    return _kept(path, ".npy", f"embeddings {column} {bad_rows}", folder, lambda out: embeddings(path, out, column=column, bad_rows=bad_rows, overwrite=True))


def _ids(path: str, column: str, flag: str, folder: str) -> str:
    if not column:
        names = Source(files_of(path)[0]).schema.names
        column = next((name for name in ("id", flag[2:6]) if name in names), "")
        if not column:
            raise ConfigError(f"{flag}: {path} has the columns {', '.join(names)}; say which has the ids: {flag} {path}:COLUMN")
    return _kept(path, ".csv", f"ids {column}", folder, lambda out: ids(path, out, column=column, overwrite=True)) + ":" + column


def _table(kind: str, path: str, columns_flag: str, flags: _Flags, folder: str) -> str:
    columns = {}
    for part in filter(None, flags.last(columns_flag).split(",")):
        key, equals, name = part.partition("=")
        if not equals or not name:
            raise ConfigError(f"{columns_flag}: '{part}' is not key=column")
        columns["score" if kind == "pairs" and key == "value" else key] = name
    unit = flags.last("--time-unit") or "s"
    how = f"{kind} {unit if kind != 'pairs' else ''} {sorted(columns.items())}"
    return _kept(path, ".csv", how, folder, lambda out: under_own_names(kind, path, out, columns, unit))


def _kept(path: str, ending: str, how: str, folder: str, convert: Callable[[str], Any]) -> str:
    """The path of the converted file, made if it is not there. It appears whole and is never replaced: others may be mining from it."""
    hasher = hashlib.blake2b(f"{_FORMAT}\0{how}\0".encode(), digest_size=16)
    states = []
    for name in files_of(path):
        states.append((name, _state(name)))
        hasher.update(b"\0" + os.path.splitext(name)[1].lower().encode() + b"\0")  # says the format
        try:
            with open(name, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                hasher.update(size.to_bytes(8, "little"))
                while block := file.read(4 << 20):
                    hasher.update(block)
        except OSError as error:
            raise IoError(f"{name}: {error.strerror}") from None
    stem = os.path.splitext(os.path.basename(os.path.normpath(path)))[0]
    out = os.path.join(folder, f"{stem}-{hasher.hexdigest()}{ending}")
    if not os.path.isfile(out):
        _make(path, out, states, convert)
        print(f"quarry: {path} converted to {out}", file=sys.stderr)
    return out


def _make(path: str, out: str, states: list[tuple[str, tuple[int, ...]]], convert: Callable[[str], Any]) -> None:
    """states: of the files when they were hashed, for `out` is named by what they held then."""
    folder, name = os.path.split(out)
    part = os.path.join(folder, f".{os.getpid()}-{name}")
    try:
        convert(part)
        changed = next((file for file, state in states if _state(file) != state), None)
        if changed is not None:
            raise InputError(f"{changed}: changed while {path} was converted; run it again when it is whole")
        try:
            os.link(part, out)
        except FileExistsError:  # another run was faster, with the same contents
            pass
        except OSError:  # a file system without links
            if not os.path.isfile(out):
                os.replace(part, out)
    finally:
        with contextlib.suppress(OSError):
            os.remove(part)


def _state(name: str) -> tuple[int, ...]:
    try:
        found = os.stat(name)
    except OSError as error:
        raise IoError(f"{name}: {error.strerror}") from None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
