"""python -m quarry ...: the program, with its exit codes."""
import os
import sys

from ._program import program


def main() -> None:
    """Becomes the program; does not return. `convert` is of the package, not of the program."""
    if sys.argv[1:2] == ["convert"]:
        from .convert.command import main as convert
        sys.exit(convert(sys.argv[2:]))
    path = program()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
