"""Runs by several numbers of workers in turns, each of a plan that is mined anew: on Ray, or by processes of this machine."""
from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import threading
import time
from typing import Any, Callable, Sequence

from .. import ray as quarry_ray
from .._errors import ConfigError, InputError
from .._program import run_program
from .shards import facts_of, nodes_of, read_plan

Say = Callable[[str], None]
#: run(plan, workers) mines all shards of it.
Engine = Callable[[str, int], None]


def processes(program: str, threads: int) -> Engine:
    """Workers are processes here, which take the next shard."""

    def mine(plan: str, workers: int) -> None:
        waiting: "queue.SimpleQueue[int]" = queue.SimpleQueue()
        for number in range(quarry_ray.Plan.read(plan).shards):
            waiting.put(number)
        failed: list[BaseException] = []

        def work() -> None:
            while not failed:
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    run_program(program, "mine", "--plan", plan, "--shard", str(number), "--threads", str(threads), "--device", "cpu")
                except Exception as error:
                    failed.append(error)

        threads_of_workers = [threading.Thread(target=work) for _ in range(workers)]
        for thread in threads_of_workers:
            thread.start()
        for thread in threads_of_workers:
            thread.join()
        if failed:
            raise failed[0]

    return mine


def on_ray(program: str | None, threads: int, num_gpus: float, stall_timeout: float, say: Say) -> Engine:
    """Workers are actors of the cluster that this process is connected to."""

    def mine(plan: str, workers: int) -> None:
        run = quarry_ray.mine(plan, workers=workers, threads=threads, num_gpus=num_gpus, program=program, stall_timeout=stall_timeout, progress=say)
        if run.retried:
            raise InputError(f"{len(run.retried)} shards were tried again ({run.retried[0][1]}); times of a run with failures say nothing of "
                             "scaling. See to it, then measure again")

    return mine


class Turns:
    """One process, then each number of workers, as often as asked for; the other way round every second time, so that what changes
    meanwhile is no one's gain."""

    def __init__(self, program: str | None, folder: str, flags: Sequence[str], shards: int, threads: int, gpus: int, engine: Engine, say: Say):
        self.program, self.folder, self.flags, self.shards = program, folder, list(flags), shards
        self.threads, self.gpus, self.engine, self.say = threads, gpus, engine, say
        self.singles: list[dict[str, Any]] = []
        self.runs: dict[int, list[dict[str, Any]]] = {}
        self.nodes: list[dict[str, Any]] = []
        self.content_hash = ""
        self.run_of_plan: dict[str, Any] = {}
        self.k = self.rows = self.num_shards = 0

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _program(self, *arguments: str) -> str:
        return run_program(self.program, *arguments)[1]

    def measure(self, workers: Sequence[int], repetitions: int) -> None:
        # Untimed: it brings the inputs into memory, as all later runs find them, and says which hash is right.
        self._single(timed=False)
        self._plan()
        for turn in range(repetitions):
            steps: list[int] = [0, *workers]
            for step in steps if turn % 2 == 0 else reversed(steps):
                if step == 0:
                    self._single(timed=True)
                else:
                    self._run(turn, step)

    def _single(self, timed: bool) -> None:
        load = os.getloadavg()[0]
        told = json.loads(self._program("mine", "--no-audit", *self.flags, "--threads", str(self.threads), "--device",
                                        "auto" if self.gpus else "cpu", "--out", self._path("single"), "--json"))
        shutil.rmtree(self._path("single"))
        self._check_hash(told["content_hash"], "one process")
        if timed:
            times = told["run"]["seconds"]
            seconds = sum(times[name] for name in ("load", "prepare", "mine"))
            self.singles.append({"seconds": seconds, "mining_seconds": times["mine"], "rows_per_second": told["run"]["fill"]["rows"] / seconds,
                                 "load_average_before": load})
            self.say(f"one process: {seconds:.1f} s")

    def _check_hash(self, content_hash: str, what: str) -> None:
        if self.content_hash and content_hash != self.content_hash:
            raise InputError(f"the set of {what} has the content hash {content_hash}, that of the first run {self.content_hash}: a machine computes "
                             "otherwise, or the inputs changed meanwhile. Rates of different answers are not compared")
        self.content_hash = content_hash

    def _plan(self) -> None:
        self._program("shards", "plan", *self.flags, "--shards", str(self.shards), "--probe-seconds", "0", "--out", self._path("plan.json"))
        self.num_shards = quarry_ray.Plan.read(self._path("plan.json")).shards

    def _run(self, turn: int, workers: int) -> None:
        plan, load, start = self._path("plan.json"), os.getloadavg()[0], time.monotonic()
        self.engine(plan, workers)
        call = time.monotonic() - start
        done = read_plan(plan)
        start = time.monotonic()
        joined = json.loads(self._program("shards", "join", plan, "--out", self._path("joined"), "--clean", "--json"))
        joining = time.monotonic() - start
        shutil.rmtree(self._path("joined"))
        self._check_hash(joined["content_hash"], f"{workers} workers")
        facts = facts_of(done.shards, workers)
        self.runs.setdefault(workers, []).append({"turn": turn, **facts, "call_seconds": call, "join_seconds": joining,
                                                  "load_average_before": load, "nodes": nodes_of(done.shards)})
        self.rows, self.k, self.run_of_plan = sum(shard.rows for shard in done.shards), done.k, done.run
        self.say(f"{workers} workers: {facts['seconds']:.1f} s, {facts['rows_per_second']:.0f} rows/s")


def check_workers(workers: Sequence[int], shards: int) -> None:
    if max(workers) > shards:
        raise ConfigError(f"--workers: {max(workers)} workers cannot share {shards} shards; give --shards a multiple of the most workers, some "
                          "eight for each")
