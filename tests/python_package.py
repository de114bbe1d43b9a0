"""What tests of the Python package share: they skip where it is not installed, call the program, and work in a folder of their own.
It imports nothing but Python's own library, so that every such test can begin with it."""
import contextlib
import os
import subprocess
import sys
import tempfile
import unittest

program = ""  # what main() was given; else the one in the package


@contextlib.contextmanager
def or_skip(remedy="tools/check_python makes a Python that has it"):
    """Around imports: what is missing ends the test with 77, which ctest takes as skipped."""
    try:
        yield
    except ImportError as error:
        name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        print(f"{name}: skipped, {sys.executable}: {error} ({remedy})")
        sys.exit(77)


def run(*arguments, ok=(0,)):
    """Calls the program; another exit code than those of `ok` is a failure."""
    import quarry
    done = subprocess.run([program or quarry.program(), *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in ok:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stderr}")
    return done


def resident():
    """Bytes of memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class SharedFolder(unittest.TestCase):
    """All tests of a class work in one empty folder."""

    @classmethod
    def setUpClass(cls):
        folder, old = tempfile.TemporaryDirectory(), os.getcwd()
        cls.addClassCleanup(folder.cleanup)
        cls.addClassCleanup(os.chdir, old)
        os.chdir(folder.name)


def main():
    """ctest gives every test the program as its first argument; by hand it may be left out."""
    global program
    if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and os.path.exists(sys.argv[1]):
        program = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
