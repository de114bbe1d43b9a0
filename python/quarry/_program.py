"""The program that comes with the package."""
import os

from ._errors import IoError


def program() -> str:
    """The path of the program `quarry` in this package, for subprocesses. Raises IoError where the package lacks it."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "quarry")
    if not os.access(path, os.X_OK):
        raise IoError(f"{path}: there is no program here; install the package again")
    return path
