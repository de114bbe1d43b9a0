"""Work lists of shards: what `quarry shards` does, for quarry.ray and whoever starts workers by other means."""
from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import shutil
import sys
from typing import Any, Iterator

from ._errors import ConfigError, InputError, IoError, LockedError
from ._program import run_program

_INCOMPLETE = 8


@dataclasses.dataclass(frozen=True)
class Plan:
    """A work list that was written. path: absolute, to be seen by all nodes. shards: how many; numbers are 0 to shards - 1. rows: to mine.
    slices: of the items, each of which is searched for each shard before that is mined; 0: a shard's worker searches all items. store: of a
    refresh, to which join() adds the version that goes on from version `parent`; "" of other plans. worker_memory: bytes that a worker was said
    to have, or that the planning machine has, by which slices were chosen or looked at; worker_needs: bytes that it needs, about, with the files
    that it reads again and again. 0 in plans that do not say."""
    path: str
    plan_hash: str
    shards: int
    rows: int
    slices: int = 0
    store: str = ""
    parent: int = 0
    worker_memory: int = 0
    worker_needs: int = 0

    @staticmethod
    def read(path: Any) -> "Plan":
        """Of a plan's file. Raises IoError, InputError."""
        name = os.path.abspath(os.fspath(path))
        try:
            with open(name, encoding="utf-8") as file:
                text = json.load(file)
            work = text["work"]
            refresh = work.get("refresh", {})
            memory = text.get("worker_memory", {})
            if not isinstance(memory, dict) or not isinstance(memory.get("needs", {}), dict):
                raise TypeError("worker_memory is no object")
            store = os.path.normpath(os.path.join(os.path.dirname(os.path.realpath(name)), refresh["store"])) if refresh else ""
            return Plan(name, text["plan_hash"], len(text["shards"]), refresh.get("rows_mined", work["rows"]),
                        len(work.get("item_slices", [])), store, refresh.get("parent", 0), memory.get("bytes", 0),
                        memory.get("needs", {}).get("total_bytes", 0))
        except OSError as error:
            raise IoError(f"{name}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{name}: is no shard plan ({error}); quarry.ray.plan makes one") from error


def flags_of(options: dict[str, Any]) -> list[str]:
    """items="x.npy", set=["k=4"], allow_inert=True, pairs={"teacher": "t.csv"} as on the command line."""
    flags = []
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if value is True:
            flags.append(flag)
        elif isinstance(value, dict):
            flags += [f"{flag}={key}={entry}" for key, entry in value.items()]
        elif isinstance(value, (list, tuple)):
            flags += [f"{flag}={entry}" for entry in value]
        else:
            flags.append(f"{flag}={os.fspath(value) if isinstance(value, os.PathLike) else value}")
    return flags


def plan(out: Any, *, shards: int | str = "auto", item_slices: int | str = 1, worker_memory: int | str | None = None, config: Any = None,
         program: str | None = None, **options: Any) -> Plan:
    """Writes a plan to `out`: `quarry shards plan`.

    shards: how many at most, or "auto": of 1 to 5 minutes on this machine. item_slices: parts of the items that actors search by themselves,
    for tables beyond a node's memory; "auto": the fewest by which an actor's program stays within worker_memory, 1 where it does with all items.
    worker_memory: what that program may have, in bytes or as text ("16GiB", "800MiB"), with the files that it reads again and again. Where it is
    not given and item_slices is "auto": of a connected Ray, what `memory` the smallest node that takes an actor has, over its GPUs where it has any;
    else what this machine or its control group has. config: a TOML file of flags. options: the flags of
    `quarry mine` with `_` for `-`; lists give a flag several times, dicts NAME=FILE: plan("plan.json", items="items.npy", users="users.npy",
    events="events.csv", recipe="balanced", set=["k=8"]). With refresh="STORE" or "STORE@VERSION" it is of the rows that this refresh has to
    mine, and options are those of `quarry refresh` that say what is new. Inputs and `out` must be seen by all nodes at the same place beside each other.
    Loads the inputs here. Raises what the program says: ConfigError, where nothing fits worker_memory too, InputError, IoError ..."""
    name = os.path.abspath(os.fspath(out))
    if worker_memory is None and item_slices == "auto":
        worker_memory = memory_of_nodes()
    if worker_memory is not None:
        options = {**options, "worker_memory": worker_memory}
    if config is not None:
        options = {**options, "config": config}
    run_program(program, "shards", "plan", "--out", name, "--shards", str(shards), "--item-slices", str(item_slices), *flags_of(options))
    return Plan.read(name)


def places_of(nodes: list[dict[str, Any]], num_gpus: float) -> list[dict[str, float]]:
    """Resources of the nodes that are alive and can hold an actor; of ray.nodes(). A head without CPUs is none, unless all are."""
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    fit = [one for one in alive if one.get("GPU", 0) >= num_gpus] if num_gpus > 0 else [one for one in alive if one.get("CPU", 0) >= 1]
    return fit or alive


def actors_on(place: dict[str, float], places: int, workers: int | None, num_gpus: float) -> int:
    """The most of so many actors (None: one per GPU, or per node without) that Ray may put on one of so many nodes."""
    if num_gpus > 0:
        most = int(place.get("GPU", 0) // num_gpus)
        return max(1, most if workers is None else min(workers, most))
    return max(1, -(-(workers or 1) // max(1, places)))


def memory_of_nodes(workers: int | None = None, num_gpus: float | None = None) -> int | None:
    """Bytes for each of so many actors, by the resource `memory` of the nodes of the Ray that this process is connected to: the least of any
    node, for Ray spreads actors as it likes. num_gpus: of an actor; None: 1 where the cluster has GPUs. None where there is no such Ray, or a
    node does not say."""
    ray = sys.modules.get("ray")  # who is connected has imported it
    if ray is None or not ray.is_initialized():
        return None
    nodes = ray.nodes()
    if num_gpus is None:
        num_gpus = 1 if any(node.get("Alive") and node.get("Resources", {}).get("GPU", 0) >= 1 for node in nodes) else 0
    places = places_of(nodes, num_gpus)
    memory = [int(place.get("memory", 0)) // actors_on(place, len(places), workers, num_gpus) for place in places]
    return min(memory, default=0) or None


def plan_of(plan: Any) -> Plan:
    return plan if isinstance(plan, Plan) else Plan.read(plan)


def status(plan: Any, *, verify: bool = False, program: str | None = None) -> dict[str, Any]:
    """What `quarry shards status --json` says: complete (bool), missing (list of int), rows_done, damages, unfinished ...

    verify: reads every byte, and counts what is damaged as missing."""
    arguments = ["shards", "status", plan_of(plan).path, "--json"] + (["--verify"] if verify else [])
    return json.loads(run_program(program, *arguments, ok=(0, _INCOMPLETE))[1])


def join(plan: Any, *, out: Any = None, store: Any = None, overwrite: bool = False, clean: bool = False,
         program: str | None = None, **options: Any) -> dict[str, Any]:
    """One set at `out`, or a version of `store`, of all shards: `quarry shards join --json`, whose object is returned (content_hash,
    set or store and version, run). options: tag, parent, model, note; of a refresh, whose store the plan names: tag, note. clean: removes
    the shards afterwards.

    Raises ConfigError while shards are missing or damaged, naming them, and InputError where inputs changed."""
    target = flags_of({"out": out, "store": store, "overwrite": overwrite, "clean": clean, **options})
    path = plan_of(plan).path
    code, text = run_program(program, "shards", "join", path, "--json", *target, ok=(0, _INCOMPLETE))
    if code == _INCOMPLETE:
        missing = status(plan, verify=True, program=program)
        raise ConfigError(f"{path}: not joined, shards are missing or damaged: {missing['array']}; quarry.ray.mine makes them")
    return json.loads(text)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """That no other process that sees these locks plans at `path` meanwhile. Raises LockedError where one does, IoError."""
    name = os.path.realpath(path) + ".lock"
    try:
        file = _lock(name)
    except BlockingIOError:
        raise LockedError(f"{path}: another process refreshes by this plan; wait for it, or give another plan_file") from None
    except OSError as error:
        raise IoError(f"{name}: {error.strerror}") from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if _is_at(file, name):
                os.remove(name)
        os.close(file)


def _lock(name: str) -> int:
    while True:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            raise
        except OSError:  # a file system without locks
            return file
        if _is_at(file, name):
            return file
        os.close(file)  # whoever held it has removed it


def _is_at(file: int, name: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(name))
    except FileNotFoundError:
        return False


def _remove_shards(plan_text: str, folder: str) -> None:
    """Of a plan that another takes the place of: nothing finds them any more."""
    text = json.loads(plan_text)
    outputs = os.path.join(folder, text["outputs"])
    for entry in os.listdir(outputs) if os.path.isdir(outputs) else []:
        if not entry.lstrip(".").startswith(text["plan_hash"][:16] + "-"):
            continue
        place = os.path.join(outputs, entry)
        if os.path.isdir(place):
            shutil.rmtree(place, ignore_errors=True)
        else:
            os.remove(place)


def plan_refresh(path: str, folder: str, wished: int | str, **options: Any) -> Plan:
    """The plan at `path`, made anew for the store in `folder`. What was there before goes on where it is of the same rows and inputs: its
    shards are found by its hash, if they and the items are cut alike; else they are removed, and the old plan names them until they are. wished, options: of
    plan(). Raises ConfigError where the plan is of something else."""
    if not os.path.exists(path):
        return plan(path, shards=wished, **options)
    before = Plan.read(path)
    if not before.store:
        raise ConfigError(f"{path}: is a plan of `quarry mine`, not of a refresh; give another plan_file")
    if os.path.realpath(before.store) != os.path.realpath(folder):
        raise ConfigError(f"{path}: is a plan of a refresh of {before.store}, not of {folder}; give another plan_file")
    real = os.path.realpath(path)
    with open(real, encoding="utf-8") as file:
        text = file.read()
    anew = real + ".new"
    options.setdefault("shard_folder", os.path.splitext(real)[0] + ".shards")  # as of `path`
    first = max(1, before.shards) if wished == "auto" else wished
    timed = {name: value for name, value in options.items() if name != "shard_seconds" or wished != "auto"}
    try:
        now = plan(anew, shards=first, **timed)
    except ConfigError:  # as many shards as before may be too long now for worker_memory
        if wished != "auto":
            raise
        now = plan(anew, shards=wished, **options)
    if timed.get("item_slices") == "auto" and now.slices != before.slices:
        # Memory is foretold by what was seen of it, a little more or less each time: what was chosen before is as good where it fits.
        again = real + ".again"
        with contextlib.suppress(ConfigError):
            as_before = plan(again, shards=first, **{**timed, "item_slices": max(1, before.slices)})
            if as_before.plan_hash == before.plan_hash:
                now = as_before
                os.replace(again, anew)
        with contextlib.suppress(FileNotFoundError):
            os.remove(again)
    if now.plan_hash != before.plan_hash:
        if wished == "auto":
            plan(anew, shards=wished, **options)
        _remove_shards(text, os.path.dirname(real))
    os.replace(anew, real)
    return Plan.read(path)
