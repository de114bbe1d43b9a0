"""python -m quarry ...: the program, with its exit codes."""
import os
import sys

from ._program import program


def main() -> None:
    """Becomes the program; does not return."""
    path = program()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(path, [path, *sys.argv[1:]])


if __name__ == "__main__":
    main()
