"""Times of a plan's shards, read from their manifests (`part` in host/store/FORMAT.md), and what they say of the workers together."""
from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Sequence

from .._errors import ConfigError, InputError, IoError


@dataclasses.dataclass(frozen=True)
class Shard:
    """One that is committed. began, committed: seconds since 1970 by its worker's clock; mining: seconds of these that mined rows."""
    number: int
    rows: int
    began: float
    committed: float
    mining: float
    node: str
    processor: str
    processors: int
    threads: int
    gpus: int


@dataclasses.dataclass(frozen=True)
class FinishedPlan:
    """All shards of a plan that is done. work: the plan's `run`, which says recipe and options."""
    path: str
    plan_hash: str
    k: int
    run: dict[str, Any]
    shards: list[Shard]


def _json_of(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise IoError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); it is damaged") from error


def read_plan(path: Any) -> FinishedPlan:
    """Raises InputError for a plan that is not done, naming the shards that are missing."""
    name = os.path.realpath(os.fspath(path))
    plan = _json_of(name)
    try:
        if plan["format"] != "quarry.shard_plan":
            raise KeyError("format")
        planned, outputs = plan["shards"], os.path.join(os.path.dirname(name), plan["outputs"])
        if plan["work"].get("item_slices"):
            raise ConfigError(f"{name}: has slices of the items, whose searches leave no times; measure a plan without --item-slices")
        if plan["work"].get("refresh"):
            raise ConfigError(f"{name}: is a plan of a refresh, most of whose rows are not mined; measure a plan of quarry shards plan without --refresh")
        if not planned:
            raise InputError(f"{name}: has no shards, so no times; quarry shards plan makes one that has")
        k, folders = plan["work"]["k"], [(one["id"], os.path.join(outputs, one["output"])) for one in planned]
        run, plan_hash = plan["run"], plan["plan_hash"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{name}: is no shard plan (it lacks {error}); quarry shards plan makes one") from error
    missing = [number for number, folder in folders if not os.path.isdir(folder)]
    if missing:
        raise InputError(f"{name}: {len(missing)} of {len(folders)} shards are not there, the first: {missing[0]}; only a plan that is done can be "
                         "measured (quarry shards missing says which to mine). join --clean removes shards: measure before it")
    return FinishedPlan(name, plan_hash, k, run, [_shard(number, folder, plan_hash) for number, folder in folders])


def _shard(number: int, folder: str, plan_hash: str) -> Shard:
    path = os.path.join(folder, "manifest.json")
    manifest = _json_of(path)
    try:
        part = manifest["part"]
        if (part["plan"], part["shard"]) != (plan_hash, number):
            raise InputError(f"{path}: is shard {part['shard']} of another plan, or another shard, and stands in the place of {number}")
        if "worker" not in part:
            raise InputError(f"{path}: says nothing of its worker's time; it was mined by an earlier Quarry. Mine the plan again")
        worker = part["worker"]
        shard = Shard(number, manifest["rows"], float(worker["began"]), float(part["committed"]), float(part["seconds"]), worker["node"],
                      worker["processor"], worker["processors"], worker["threads"], worker["gpus"])
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: its 'part' is damaged ({error!r}); delete the folder and mine the shard again") from error
    if not 0 <= shard.mining <= shard.committed - shard.began + 1:
        raise InputError(f"{path}: mined for {shard.mining:.3f} s between {shard.began:.3f} and {shard.committed:.3f}; the clock of {shard.node} "
                         "was set meanwhile. Delete the folder and mine the shard again")
    return shard


def most_at_once(shards: Sequence[Shard]) -> int:
    """The most that were in work at a time."""
    # An end comes before a beginning at the same time.
    events = sorted([(shard.began, 1) for shard in shards] + [(shard.committed, -1) for shard in shards])
    now = most = 0
    for _, step in events:
        now += step
        most = max(most, now)
    return most


def idle_seconds(shards: Sequence[Shard]) -> float:
    """Between the first beginning and the last end, those in which no shard was in work."""
    idle, end = 0.0, None
    for shard in sorted(shards, key=lambda one: one.began):
        if end is not None and shard.began > end:
            idle += shard.began - end
        end = shard.committed if end is None else max(end, shard.committed)
    return idle


def facts_of(shards: Sequence[Shard], workers: int) -> dict[str, Any]:
    """Of one run by so many workers, as docs/cluster.md explains it."""
    seconds = max(shard.committed for shard in shards) - min(shard.began for shard in shards)
    working = sum(shard.committed - shard.began for shard in shards)
    mining, rows = sum(shard.mining for shard in shards), sum(shard.rows for shard in shards)
    return {"seconds": seconds, "rows_per_second": rows / seconds, "mining_seconds": mining,
            "load_share": max(0.0, 1 - mining / working), "occupied_share": working / (workers * seconds),
            "idle_seconds": idle_seconds(shards)}


def nodes_of(shards: Sequence[Shard]) -> list[dict[str, Any]]:
    """Which machines mined how many of them."""
    nodes: dict[str, dict[str, Any]] = {}
    for shard in shards:
        node = nodes.setdefault(shard.node, {"node": shard.node, "processor": shard.processor, "processors": shard.processors, "shards": 0})
        node["shards"] += 1
    return [nodes[name] for name in sorted(nodes)]
