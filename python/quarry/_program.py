"""The program that comes with the package, and how commands of the package end: as it does."""
from __future__ import annotations

import os
import subprocess
import sys

from ._errors import Cancelled, ConfigError, DeviceError, Error, InputError, IoError, LockedError, OutOfMemory

_ERRORS = {2: ConfigError, 3: InputError, 4: LockedError, 5: IoError, 6: OutOfMemory, 7: DeviceError, 75: Cancelled}
# The first that an exception is one of, so special ones stand ahead of what they are made of.
_CODES = ((ConfigError, 2), (InputError, 3), (LockedError, 4), (IoError, 5), (MemoryError, 6), (DeviceError, 7), (Cancelled, 75), (KeyboardInterrupt, 75), (ImportError, 2),
          (OSError, 5))


def program() -> str:
    """The path of the program `quarry` in this package, for subprocesses. Raises IoError where the package lacks it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "quarry")
    if not os.access(path, os.X_OK):
        raise IoError(f"{path}: there is no program here; install the package again")
    return path


def run_program(path: str | None, *arguments: str, ok: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """Exit code, one of `ok`, and standard output. path: None for program(). Raises the class of another code with the program's words."""
    done = subprocess.run([path or program(), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode not in ok:
        words = done.stderr.strip() or f"the program ended with {done.returncode}"
        raise _ERRORS.get(done.returncode, Error)(words)
    return done.returncode, done.stdout


def exit_code_of(error: BaseException) -> int:
    """With which the program would end; 1 for what it has no code for."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)


def print_result(who: str, told: str) -> int:
    """Prints what a command was for; exit code. who: the command, for the message where that fails."""
    try:
        print(told, flush=True)
    except OSError as error:  # a pipe whose reader left, a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries again when it ends
        print(f"{who}: standard output: {error.strerror}", file=sys.stderr)
        return 5
    return 0
