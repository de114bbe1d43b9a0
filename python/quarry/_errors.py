"""What Quarry raises. The classes are those of the library; the words are the library's own, where flags of the program are named as
the arguments of Python."""
import re

_MAPS = {"event-columns": "event_columns", "pair-columns": "pair_columns", "catalogue-columns": "catalogue_columns", "pairs": "pairs",
         "item-list": "item_lists", "feature": "features"}
_ONES = {"item-ids": "item_ids", "user-ids": "user_ids", "event-kind": "event_kind", "catalogue": "catalogue", "events": "events",
         "as-of": "as_of", "users": "users", "items": "items", "retriever": "retriever", "seed": "seed", "round": "round",
         "threads": "threads"}


def in_words_of_python(text: str) -> str:
    """A message of the library with `--event-columns user=COLUMN` as `event_columns={'user': COLUMN}` and the like. Flags that no argument
    stands for are left as they are."""
    text = text.replace(" with --unknown-ids drop", " with unknown_ids='drop'").replace("--unknown-ids drop", "unknown_ids='drop'")
    text = re.sub(r"--([a-z-]+) ([\w.-]+)=([A-Z]\w*(?::[A-Z]+)?)", lambda found: f"{_MAPS[found[1]]}={{'{found[2]}': {found[3]}}}"
                  if found[1] in _MAPS else found[0], text)
    return re.sub(r"--([a-z-]+)\b(?![-=])(:?)", lambda found: f"{(_MAPS | _ONES)[found[1]]}{found[2] or '='}"
                  if found[1] in _MAPS or found[1] in _ONES else found[0], text)


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


class StaleError(Error, RuntimeError):
    """A batch asked for another version of the items than the Miner has."""


class StaleWarning(UserWarning):
    """The same, where `stale="warn"`: the batch was mined with the items that there were, and counted."""
