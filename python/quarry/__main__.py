"""python -m quarry ...: the program, with its exit codes."""
import os
import sys

from ._program import program


def main() -> None:
    """Becomes the program; does not return. `convert`, and `bench` of workers, are of the package, not of the program, and so are arguments that
    are Parquet or Arrow."""
    if sys.argv[1:2] == ["convert"]:
        from .convert.command import main as convert
        sys.exit(convert(sys.argv[2:]))
    if sys.argv[1:2] == ["bench"]:
        from .bench import command as bench
        if any(word.split("=")[0] in bench.MODES for word in sys.argv[2:]):
            sys.exit(bench.main(sys.argv[2:]))
    from .convert.command import converted_or_exit
    arguments = converted_or_exit(sys.argv[1:])
    path = program()
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(path, [path, *arguments])


if __name__ == "__main__":
    main()
