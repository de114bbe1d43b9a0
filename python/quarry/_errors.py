"""What Quarry raises. The classes are those of the library; the words are the library's own."""


class Error(Exception):
    """Any error of Quarry."""


class InputError(Error, ValueError):
    """Data is wrong: what, where, the value, what is allowed and what to try. (Exit code 3 of the program.)"""


class ConfigError(Error, ValueError):
    """The request is wrong: a recipe, an option, or both beside what is given. (Exit code 2.)"""


class IoError(Error, OSError):
    """A file cannot be read or written. (Exit code 5.)"""


class LockedError(IoError):
    """Another process writes the store. (Exit code 4.)"""


class OutOfMemory(Error, MemoryError):
    """Memory ran out; fewer rows at a time may fit. (Exit code 6.)"""


class DeviceError(Error, RuntimeError):
    """A GPU failed. (Exit code 7.)"""


class Cancelled(Error, RuntimeError):
    """The library was asked to stop. (Exit code 75.)"""


class ForkError(Error, RuntimeError):
    """A Miner was used, or made, in a process forked from one that had made a Miner: its threads are not there."""
