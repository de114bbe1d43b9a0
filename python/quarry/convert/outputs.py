"""Files and folders that are written aside and renamed: under their name they are whole, or not there."""
from __future__ import annotations

import contextlib
import os
import shutil
from typing import Any, Iterator

from .._convert import path_text
from .._errors import ConfigError, IoError


def target(path: Any, overwrite: bool, endings: tuple[str, ...] = ()) -> str:
    """The path as text. Raises ConfigError where something is there already, or for an extension that is none of `endings`."""
    text = path_text(path, "out")
    if endings and not text.endswith(endings):
        raise ConfigError(f"out: {text} does not end in {' or '.join(endings)}")
    if os.path.lexists(text) and not overwrite:
        raise ConfigError(f"out: {text} is there already; give another name, or overwrite (--overwrite)")
    folder = os.path.dirname(os.path.abspath(text))
    if not os.path.isdir(folder):
        raise IoError(f"out: {text}: there is no folder {folder}; make it first")
    if os.path.isdir(text) and endings:
        raise ConfigError(f"out: {text} is a folder; give the name of a file")
    return text


def _aside(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(folder, f".{name}.partial-{os.getpid()}")


def _remove(path: str) -> None:
    """A folder with what it holds, or a link to a folder, which stays; nothing where there is nothing."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _sync(path: str) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def whole_files(*paths: str) -> Iterator[list[Any]]:
    """Open binary files, one for each path, renamed to these in their order at the end of the block, and removed if it raises. The last path
    is the one that makes the others mean something: what stood there is gone before the others are replaced. Modes are 0600."""
    asides = [_aside(path) for path in paths]
    files: list[Any] = []
    try:
        try:
            for one in asides:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(one)  # of a killed process of this number
                files.append(os.fdopen(os.open(one, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w+b"))
            yield files
            for one in files:
                one.flush()
                os.fsync(one.fileno())
        finally:
            for one in files:
                one.close()
        if len(paths) > 1 and os.path.lexists(paths[-1]):
            os.unlink(paths[-1])
        for aside, path in zip(asides, paths):
            os.rename(aside, path)
        for folder in {os.path.dirname(os.path.abspath(path)) for path in paths}:
            _sync(folder)
    except IoError:  # of what is read
        raise
    except OSError as error:
        raise IoError(f"{error.filename or paths[-1]}: {error.strerror or error}") from None
    finally:
        for aside in asides:
            with contextlib.suppress(OSError):
                os.unlink(aside)


@contextlib.contextmanager
def whole_folder(path: str) -> Iterator[str]:
    """A new folder of mode 0700, renamed to `path` at the end of the block, and removed if it raises. A folder that was there stays until
    then, and is removed behind."""
    aside = _aside(path)
    old = aside.replace(".partial-", ".old-")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        os.mkdir(aside, 0o700)
        yield aside
        for folder, _, names in os.walk(aside):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o600)
                _sync(os.path.join(folder, name))
            _sync(folder)
        if os.path.lexists(path):
            _remove(old)  # of a killed process of this number
            os.rename(path, old)
        os.rename(aside, path)
        _sync(os.path.dirname(os.path.abspath(path)))
        _remove(old)
    except IoError:
        raise
    except OSError as error:
        raise IoError(f"{error.filename or path}: {error.strerror or error}") from None
    finally:
        if os.path.lexists(old) and not os.path.lexists(path):
            with contextlib.suppress(OSError):
                os.rename(old, path)  # the new one could not take its place
        shutil.rmtree(aside, ignore_errors=True)
