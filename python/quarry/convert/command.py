"""python -m quarry convert: the functions of quarry.convert by command line, with the exit codes of the program."""
from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from .._errors import ConfigError, Error, InputError, IoError
from .._program import exit_code_of, print_result

_KINDS = ("embeddings", "events", "catalogue", "rows", "pairs", "set")

_HELP = """usage:
  quarry convert embeddings SOURCE... OUT.npy [--column embedding] [--id-column id --ids-out OUT.csv] [--dtype float32|float16]
                                              [--bad-rows keep]
  quarry convert embeddings IN.npy OUT.parquet [--ids FILE[:COLUMN]] [--column embedding] [--id-column id]
  quarry convert events|catalogue|rows|pairs SOURCE... OUT.csv|OUT.tsv [--columns user=uid,item=sku,...] [--time-unit s|ms|us|ns]
                                              [--drop NAME,...]
  quarry convert events|catalogue|rows|pairs TABLE... OUT.parquet [--columns user=uid,item=sku,...] [--types time=text,price=float,...]
                                              [--drop NAME,...]
  quarry convert [set] SET|STORE@VERSION OUT_FOLDER [--to parquet] [--item-ids FILE[:COLUMN]] [--user-ids FILE[:COLUMN]] [--verify]

SOURCE is a .parquet, .arrow, .ipc or .feather file, or a folder of them, read in the order of their names. TABLE is
one of those that the program reads: .csv (commas), .tsv, .inter, .item or .user (tabs), or a folder of them. --overwrite replaces what is there.
--drop is for catalogues. --types: time, value, score, row_key and lists of items may be kept as text; attributes of a catalogue are text, or what
this says: float, int, bool, date, timestamp.
Exit codes: 0 done, 2 the request is wrong, 3 the data are wrong, 5 a file cannot be read or written, 6 no memory, 75 stopped. Needs pip install pyarrow.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; quarry convert --help says how it is called")


def _parser() -> _Parser:
    parser = _Parser(prog="quarry convert", add_help=False, allow_abbrev=False)
    parser.add_argument("names", nargs="*")
    for flag in ("column", "id-column", "ids-out", "dtype", "ids", "columns", "drop", "types", "to", "item-ids", "user-ids"):
        parser.add_argument(f"--{flag}")
    parser.add_argument("--bad-rows", choices=("reject", "keep"))
    parser.add_argument("--time-unit", choices=("s", "ms", "us", "ns"))
    for flag in ("verify", "overwrite", "help"):
        parser.add_argument(f"--{flag}", action="store_true")
    return parser


#: Flags of each form, beside --overwrite.
_FLAGS = {"to npy": ("column", "id_column", "ids_out", "dtype", "bad_rows"), "to parquet": ("column", "id_column", "ids"),
          "events": ("columns", "time_unit"), "rows": ("columns", "time_unit"), "pairs": ("columns",),
          "catalogue": ("columns", "time_unit", "drop"), "events to parquet": ("columns", "types"), "rows to parquet": ("columns", "types"),
          "pairs to parquet": ("columns", "types"), "catalogue to parquet": ("columns", "types", "drop"), "set": ("to", "item_ids", "user_ids", "verify")}


def _mapping(text: str, flag: str, example: str) -> dict[str, str]:
    out = {}
    for part in text.split(","):
        key, equals, name = part.partition("=")
        if not equals or not key or not name:
            raise ConfigError(f"{flag}: {part!r} is not of the form {example}")
        if key in out:
            raise ConfigError(f"{flag}: {key!r} is given twice")
        out[key] = name
    return out


def run(arguments: list[str]) -> str:
    """Converts, and returns what was done in a sentence. Raises quarry.Error, ImportError."""
    from . import embeddings, embeddings_to_parquet, negatives, tables, to_parquet
    from .sets import check_to
    args = _parser().parse_intermixed_args(arguments)  # flags may stand between names
    if args.help:
        return _HELP.rstrip("\n")
    names = list(args.names)
    kind = names.pop(0) if names and names[0] in _KINDS else "set"
    if len(names) < 2:
        raise ConfigError(f"{'a source and an output are' if not names else 'an output is'} missing; quarry convert --help says how it is called")
    sources, out = names[:-1], names[-1]
    into_parquet = kind != "set" and out.endswith(".parquet")
    form = {"embeddings": "to parquet" if into_parquet else "to npy"}.get(kind, kind + " to parquet" if into_parquet else kind)
    given = {name: value for name, value in vars(args).items() if name not in ("names", "help", "overwrite") and value not in (None, False)}
    for name in given:
        if name not in _FLAGS[form]:
            end = ".npy " if form == "to npy" else ".parquet " if into_parquet else ""
            raise ConfigError(f"--{name.replace('_', '-')} does nothing here: {kind} {end}takes "
                              f"{', '.join('--' + one.replace('_', '-') for one in _FLAGS[form])}")
    if len(sources) > 1 and form in ("set", "to parquet"):
        raise ConfigError(f"{len(sources)} sources are given; one is taken: {' '.join(sources)}")
    given["overwrite"] = args.overwrite
    if "columns" in given:
        given["columns"] = _mapping(given["columns"], "--columns", "name=column, as user=uid,item=sku")
    if "types" in given:
        given["types"] = _mapping(given["types"], "--types", "name=type, as time=text,price=float")
    if "drop" in given:
        given["drop"] = given["drop"].split(",")
    if form == "to npy":
        done = embeddings(sources, out, **given)
        return f"{out}: {done.rows} rows of {done.dim} {done.dtype} numbers"
    if form == "to parquet":
        done = embeddings_to_parquet(sources[0], out, **given)
        return f"{out}: {done.rows} rows of {done.dim} {done.dtype} numbers"
    if form == "set":
        check_to(given.pop("to", "parquet"))
        return f"{out}: {negatives(sources[0], out, **given)} rows"
    convert = getattr(to_parquet, kind + "_to_parquet") if into_parquet else getattr(tables, kind)
    return f"{out}: {convert(sources, out, **given)} rows"


def _failed(who: str, error: BaseException) -> int:
    words = "stopped; run it again" if isinstance(error, KeyboardInterrupt) else str(error) or type(error).__name__
    print(f"{who}: {words}", file=sys.stderr)
    return exit_code_of(error)


def converted_or_exit(arguments: list[str]) -> list[str]:
    """The program's arguments with what is Parquet or Arrow among them converted; ends the process with an exit code where that fails."""
    from .arguments import converted
    try:
        return converted(arguments)
    except (Error, ImportError, MemoryError, KeyboardInterrupt) as error:
        sys.exit(_failed(f"quarry {arguments[0]}", error))


def main(arguments: list[str]) -> int:
    """Exit code."""
    try:
        told = run(arguments)
    except (Error, ImportError, MemoryError, KeyboardInterrupt) as error:
        return _failed("quarry convert", error)
    return print_result("quarry convert", told)
