"""python -m quarry bench --ray | --array | --processes: one JSON and one plot of how mining scales over workers, with the exit codes of the
program."""
from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Sequence

from .. import ray as quarry_ray
from .._errors import ConfigError, Error, InputError, IoError
from .._program import print_result, run_program
from .._program import program as package_program
from . import document as documents
from .plot import svg
from .shards import FinishedPlan, facts_of, most_at_once, nodes_of, read_plan
from .turns import Turns, check_workers, on_ray, processes

MODES = ("--ray", "--array", "--processes", "--from")

_HELP = """usage:
  quarry bench --ray [--address A] [--folder SHARED] [--workers 1,2,4] [--repetitions N] [--shards N] [flags of quarry mine]
  quarry bench --processes ...                         the same with processes of this machine, without Ray
  quarry bench --array PLAN... [--workers 1,2,4]       of plans that a job array has mined, before they are joined with --clean
  quarry bench --from FILE...                          tables, and with --plot the plot, of measurements that were made

Measures rows per second by 1, 2, ... workers and says how much of n times one worker they reach. docs/cluster.md explains what is measured.

  --out FILE         the measurements, JSON            --plot FILE      an SVG of them
  --workers 1,2      numbers of workers; of --array: of each plan, instead of the most shards in work at a time
  --threads N        of each worker; the same for all numbers of workers; default: as the most workers share the processors
  --shards N         of the plan (16)                  --repetitions N  turns, each with every number of workers (3)
  --folder FOLDER    where inputs that are made, the plan and its shards go: seen by all nodes; default: a temporary one, for one machine
  --synth-users N    without --items: made-up data of so many users (100,000), --synth-items (20,000), --synth-dim (64)
  --address A        of the Ray cluster; default: $RAY_ADDRESS, else this machine     --num-gpus N  of each worker (where the cluster has any: 1)
  --stall-timeout S  as of quarry.ray.mine (600)       --program FILE   the program quarry, on all nodes; default: the package's
  --single SET       of --array: a set that one process mined; the joined shards must have its hash
  --no-join          of --array: do not join the shards, which reads all of them, to compare hashes

Exit codes: 0 done, 2 the request is wrong, 3 the data are wrong or a hash differs, 5 files, 75 stopped or stalled.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(f"{message}; quarry bench --ray --help says how it is called")


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1:
        raise ConfigError(f"--workers: {text!r} is no list of numbers from 1 on, as 1,2,4")
    return numbers


def _parser() -> _Parser:
    parser = _Parser(prog="quarry bench", add_help=False, allow_abbrev=False)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--processes", action="store_true")
    parser.add_argument("--array", nargs="+")
    parser.add_argument("--from", nargs="+", dest="earlier")
    for name in ("out", "plot", "workers", "folder", "address", "program", "single"):
        parser.add_argument(f"--{name}")
    for name in ("threads", "shards", "repetitions", "synth-users", "synth-items", "synth-dim"):
        parser.add_argument(f"--{name}", type=int)
    for name in ("num-gpus", "stall-timeout"):
        parser.add_argument(f"--{name}", type=float)
    for name in ("no-join", "help"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser


#: Flags of each mode, beside --out and --plot.
_COMMON = ("workers", "threads", "shards", "repetitions", "synth_users", "synth_items", "synth_dim", "folder", "program")
_FLAGS = {"ray": (*_COMMON, "address", "num_gpus", "stall_timeout"), "processes": _COMMON, "array": ("workers", "single", "no_join", "program"),
          "earlier": ()}


def _say(words: str) -> None:
    print(f"bench: {words}", file=sys.stderr, flush=True)


def _version(program: str | None) -> str:
    return run_program(program, "--version")[1].strip().removeprefix("quarry ")


def _told(arguments: Sequence[str]) -> str:
    """The command line without what is of this machine or run alone."""
    words, left_out = ["quarry", "bench"], False
    for word in arguments:
        name = word.split("=")[0]
        if left_out or name in ("--out", "--plot", "--program", "--folder", "--address"):
            left_out = not left_out and "=" not in word
            continue
        words.append(word)
    return " ".join(words)


def _inputs(args: argparse.Namespace, flags: list[str], folder: str) -> tuple[list[str], dict[str, Any]]:
    """Flags of the run, of the user's inputs or of made-up ones, and what is to be said of the latter."""
    if not any(flag == "--recipe" or flag.startswith("--recipe=") for flag in flags):
        flags = [*flags, "--recipe", "nv-perc"]
    given = any(flag.split("=")[0] in ("--items", "--config") for flag in flags)
    sizes = {"users": args.synth_users or 100_000, "items": args.synth_items or 20_000, "dim": args.synth_dim or 64}
    if given:
        if args.synth_users or args.synth_items or args.synth_dim:
            raise ConfigError("--synth-users, --synth-items, --synth-dim: are of made-up data, and --items or --config is given; take one of the two out")
        return flags, {}
    path = lambda name: os.path.join(folder, name)  # noqa: E731
    _say(f"making {sizes['users']} users and {sizes['items']} items of {sizes['dim']} dimensions")
    run_program(args.program, "synth", "--out", path("inputs"), "--users", str(sizes["users"]), "--items", str(sizes["items"]), "--dim",
                    str(sizes["dim"]), "--leaks", "0", "--force")
    tables = [word for name, file in (("items", "items.npy"), ("users", "users.npy"), ("events", "events.csv"), ("catalogue", "catalogue.csv"))
              for word in (f"--{name}", path(os.path.join("inputs", file)))]
    return [*tables, *flags], {"synthetic": True, **sizes}


def _measure_in_turns(args: argparse.Namespace, flags: list[str]) -> dict[str, Any]:
    workers = sorted(set(_numbers(args.workers or "1,2")))
    shards, repetitions = args.shards or 16, 3 if args.repetitions is None else args.repetitions
    check_workers(workers, shards)
    if repetitions < 1 or (args.threads is not None and args.threads < 1):
        raise ConfigError("--repetitions and --threads must be 1 or more")
    versions = {"quarry": _version(args.program), "python": platform.python_version()}
    ray = quarry_ray._ray() if args.ray else None
    own, gpus, nodes = False, 0, 1
    threads = args.threads or max(1, len(os.sched_getaffinity(0)) // max(workers))
    if ray is not None:
        versions["ray"] = ray.__version__
        own = not ray.is_initialized()
        if own:
            ray.init(address=args.address, log_to_driver=False)
        alive = [node for node in ray.nodes() if node.get("Alive")]
        nodes, num_gpus = len(alive), args.num_gpus
        if num_gpus is None:
            num_gpus = 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0
        gpus = int(num_gpus > 0)  # a worker mines on one, however much of it Ray sets aside
        threads = args.threads or quarry_ray._threads(quarry_ray._places(alive, num_gpus), max(workers), num_gpus)
    try:
        if nodes > 1 and args.folder is None:
            raise ConfigError(f"--folder: the cluster has {nodes} nodes, which must all see the plan and its inputs; give a folder that they share")
        engine = (on_ray(args.program, threads, num_gpus, args.stall_timeout or 600, _say) if ray is not None
                  else processes(args.program or package_program(), threads))
        if args.folder is not None:
            os.makedirs(args.folder, exist_ok=True)
        folder = tempfile.mkdtemp(prefix="quarry-bench-", dir=args.folder)
        os.chmod(folder, 0o700)
        try:
            flags, sizes = _inputs(args, flags, folder)
            turns = Turns(args.program, folder, flags, shards, threads, gpus, engine, _say)
            turns.measure(workers, repetitions)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if own and ray is not None:
            ray.shutdown()
    options = turns.run_of_plan["options"]
    parameters = {**sizes, "rows": turns.rows, "k": turns.k, "recipe": turns.run_of_plan["recipe"]["name"], "shards": turns.num_shards,
                  "repetitions": repetitions, "seed": options.get("seed")}
    single = {"threads": threads, "content_hash": turns.content_hash, "rows_per_second": documents.spread([run["rows_per_second"] for run in turns.singles]),
              "runs": turns.singles}
    return {"engine": "ray" if args.ray else "processes", "in_turns": True, "versions": versions, "parameters": parameters,
            "worker": {"threads": threads, "gpus": gpus}, "single": single, "hashes_equal": True,
            "cases": documents.cases_of(turns.runs, in_turns=True)}


def _joined_hash(plan: FinishedPlan, program: str | None) -> tuple[str, float]:
    """Joins it beside the plan, where columns are linked, and takes it away again."""
    folder = tempfile.mkdtemp(prefix=".quarry-bench-", dir=os.path.dirname(plan.path))
    try:
        told = quarry_ray.join(plan.path, out=os.path.join(folder, "joined"), program=program)
        return told["content_hash"], sum(told["run"]["seconds"][name] for name in ("load", "prepare"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _single_hash(path: str) -> str:
    try:
        with open(os.path.join(path, "manifest.json"), encoding="utf-8") as file:
            return str(json.load(file)["content_hash"])
    except OSError as error:
        raise IoError(f"--single: {path}: is no set that can be read: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise InputError(f"--single: {path}: its manifest.json is none of a set ({error})") from error


def _measure_array(args: argparse.Namespace) -> dict[str, Any]:
    plans = [read_plan(path) for path in args.array]
    workers = _numbers(args.workers) if args.workers else [most_at_once(plan.shards) for plan in plans]
    if len(workers) != len(plans):
        raise ConfigError(f"--workers: names {len(workers)} numbers for {len(plans)} plans; give one for each, in their order")
    if args.single and args.no_join:
        raise ConfigError("--single: is compared with the joined shards, and --no-join joins none; take one of the two out")
    if len({(plan.plan_hash, len(plan.shards)) for plan in plans}) > 1:
        raise InputError(f"{plans[0].path} and others: are plans of different work; plans that are compared are made by the same command, each with an "
                         "--out of its own")
    kinds = {(shard.threads, shard.gpus) for plan in plans for shard in plan.shards}
    if len(kinds) > 1:
        raise InputError(f"{plans[0].path} and others: workers had different threads or GPUs {sorted(kinds)}; rates of unlike workers say nothing of scaling")
    wanted = _single_hash(args.single) if args.single else ""
    content_hash = wanted
    runs: dict[int, list[dict[str, Any]]] = {}
    for number, (plan, count) in enumerate(zip(plans, workers)):
        facts = facts_of(plan.shards, count)
        run = {"plan": os.path.basename(plan.path), **facts, "nodes": nodes_of(plan.shards)}
        if facts["idle_seconds"] > 0.1 * facts["seconds"]:
            _say(f"{plan.path}: no shard was in work for {facts['idle_seconds']:.1f} of {facts['seconds']:.1f} s (tasks that waited, or were submitted "
                 "again); its rate is of the whole time")
        if most_at_once(plan.shards) > count:
            raise ConfigError(f"--workers: {count} for {plan.path}, of which {most_at_once(plan.shards)} shards were in work at a time")
        if not args.no_join:
            joined = _joined_hash(plan, args.program)[0]
            if content_hash and joined != content_hash:
                raise InputError(f"{plan.path}: joined it has the content hash {joined}, {args.single or plans[0].path} has {content_hash}; rates of "
                                 "different answers are not compared")
            content_hash = joined
        runs.setdefault(count, []).append(run)
        _say(f"{plan.path}: {count} workers, {facts['seconds']:.1f} s, {facts['rows_per_second']:.0f} rows/s")
    first = plans[0]
    threads, gpus = kinds.pop()
    parameters = {"rows": sum(shard.rows for shard in first.shards), "k": first.k, "recipe": first.run["recipe"]["name"], "shards": len(first.shards),
                  "repetitions": min(len(own) for own in runs.values()), "seed": first.run["options"].get("seed")}
    return {"engine": "array", "in_turns": False, "versions": {"quarry": _version(args.program), "python": platform.python_version()},
            "parameters": parameters, "worker": {"threads": threads, "gpus": gpus},
            "single": {"content_hash": wanted} if wanted else None, "hashes_equal": None if args.no_join else True,
            "cases": documents.cases_of(runs, in_turns=False)}


def run(arguments: Sequence[str]) -> str:
    """Measures, writes files, and returns the tables. Raises quarry.Error, ImportError."""
    args, flags = _parser().parse_known_args(list(arguments))
    if args.help:
        return _HELP.rstrip("\n")
    modes = [mode for mode in _FLAGS if getattr(args, mode)]
    if len(modes) != 1:
        raise ConfigError("give one of --ray, --array, --processes and --from; quarry bench --ray --help says what they do")
    mode = modes[0]
    for name, value in vars(args).items():
        if value not in (None, False) and name not in (*_FLAGS, "out", "plot", "help") and name not in _FLAGS[mode]:
            raise ConfigError(f"--{name.replace('_', '-')}: does nothing with --{mode.replace('earlier', 'from')}; take it out")
    if flags and mode in ("array", "earlier"):
        raise ConfigError(f"{flags[0]}: is no flag of quarry bench --{mode.replace('earlier', 'from')}; quarry bench --ray --help says what it takes")
    if mode == "earlier":
        if args.out:
            raise ConfigError("--out: would hold nothing new with --from; take it out")
        made = [documents.read(path) for path in args.earlier]
    else:
        for path in filter(None, (args.out, args.plot)):  # minutes of work are not to end at a folder that does not exist
            if not os.path.isdir(os.path.dirname(os.path.abspath(path))):
                raise IoError(f"{path}: its folder is not there; make it first")
        here = documents.machine()
        measured = _measure_array(args) if mode == "array" else _measure_in_turns(args, flags)
        made = [{"format": documents.FORMAT, "format_version": documents.VERSION, "command_line": _told(arguments),
                 "machine": here, **measured}]
        if args.out:
            documents.write(args.out, json.dumps(made[0], indent=1, ensure_ascii=False) + "\n")
    if args.plot:
        documents.write(args.plot, svg(made))
    return "\n\n".join(map(documents.table, made))


def main(arguments: Sequence[str]) -> int:
    """Exit code."""
    try:
        told = run(arguments)
    except KeyboardInterrupt:
        print("quarry bench: stopped", file=sys.stderr)
        return 75
    except (Error, ImportError, subprocess.SubprocessError) as error:
        print(f"quarry bench: {error or type(error).__name__}", file=sys.stderr)
        return quarry_ray.exit_code_of(error)
    except OSError as error:  # a folder that cannot be made, a program that is not there
        print(f"quarry bench: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        return 5
    return print_result("quarry bench", told)
