"""Mining on a Ray cluster: plan, mine, join, or refresh, which is the three for the next version of a store. Needs Ray for mine() and
refresh() only (pip install "quarry[ray]"); docs/cluster.md is the guide.

Ray places actors and says when one is dead; all else is the program's: a shard is mined by `quarry mine --plan`, which commits it once
on storage that all nodes see. So whatever Ray loses, mine() called again goes on from the shards that are there."""
from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import Any, Callable, Iterable

from ._errors import ConfigError, Error, InputError
from ._plans import Plan, actors_on, join, locked, memory_of_nodes, plan, plan_of, plan_refresh, status
from ._plans import places_of as _places
from ._program import exit_code_of as _exit_code_of
from ._program import program as package_program

__all__ = ["Plan", "Refreshed", "Run", "ShardError", "StallError", "gpus", "join", "mine", "plan", "refresh", "status"]

_NEVER_AGAIN = (1, 2, 3)  # a fault of the program, usage, data: another try ends the same way
_PROGRESS_SECONDS = 10.0
_REPORT_SECONDS = 10.0  # for what Ray says of itself when it may not answer any more


class ShardError(Error, RuntimeError):
    """A shard failed for good. `shard`, `exit_code` (of the program; None: its actor died) and the program's words."""

    def __init__(self, words: str, shard: int, exit_code: int | None):
        super().__init__(words)
        self.shard = shard
        self.exit_code = exit_code


class StallError(Error, RuntimeError):
    """No shard, and no search of a slice, was finished for stall_timeout seconds. What is committed stays; mine() again goes on from there."""


def exit_code_of(error: BaseException) -> int:
    """With which a command of this module ends; 75 for what another call goes on from."""
    if isinstance(error, StallError):
        return 75
    if isinstance(error, ShardError):
        return error.exit_code if error.exit_code is not None and error.exit_code > 0 else 75
    return _exit_code_of(error)


@dataclasses.dataclass
class Run:
    """What mine() did. done: shards mined now. skipped: there before. retried: tries that failed and were made again, as
    (shard, reason). seconds: of all; rows: of the shards mined now; searched: searches of slices of the items made now."""
    plan: Plan
    done: list[int]
    skipped: list[int]
    retried: list[tuple[int, str]]
    rows: int
    seconds: float
    searched: list[int] = dataclasses.field(default_factory=list)

    def report(self) -> str:
        """A sentence."""
        rate = self.rows / self.seconds if self.seconds > 0 else 0.0
        searched = f"{len(self.searched)} slices searched, " if self.searched else ""
        return (f"{searched}{len(self.done)} shards mined, {len(self.skipped)} were there, {len(self.retried)} tries again; {self.rows} rows in "
                f"{self.seconds:.1f} s ({rate:.0f} rows/s)")


@dataclasses.dataclass
class Refreshed:
    """What refresh() did. version: its number in the store; was_there: the same run was a version already, and nothing was mined.
    rows_taken: of version `parent`. run: of the rows that were mined."""
    store: str
    version: int
    was_there: bool
    content_hash: str
    parent: int
    rows_mined: int
    rows_taken: int
    run: Run

    def report(self) -> str:
        """Sentences."""
        if self.was_there:
            return f"nothing changed that version {self.version} of {self.store} does not know"
        return (f"{self.run.report()}\nversion {self.version} of {self.store}: {self.rows_mined} rows mined, {self.rows_taken} taken from "
                f"version {self.parent}")


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ImportError('quarry.ray.mine needs Ray: pip install "quarry[ray]"') from error
    return ray


def gpus() -> int:
    """GPUs of the cluster that this process is connected to."""
    return int(_ray().cluster_resources().get("GPU", 0))


def _die_with_parent() -> None:
    """In the program's process: SIGTERM when its actor is killed, so that no shard is mined for nobody."""
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)


class _Miner:
    """An actor. Holds nothing: inputs are mapped by the program, once per node in the page cache."""

    def where(self) -> tuple[str, int]:
        return os.uname().nodename, os.getpid()

    def mine(self, program: str | None, plan: str, what: str, number: int, flags: list[str]) -> dict[str, Any]:
        command = [program or package_program(), "mine", "--plan", plan, what, str(number), "--json", *flags]
        start = time.monotonic()
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
                              preexec_fn=_die_with_parent)
        return {"exit_code": done.returncode, "out": done.stdout, "words": done.stderr.strip()[-4000:],
                "seconds": time.monotonic() - start}


@dataclasses.dataclass(frozen=True)
class _Work:
    """A shard, or the search of one slice of the items for one shard."""
    what: str  # the program's flag
    number: int
    shard: int
    slice: int = -1

    def __str__(self) -> str:
        return f"{self.what[2:]} {self.number}"


@dataclasses.dataclass
class _Task:
    actor: Any
    work: _Work
    start: float


class _Waiting:
    """Work that no actor has. A shard waits for the searches that it is mined from; an actor gets searches of the slice that it had last,
    which its node has in memory."""

    def __init__(self, shards: Iterable[int], searches: Iterable[int], slices: int):
        self.ready: deque[_Work] = deque()
        self.searches: dict[int, deque[_Work]] = {}  # by slice
        self.needs: dict[int, set[int]] = {}
        self.all_searches: list[int] = []  # that were ever waited for, one made again twice
        self.slices = slices
        for number in searches:
            self._add_search(number)
        for shard in shards:
            if shard not in self.needs:
                self.ready.append(_Work("--shard", shard, shard))

    def _add_search(self, number: int) -> None:
        work = _Work("--search", number, number // self.slices, number % self.slices)
        self.searches.setdefault(work.slice, deque()).append(work)
        self.needs.setdefault(work.shard, set()).add(number)
        self.all_searches.append(number)

    def __bool__(self) -> bool:
        return bool(self.ready) or any(self.searches.values())

    def take(self, last_slice: int) -> _Work:
        if self.ready:
            return self.ready.popleft()
        # Of the others the slice with most left: the least of them is another actor's, probably.
        best = max(self.searches, key=lambda s: (bool(self.searches[s]) and s == last_slice, len(self.searches[s])))
        return self.searches[best].popleft()

    def put_back(self, work: _Work) -> None:
        (self.ready if work.slice < 0 else self.searches[work.slice]).append(work)

    def search_again(self, shard: int, searches: Iterable[int]) -> bool:
        """A shard whose searches were damaged waits for them anew. False: there are none to make."""
        for number in searches:
            if number // self.slices == shard:
                self._add_search(number)
        return bool(self.needs.get(shard))

    def searched(self, work: _Work) -> None:
        needs = self.needs[work.shard]
        needs.discard(work.number)
        if not needs:
            self.ready.append(_Work("--shard", work.shard, work.shard))

    def numbers(self) -> list[str]:
        return [str(work) for work in self.ready] + [str(work) for some in self.searches.values() for work in some]


class _Driver:
    """Hands work to actors, replaces dead ones, and knows when nothing moves any more."""

    def __init__(self, ray: Any, plan: Plan, program: str | None, flags: list[str], options: dict[str, Any], workers: int, retries: int,
                 stall_timeout: float, progress: Callable[[str], None]):
        self.ray, self.plan, self.program, self.flags = ray, plan, program, flags
        self.remote = ray.remote(_Miner).options(**options)
        self.workers, self.retries, self.stall_timeout, self.progress = workers, retries, stall_timeout, progress
        self.idle: deque[Any] = deque()
        self.tasks: dict[Any, _Task] = {}
        self.actors: set[Any] = set()
        self.last_slice: dict[Any, int] = {}  # by actor
        self.tries: dict[_Work, int] = {}
        self.retried: list[tuple[int, str]] = []
        self.searched: list[int] = []
        self.rows = 0

    def mine(self, shards: list[int], searches: list[int]) -> list[int]:
        waiting = _Waiting(shards, searches, self.plan.slices)
        done: list[int] = []
        wanted, start = len(shards), time.monotonic()
        for _ in range(min(self.workers, len(shards) + len(searches))):
            self._add_actor()
        moved = said = start
        try:
            while len(done) < wanted:
                while waiting and self.idle:
                    actor = self.idle.popleft()
                    self._hand_out(actor, waiting.take(self.last_slice.get(actor, -1)))
                left = moved + self.stall_timeout - time.monotonic()
                ready, _ = self.ray.wait(list(self.tasks), num_returns=1, timeout=max(0.0, min(left, 1.0)))
                now = time.monotonic()
                for ref in ready:
                    task = self.tasks.pop(ref)
                    if not self._finish(ref, task):
                        if not self._lacks_searches(task.work, waiting):
                            waiting.put_back(task.work)
                        continue
                    moved = now
                    if task.work.slice < 0:
                        done.append(task.work.shard)
                    else:
                        self.searched.append(task.work.number)
                        waiting.searched(task.work)
                if now - said >= _PROGRESS_SECONDS or (len(done) == wanted and ready):
                    said = now
                    self._say(len(done), wanted, len(waiting.all_searches), now - start)
                if not ready and now - moved >= self.stall_timeout:
                    raise StallError(self._stalled(now, waiting))
        finally:
            for actor in self.actors:
                self.ray.kill(actor, no_restart=True)
        return done

    def _add_actor(self) -> None:
        actor = self.remote.remote()
        self.actors.add(actor)
        self.idle.append(actor)

    def _hand_out(self, actor: Any, work: _Work) -> None:
        self.tries[work] = self.tries.get(work, 0) + 1
        if work.slice >= 0:
            self.last_slice[actor] = work.slice
        ref = actor.mine.remote(self.program, self.plan.path, work.what, work.number, self.flags)
        self.tasks[ref] = _Task(actor, work, time.monotonic())

    def _finish(self, ref: Any, task: _Task) -> bool:
        """True: what it made is committed. False: it is to be tried again."""
        try:
            result = self.ray.get(ref)
        except self.ray.exceptions.RayTaskError as error:  # it lives: the program could not be started there
            self.idle.append(task.actor)
            return self._again(task.work, None, "its actor could not run the program", str(error).strip()[-2000:])
        except self.ray.exceptions.RayError as error:  # the actor or its node died
            self.actors.discard(task.actor)
            self._add_actor()
            return self._again(task.work, None, f"its actor died ({type(error).__name__})", str(error).strip()[-2000:])
        self.idle.append(task.actor)
        code = result["exit_code"]
        if code == 0:
            told = json.loads(result["out"])
            self._check_plan(told["plan_hash"])
            if task.work.slice < 0:
                self.rows += told["rows"]
            return True
        if os.path.exists(self.plan.path):  # what failed may be that it is another plan's
            self._check_plan(Plan.read(self.plan.path).plan_hash)
        reason = f"signal {-code}" if code < 0 else f"exit code {code}"
        if code in _NEVER_AGAIN:
            raise ShardError(f"{task.work}: {reason}: {result['words']}", task.work.shard, code)
        return self._again(task.work, code, reason, result["words"])

    def _check_plan(self, plan_hash: str) -> None:
        if plan_hash != self.plan.plan_hash:
            raise InputError(f"{self.plan.path}: became another plan while it was mined (hash {plan_hash}, was {self.plan.plan_hash}); give each "
                             "run a plan file of its own, and call again")

    def _lacks_searches(self, work: _Work, waiting: _Waiting) -> bool:
        """True: what a shard is mined from was damaged or lost meanwhile; it waits for that to be made again."""
        if work.slice >= 0 or self.plan.slices == 0:
            return False
        return waiting.search_again(work.shard, map(int, status(self.plan, program=self.program)["searches_missing"]))

    def _again(self, work: _Work, code: int | None, reason: str, words: str) -> bool:
        if self.tries[work] > self.retries:
            raise ShardError(f"{work}: {reason} at try {self.tries[work]} (retries={self.retries}): {words}", work.shard, code)
        self.retried.append((work.shard, reason))
        self.progress(f"{work}: {reason}; tried again")
        return False

    def _say(self, done: int, wanted: int, searches: int, seconds: float) -> None:
        rate = self.rows / seconds if seconds > 0 else 0.0
        made, whole = done + len(self.searched), wanted + searches
        left = f", about {seconds / made * (whole - made):.0f} s left" if 0 < made < whole else ""
        first = f"{len(self.searched)} of {searches} searches of slices, " if searches else ""
        self.progress(f"{first}{done} of {wanted} shards, {rate:.0f} rows/s{left}")

    def _stalled(self, now: float, waiting: _Waiting) -> str:
        lines = [f"nothing was finished for {self.stall_timeout:.0f} s; what is committed stays, mine() again goes on from there"]
        for task in self.tasks.values():
            lines.append(f"  actor {task.actor._actor_id.hex()[:12]}: {task.work} for {now - task.start:.0f} s")
        lines.append(f"  without an actor: {', '.join(waiting.numbers()) or 'none'}; actors asked for: {len(self.actors)}")
        lines.append("  " + self._resources())
        self.progress("\n".join(lines))
        return "\n".join(lines)

    def _resources(self) -> str:
        """A cluster that has lost its head may not answer: it is not waited for."""
        told: list[str] = []

        def ask() -> None:
            nodes = sum(1 for node in self.ray.nodes() if node.get("Alive"))
            told.append(f"cluster: {nodes} nodes alive, resources {self.ray.cluster_resources()}, free {self.ray.available_resources()}")

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(_REPORT_SECONDS)
        return told[0] if told else f"the cluster does not answer within {_REPORT_SECONDS:.0f} s"


def _threads(places: list[dict[str, float]], workers: int, num_gpus: float) -> int:
    """Threads of an actor, so that those of a node fit its CPUs: the fewest of any node, for Ray spreads actors as it likes."""
    threads = [int(place.get("CPU", 1)) // actors_on(place, len(places), workers, num_gpus) for place in places]
    return max(1, min(threads, default=1))


def _say_on_stderr(words: str) -> None:
    print(f"quarry.ray: {words}", file=sys.stderr, flush=True)


def mine(plan: Any, *, workers: int | None = None, num_cpus: float = 0, num_gpus: float | None = None, threads: int | None = None,
         retries: int = 3, stall_timeout: float = 600, address: str | None = None, program: str | None = None,
         progress: Callable[[str], None] | None = None) -> Run:
    """Mines the shards of a plan that are missing, on actors of a Ray cluster. Returns when all are committed; join() follows.

    plan: a Plan, or its path. workers: actors; default: one per GPU, or one per node where there is none. num_cpus, num_gpus: what Ray sets
    aside for an actor; num_gpus defaults to 1 where the cluster has GPUs, but for a plan with slices of the items, which CPUs search. With
    num_cpus=0 an actor never waits for a CPU that another holds; actors that do hang a small cluster. threads: of each; default: a node's CPUs
    over the actors that it gets. retries: further tries of a shard, or the search of a slice, whose actor died or which ended with 4 to 8, 75 or
    a signal. stall_timeout: seconds without a finished one (longer than the longest takes) until StallError. address: of the cluster, where ray.init() was not called; None: $RAY_ADDRESS, else this machine.
    program: path of `quarry` on the nodes; default: that of the package there. progress: gets lines; default: standard error.

    Raises ShardError, StallError, and what `quarry shards status` raises. In each case what is committed stays."""
    if retries < 0 or stall_timeout <= 0 or (workers is not None and workers < 1) or (threads is not None and threads < 1):
        raise ConfigError("retries must be 0 or more, workers, threads and stall_timeout above 0")
    the_plan = plan_of(plan)
    say = progress or _say_on_stderr
    start = time.monotonic()
    state = status(the_plan, program=program)
    missing, searches = list(map(int, state["missing"])), list(map(int, state["searches_missing"]))
    skipped = sorted(set(range(the_plan.shards)) - set(missing))
    if not missing:
        return Run(the_plan, [], skipped, [], 0, time.monotonic() - start)
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        ray.init(address=address, log_to_driver=False)
    try:
        there = ray.cluster_resources()
        if num_gpus is None:
            num_gpus = 0 if the_plan.slices else 1 if there.get("GPU", 0) >= 1 else 0
        if workers is None and num_gpus > there.get("GPU", 0):
            raise ConfigError(f"num_gpus={num_gpus:g}: the cluster has {there.get('GPU', 0):g} GPUs; give workers where it will get more, or "
                              "num_gpus=0")
        places = _places(ray.nodes(), num_gpus)
        if workers is None:
            workers = int(there["GPU"] // num_gpus) if num_gpus > 0 else len(places)
        workers = max(1, min(workers, len(missing) + len(searches)))
        if (has := memory_of_nodes(workers, num_gpus)) is not None and the_plan.worker_needs > has:
            say(f"an actor's program needs about {the_plan.worker_needs >> 20} MiB and has {has >> 20} MiB, a node's `memory` over its actors: "
                "plan with item_slices=\"auto\", or take fewer workers")
        if threads is None:
            threads = _threads(places, workers, num_gpus)
        flags = ["--threads", str(threads), "--device", "cuda:0" if num_gpus > 0 else "cpu"]
        options = {"num_cpus": num_cpus, "num_gpus": num_gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        driver = _Driver(ray, the_plan, program, flags, options, workers, retries, stall_timeout, say)
        done = driver.mine(missing, searches)
        return Run(the_plan, sorted(done), skipped, driver.retried, driver.rows, time.monotonic() - start, sorted(driver.searched))
    finally:
        if own:
            ray.shutdown()


def refresh(store: Any, *, plan_file: Any = None, shards: int | str = "auto", item_slices: int | str = 1,
            worker_memory: int | str | None = None, config: Any = None, tag: Any = None, note: str | None = None, clean: bool = True,
            workers: int | None = None, num_cpus: float = 0, num_gpus: float | None = None, threads: int | None = None, retries: int = 3,
            stall_timeout: float = 600, address: str | None = None, program: str | None = None, progress: Callable[[str], None] | None = None,
            **options: Any) -> Refreshed:
    """Adds the next version to a store, as `quarry refresh` does, with the rows that have to be mined on actors of a Ray cluster.

    store: STORE or STORE@VERSION. plan_file: where the plan lies, its shards beside it; default: <STORE>.refresh.json. shards, item_slices,
    worker_memory, config, options: as of plan(), where the memory of a connected Ray is that of a node over the actors that it gets of
    `workers`; options say what is new, all else is as the version records it: refresh("negatives", more_events="monday.csv", as_of="latest").
    tag, note: of the version. clean: removes the plan and its shards at the end. The others are those of mine().

    Called again after any failure it goes on from the shards that are there, if inputs and store are what they were, and else plans anew.
    Raises what plan(), mine() and join() raise; LockedError while another process is at it with the same plan_file; InputError also where
    another process added a version meanwhile. Nothing is added then."""
    name = os.path.abspath(os.fspath(store))
    folder = name if os.path.isdir(name) or "@" not in name else name.rpartition("@")[0]
    path = os.path.abspath(os.fspath(plan_file)) if plan_file is not None else folder + ".refresh.json"
    with locked(path):
        if item_slices == "auto" and worker_memory is None:
            worker_memory = memory_of_nodes(workers, num_gpus)
        the_plan = plan_refresh(path, folder, shards, refresh=name, item_slices=item_slices, worker_memory=worker_memory, config=config,
                                program=program, **options)
        run = mine(the_plan, workers=workers, num_cpus=num_cpus, num_gpus=num_gpus, threads=threads, retries=retries,
                   stall_timeout=stall_timeout, address=address, program=program, progress=progress)
        joined = join(the_plan, clean=clean, program=program, tag=tag, note=note)
        if clean:
            os.remove(path)
    return Refreshed(the_plan.store, joined["version"], joined["was_there"], joined["content_hash"], the_plan.parent, joined["rows_mined"],
                     joined["rows_taken"], run)


def main() -> int:
    """python -m quarry.ray PLAN ...: mine() and join(); returns an exit code, 75 for what another call goes on from."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m quarry.ray", description="Mines the missing shards of a plan on Ray, then joins.")
    parser.add_argument("plan")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--num-cpus", type=float, default=0)
    parser.add_argument("--num-gpus", type=float)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--stall-timeout", type=float, default=600)
    parser.add_argument("--address")
    parser.add_argument("--program")
    parser.add_argument("--out", help="folder of the joined set; without it and --store nothing is joined")
    parser.add_argument("--store", help="instead of --out: adds a version to a store; of a refresh to its own")
    parser.add_argument("--clean", action="store_true", help="then remove the shards' folders")
    args = parser.parse_args()
    if args.out and args.store:
        parser.error("--out and --store: give one of the two")
    if args.clean and not (args.out or args.store):
        parser.error("--clean is for --out or --store: shards that are not joined are not removed")
    try:
        run = mine(args.plan, workers=args.workers, num_cpus=args.num_cpus, num_gpus=args.num_gpus, threads=args.threads,
                   retries=args.retries, stall_timeout=args.stall_timeout, address=args.address, program=args.program)
        print(run.report())
        if args.out or args.store:
            print(join(args.plan, out=args.out, store=args.store, clean=args.clean, program=args.program)["content_hash"])
        return 0
    except (Error, ImportError) as error:
        if not isinstance(error, StallError):  # whose words are said already
            _say_on_stderr(str(error))
        return exit_code_of(error)


if __name__ == "__main__":
    sys.exit(main())
