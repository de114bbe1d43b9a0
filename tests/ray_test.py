#!/usr/bin/env python3
"""quarry.ray on one machine: two actors, of which one is killed and one stalls; what is joined is what one process mines, nothing hangs,
and a second call goes on.

  tests/ray_test.py PROGRAM

Run it with a Python that has the package and Ray (pip install ".[ray]"); else it ends with 77, which means skipped."""
import dataclasses
import fcntl
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import types
import unittest
import unittest.mock

from python_package import or_skip

os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray asks for it in a warning
with or_skip('pip install ".[ray]"'):
    import ray

    import quarry
    import quarry.ray

from program import manifest_of, rows_of
from program import quarry as run_program

SHARDS = 16
AS_OF = 1631536000
PROGRAM = ""

# Stands between the actors and the program. Files in FAULTS say what is to happen to a shard, once each.
WRAPPER = """#!{python}
import os, signal, sys, time
what = "--shard" if "--shard" in sys.argv else "--search"
if what not in sys.argv:
    os.execv({program!r}, [{program!r}] + sys.argv[1:])
shard = ("" if what == "--shard" else "s") + sys.argv[sys.argv.index(what) + 1]
def once(fault):
    try:
        os.remove(os.path.join({faults!r}, fault + shard))
        return True
    except FileNotFoundError:
        return False
if once("kill_actor"):
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)
if once("crash"):
    os.environ["QUARRY_CRASH_AT"] = "3" if shard[0] == "s" else "20"
if once("stall"):
    open(os.path.join({faults!r}, "stalling"), "w").write(str(os.getpid()))
    time.sleep(600)
if once("bad_data"):
    sys.stderr.write("quarry: bad data: planted\\n")
    sys.exit(3)
if once("stop"):
    sys.exit(75)
open(os.path.join({faults!r}, "run"), "a").write(shard + "\\n")
os.execv({program!r}, [{program!r}] + sys.argv[1:])
"""


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class RayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.root = cls.dir.name
        run_program(PROGRAM, "synth", "--out", cls.root, "--users", 150, "--items", 600, "--dim", 16, "--force")
        cls.faults = cls.path("faults")
        os.mkdir(cls.faults)
        cls.wrapper = cls.path("wrapper")
        with open(cls.wrapper, "w", encoding="utf-8") as file:
            file.write(WRAPPER.format(python=sys.executable, faults=cls.faults, program=PROGRAM))
        os.chmod(cls.wrapper, os.stat(cls.wrapper).st_mode | stat.S_IXUSR)
        cls.inputs = {"items": cls.path("items.npy"), "users": cls.path("users.npy"), "events": cls.path("events.csv"),
                      "catalogue": cls.path("catalogue.csv"), "as_of": AS_OF, "recipe": "balanced"}
        run_program(PROGRAM, "mine", *[f"--{name.replace('_', '-')}={value}" for name, value in cls.inputs.items()], "--out",
                    cls.path("single"))
        ray.init(num_cpus=2, log_to_driver=False)  # one cluster for all: each start costs seconds

    @classmethod
    def tearDownClass(cls):
        ray.shutdown()
        cls.dir.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.root, name)

    def fault(self, name):
        open(os.path.join(self.faults, name), "w").close()

    def plan(self, name, shards=SHARDS):
        return quarry.ray.plan(self.path(name), shards=shards, probe_seconds=0, program=PROGRAM, **self.inputs)

    def mine(self, plan, **more):
        self.words = []
        options = {"workers": 2, "threads": 1, "program": self.wrapper, "progress": self.words.append, **more}
        return quarry.ray.mine(plan, **options)

    def ran(self):
        """Shards that the program was started for since the last call."""
        path = os.path.join(self.faults, "run")
        if not os.path.exists(path):
            return []
        with open(path) as file:
            shards = [line.strip() if line[0] == "s" else int(line) for line in file]
        os.remove(path)
        return shards

    def test_killed_workers(self):
        """An actor dies in a shard, a program in another, one is stopped: same set, no shard missing."""
        plan = self.plan("killed.json")
        self.assertEqual(plan.shards, SHARDS)
        for name in ("kill_actor4", "crash9", "stop11"):
            self.fault(name)
        with self.assertRaisesRegex(quarry.ConfigError, "0-15"):
            quarry.ray.join(plan, out=self.path("joined"), program=PROGRAM)
        run = self.mine(plan)
        self.assertEqual(run.done, list(range(SHARDS)))
        self.assertEqual(run.skipped, [])
        self.assertEqual(sorted(shard for shard, _ in run.retried), [4, 9, 11])
        reasons = dict(run.retried)
        self.assertIn("actor died", reasons[4])
        self.assertIn("signal 9", reasons[9])
        self.assertIn("75", reasons[11])
        self.assertTrue(any("16 of 16 shards" in words for words in self.words), self.words)
        joined = quarry.ray.join(plan, out=self.path("joined"), program=PROGRAM)
        self.assertEqual(joined["content_hash"], manifest_of(self.path("single"))["content_hash"])
        self.assertEqual(repr(rows_of(self.path("joined"))[0]), repr(rows_of(self.path("single"))[0]))
        self.ran()
        again = self.mine(plan)
        self.assertEqual((again.done, again.skipped), ([], list(range(SHARDS))))
        self.assertEqual(self.ran(), [], "shards that are there were started again")

    def test_stalled_worker(self):
        """One shard never ends: the others are done, the watchdog speaks, the program behind the actor is gone, and a second call
        mines that shard alone."""
        plan = self.plan("stalled.json")
        self.fault("stall6")
        start = time.monotonic()
        with self.assertRaises(quarry.ray.StallError) as caught:
            self.mine(plan, stall_timeout=15)
        self.assertLess(time.monotonic() - start, 150)
        words = str(caught.exception)
        self.assertIn("shard 6 for", words)
        self.assertIn("resources", words)
        self.assertIn(words, self.words)
        self.assertEqual(quarry.ray.status(plan, program=PROGRAM)["missing"], [6])
        with open(os.path.join(self.faults, "stalling")) as file:
            stalled = int(file.read())
        end = time.monotonic() + 20
        while is_alive(stalled) and time.monotonic() < end:
            time.sleep(0.1)
        self.assertFalse(is_alive(stalled), "a program goes on though its actor was killed")
        self.ran()
        run = self.mine(plan)
        self.assertEqual(run.done, [6])
        self.assertEqual(len(run.skipped), SHARDS - 1)
        self.assertEqual(self.ran(), [6])
        joined = quarry.ray.join(plan, store=self.path("store"), tag="ray", program=PROGRAM)
        self.assertEqual(joined["content_hash"], manifest_of(self.path("single"))["content_hash"])

    def night(self, name, every, kind="purchase"):
        """A log in which users of every so many-th event there is do something with the item of the next."""
        with open(self.path("events.csv"), encoding="utf-8") as file:
            header, *lines = file.read().splitlines()
        pairs = [(line.split(",")[0], after.split(",")[1]) for line, after in zip(lines, lines[1:])]
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(header + "\n" + "".join(f"{user},{item},1600000100,{kind},\n" for user, item in pairs[::every]))
        return self.path(name)

    def refresh(self, store, **more):
        self.words = []
        options = {"shards": 8, "probe_seconds": 0, "workers": 2, "threads": 1, "program": self.wrapper, "progress": self.words.append, **more}
        return quarry.ray.refresh(store, **options)

    def same_version(self, one, other, number):
        (rows, a), (other_rows, b) = rows_of(one, number), rows_of(other, number)
        self.assertEqual([s["path"] for s in a["shards"]], [s["path"] for s in b["shards"]])
        self.assertEqual(repr(rows), repr(other_rows))
        for key in ("identity", "parents", "taken", "note", "model"):
            self.assertEqual(a["store"][key], b["store"][key], key)
        for key in ("fill", "strata", "branches", "dropped", "events", "rows", "warnings"):
            self.assertEqual(a["run"][key], b["run"][key], key)

    def test_refresh(self):
        """The next versions of a store: an actor dies in a shard, a program in another; a call that failed for good is given again and goes on;
        one of other inputs plans anew. Each time the version is that of one process."""
        store, whole = self.path("nightly"), self.path("nightly_whole")
        run_program(PROGRAM, "mine", *[f"--{name.replace('_', '-')}={value}" for name, value in self.inputs.items()], "--store", store)
        shutil.copytree(store, whole)
        monday = self.night("monday.csv", 160)
        run_program(PROGRAM, "refresh", whole, "--more-events", monday, "--note", "monday")
        for name in ("kill_actor2", "crash5"):
            self.fault(name)
        self.ran()
        done = self.refresh(store, more_events=monday, tag="night", note="monday", item_slices="auto")
        self.assertEqual((done.version, done.was_there, done.parent), (2, False, 1))
        self.assertEqual(done.run.done, list(range(8)))
        self.assertEqual(sorted(shard for shard, _ in done.run.retried), [2, 5])
        self.assertIn("actor died", dict(done.run.retried)[2])
        self.assertTrue(0 < done.rows_mined < done.rows_taken)
        self.assertEqual(done.run.rows, done.rows_mined)
        self.assertIn(f"{done.rows_mined} rows mined, {done.rows_taken} taken from version 1", done.report())
        self.assertTrue(any("8 of 8 shards" in words for words in self.words), self.words)
        self.same_version(store, whole, 2)
        self.assertEqual([name for name in os.listdir(self.root) if name.startswith("nightly.")], [], "plan or shards are left")
        self.ran()
        again = self.refresh(store, more_events=monday)
        self.assertEqual((again.version, again.was_there, again.run.done, self.ran()), (2, True, [], []))
        self.assertIn("nothing changed that version 2", again.report())
        # Tuesday's fails for good in a shard; others are there. Given again, with the number of shards left to it, it mines what is missing.
        tuesday = self.night("tuesday.csv", 147)
        self.fault("bad_data3")
        with self.assertRaises(quarry.ray.ShardError):
            self.refresh(store, more_events=tuesday)
        plan = quarry.ray.Plan.read(self.path("nightly.refresh.json"))
        self.assertEqual((plan.store, plan.parent, plan.shards), (store, 2, 8))
        missing = quarry.ray.status(plan, program=PROGRAM)["missing"]
        self.assertTrue(3 in missing and len(missing) < 8, missing)
        self.ran()
        # One more night came before: it is of other inputs, and plans anew.
        self.fault("bad_data0")
        wednesday = self.night("wednesday.csv", 131, "dislike")
        with self.assertRaises(quarry.ray.ShardError):
            self.refresh(store, more_events=[tuesday, wednesday], shards="auto", shard_seconds=0.001)
        plan = quarry.ray.Plan.read(self.path("nightly.refresh.json"))
        there = [name for name in os.listdir(self.path("nightly.refresh.shards")) if name[0] != "."]
        self.assertTrue(all(name.startswith(plan.plan_hash[:16]) for name in there), "shards of the plan before are left")
        missing = quarry.ray.status(plan, program=PROGRAM)["missing"]
        self.assertIn(0, missing)
        self.ran()
        done = self.refresh(store, more_events=[tuesday, wednesday], shards="auto", shard_seconds=0.001)
        self.assertEqual((sorted(done.run.done), len(done.run.skipped)), (missing, plan.shards - len(missing)))
        self.assertEqual(sorted(self.ran()), missing)
        run_program(PROGRAM, "refresh", whole, "--more-events", tuesday, "--more-events", wednesday)
        self.assertEqual(done.version, 3)
        self.same_version(store, whole, 3)
        # Another process adds a version between plan and join.
        plan = quarry.ray.plan(self.path("late.json"), refresh=f"{store}@3", seed=5, shards=2, probe_seconds=0, program=PROGRAM)
        self.mine(plan)
        run_program(PROGRAM, "refresh", store, "--seed", 6)
        with self.assertRaisesRegex(quarry.InputError, "newest version is 4, and was 3"):
            quarry.ray.join(plan, program=PROGRAM)
        with self.assertRaisesRegex(quarry.ConfigError, "plan of `quarry mine`"):
            self.refresh(store, plan_file=self.plan("mine_plan.json", 2).path)
        with self.assertRaisesRegex(quarry.ConfigError, "refresh of .*nightly, not of .*nightly_whole"):
            self.refresh(whole, plan_file=plan.path)
        with open(store + ".refresh.json.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            with self.assertRaisesRegex(quarry.LockedError, "another process refreshes by this plan"):
                self.refresh(store)

    def test_a_plan_that_becomes_another(self):
        """Whoever mines by a plan does not take shards of the one that took its place for its own."""
        for name, fault in (("swapped.json", None), ("failing.json", "bad_data0")):
            plan = self.plan(name, 1)
            if fault:
                self.fault(fault)
            with self.assertRaisesRegex(quarry.InputError, f"{name}: became another plan .*hash {plan.plan_hash}"):
                self.mine(dataclasses.replace(plan, plan_hash="0" * len(plan.plan_hash)))

    def test_item_slices(self):
        """Items in two slices, two actors: same set, though an actor dies in a search, a program in another and one in a shard. A search whose
        file is damaged is made again."""
        plan = quarry.ray.plan(self.path("sliced.json"), shards=SHARDS, item_slices=2, probe_seconds=0, program=PROGRAM, **self.inputs)
        self.assertEqual((plan.shards, plan.slices), (SHARDS, 2))
        for name in ("kill_actors5", "crashs8", "stops31", "crash9"):
            self.fault(name)
        self.ran()
        run = self.mine(plan)
        self.assertEqual((run.done, run.searched), (list(range(SHARDS)), list(range(2 * SHARDS))))
        self.assertEqual(sorted(shard for shard, _ in run.retried), [2, 4, 9, 15])
        self.assertTrue(any("32 of 32 searches of slices, 16 of 16 shards" in words for words in self.words), self.words)
        order = self.ran()
        for shard in range(SHARDS):
            self.assertGreater(order.index(shard), max(order.index(f"s{2 * shard}"), order.index(f"s{2 * shard + 1}")))
        joined = quarry.ray.join(plan, out=self.path("of_slices"), program=PROGRAM)
        self.assertEqual(joined["content_hash"], manifest_of(self.path("single"))["content_hash"])
        self.assertEqual(repr(rows_of(self.path("of_slices"))[0]), repr(rows_of(self.path("single"))[0]))
        with open(plan.path) as file:
            outputs = self.path("sliced.shards"), json.load(file)["shards"][3]["output"]
        shutil.rmtree(os.path.join(*outputs))
        with open(os.path.join(outputs[0], outputs[1] + ".items-0001"), "r+b") as file:
            file.write(b"damage")
        again = self.mine(plan)
        self.assertEqual((again.done, again.searched, again.retried), ([3], [7], [(3, "exit code 8")]))
        self.assertEqual(quarry.ray.join(plan, out=self.path("of_slices"), overwrite=True, clean=True, program=PROGRAM)["content_hash"],
                         joined["content_hash"])
        self.assertFalse(os.path.exists(outputs[0]))

    def test_actors_keep_to_a_slice(self):
        """Two actors and two slices: each searches one of them as long as it has searches left; a shard is ready when it is searched."""
        waiting = quarry.ray._Waiting(range(4), [0, 2, 3, 4, 5, 7], slices=2)  # 1 and 6 are there
        taken, last = {"a": [], "b": []}, {"a": -1, "b": -1}
        for actor in "abab" "ab":
            work = waiting.take(last[actor])
            taken[actor].append((work.what, work.number))
            if work.slice >= 0:
                last[actor] = work.slice
                waiting.searched(work)
        self.assertEqual(taken, {"a": [("--search", 0), ("--search", 2), ("--shard", 1)], "b": [("--shard", 0), ("--search", 3), ("--search", 5)]})
        waiting.put_back(quarry.ray._Work("--search", 2, 1, 0))
        left = []
        while waiting:
            left.append(waiting.take(0))
            if left[-1].slice >= 0 and left[-1].number != 2:
                waiting.searched(left[-1])
        self.assertEqual([str(work) for work in left], ["search 4", "shard 2", "search 2", "search 7", "shard 3"])
        self.assertEqual(quarry.ray._Waiting([1, 3], [], slices=0).numbers(), ["shard 1", "shard 3"])

    def test_failures_for_good(self):
        """Data that is wrong is not tried again; an actor that always dies ends the run; neither loses what is committed."""
        plan = self.plan("failing.json", 4)
        self.fault("bad_data1")
        with self.assertRaises(quarry.ray.ShardError) as caught:
            self.mine(plan)
        self.assertEqual((caught.exception.shard, caught.exception.exit_code), (1, 3))
        self.assertIn("planted", str(caught.exception))
        missing = quarry.ray.status(plan, program=PROGRAM)["missing"]
        self.assertIn(1, missing)
        dies = missing[0]
        self.fault(f"kill_actor{dies}")
        with self.assertRaises(quarry.ray.ShardError) as caught:
            self.mine(plan, retries=0)
        self.assertEqual((caught.exception.shard, caught.exception.exit_code), (dies, None))
        left = quarry.ray.status(plan, program=PROGRAM)["missing"]
        self.assertIn(dies, left)
        self.assertEqual(self.mine(plan).done, left)
        self.assertTrue(quarry.ray.status(plan, verify=True, program=PROGRAM)["complete"])

    def test_shell(self):
        """python -m quarry.ray on the cluster that is there: mines, joins, and has exit codes."""
        plan = self.plan("shell.json", 2)
        address = ray.get_runtime_context().gcs_address
        command = [sys.executable, "-m", "quarry.ray", plan.path, "--program", self.wrapper, "--threads", "1", "--address", address, "--out",
                   self.path("shell")]
        self.fault("bad_data1")
        failed = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(failed.returncode, 3, failed.stderr)
        self.assertIn("planted", failed.stderr)
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(manifest_of(self.path("single"))["content_hash"], done.stdout)
        self.assertTrue(os.path.exists(self.path("shell.shards")))
        cleaned = subprocess.run([*command[:-2], "--store", self.path("shell_store"), "--clean"], capture_output=True, text=True)
        self.assertEqual(cleaned.returncode, 0, cleaned.stderr)
        self.assertFalse(os.path.exists(self.path("shell.shards")))
        missing = subprocess.run([*command[:3], self.path("no_such.json")], capture_output=True, text=True)
        self.assertEqual(missing.returncode, 5, missing.stderr)
        unjoined = subprocess.run([*command[:-2], "--clean"], capture_output=True, text=True)
        self.assertEqual(unjoined.returncode, 2, unjoined.stderr)

    def test_no_room_for_actors(self):
        """Actors that ask for more than the cluster has never start: the watchdog says so instead of waiting."""
        plan = self.plan("room.json", 2)
        with self.assertRaisesRegex(quarry.ray.StallError, "resources"):
            self.mine(plan, num_cpus=64, stall_timeout=5)
        self.assertEqual(quarry.ray.status(plan, program=PROGRAM)["missing"], [0, 1])

    def test_threads(self):
        """A worker never gets more threads than its node has CPUs, however few shards are left; a head without CPUs holds none."""
        def threads(nodes, workers, num_gpus=0):
            nodes = [{"Alive": True, "Resources": one} for one in nodes] + [{"Alive": False, "Resources": {}}]
            places = quarry.ray._places(nodes, num_gpus)
            return len(places), quarry.ray._threads(places, workers, num_gpus)

        self.assertEqual(threads([{"CPU": 16.0}] * 4, 1), (4, 16))
        self.assertEqual(threads([{"CPU": 16.0}] * 4, 6), (4, 8))
        self.assertEqual(threads([{"CPU": 4.0}, {"CPU": 64.0}], 2), (2, 4))
        self.assertEqual(threads([{"memory": 1.0}, {"CPU": 8.0}, {"CPU": 8.0}], 2), (2, 8))
        self.assertEqual(threads([{"CPU": 32.0}, {"CPU": 32.0, "GPU": 4.0}], 4, 1), (1, 8))
        self.assertEqual(threads([{"CPU": 32.0, "GPU": 4.0}], 1, 1), (1, 32))
        self.assertEqual(threads([{"memory": 1.0}], 3), (1, 1))
        self.assertEqual(threads([node["Resources"] for node in ray.nodes()], 2), (1, 1))  # of two CPUs

    def test_slices_by_memory(self):
        """The number of slices is chosen by the memory that is given, or by that of Ray's nodes; what nothing fits is refused."""
        big = self.path("big")
        run_program(PROGRAM, "synth", "--out", big, "--users", 60, "--items", 40000, "--dim", 256, "--leaks", 0)
        table = 40000 * 256 * 4
        options = {"items": f"{big}/items.npy", "users": f"{big}/users.npy", "events": f"{big}/events.csv", "recipe": "nv-perc", "rows_from": "users",
                   "set": ["metric=ip"], "shards": 2, "threads": 1, "program": PROGRAM}
        path = self.path("memory.json")
        plan = quarry.ray.plan(path, item_slices="auto", **options)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.assertEqual((plan.slices, plan.worker_memory), (0, int(min(node["memory"] for node in nodes))))
        self.assertGreater(plan.worker_needs, table)
        self.assertEqual(quarry.ray.Plan.read(path), plan)
        limit = plan.worker_needs - table // 2
        for size in (limit, f"{limit / 2**20:.6f}MiB"):
            cut = quarry.ray.plan(path, item_slices="auto", worker_memory=size, **options)
            self.assertIn(cut.slices, (2, 3))
            self.assertLessEqual(abs(cut.worker_memory - limit), 2)
            self.assertLessEqual(cut.worker_needs, cut.worker_memory)
        with self.assertRaisesRegex(quarry.ConfigError, "no number of slices up to 1250 is enough"):
            quarry.ray.plan(path, item_slices="auto", worker_memory="20MiB", **options)
        with self.assertRaisesRegex(quarry.ConfigError, "--worker-memory: is .* and with all items"):
            quarry.ray.plan(path, worker_memory=limit, **options)
        self.mine(cut)
        self.assertFalse(any("take fewer workers" in words for words in self.words), self.words)
        joined = quarry.ray.join(cut, out=self.path("by_memory"), clean=True, program=PROGRAM)
        self.mine(dataclasses.replace(cut, worker_needs=1 << 60))  # there are no shards any more
        self.assertTrue(any("take fewer workers" in words for words in self.words), self.words)
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if name not in ("set", "shards", "program")]
        run_program(PROGRAM, "mine", *flags, "--set=metric=ip", "--out", self.path("by_one"))
        self.assertEqual(joined["content_hash"], manifest_of(self.path("by_one"))["content_hash"])

    def test_memory_of_nodes(self):
        """What an actor has is the least that a node has over the actors that it gets."""
        def memory(nodes, workers=None, connected=True, num_gpus=None):
            stand_in = types.SimpleNamespace(is_initialized=lambda: connected,
                                             nodes=lambda: [{"Alive": True, "Resources": one} for one in nodes] + [{"Alive": False, "Resources": {}}])
            with unittest.mock.patch.dict(sys.modules, {"ray": stand_in}):
                return quarry.ray.memory_of_nodes(workers, num_gpus)

        self.assertEqual(memory([{"CPU": 8.0, "memory": 9e9}]), 9_000_000_000)
        self.assertEqual(memory([{"CPU": 8.0, "memory": 9e9}] * 2, 5), 3_000_000_000)
        self.assertEqual(memory([{"CPU": 8.0, "memory": 9e9}, {"CPU": 64.0, "memory": 4e9}], 2), 4_000_000_000)
        self.assertEqual(memory([{"memory": 1e9}, {"CPU": 8.0, "memory": 9e9}]), 9_000_000_000)  # a head without CPUs
        self.assertIsNone(memory([{"CPU": 8.0}, {"CPU": 8.0, "memory": 9e9}]))
        self.assertIsNone(memory([]))
        # Actors that take GPUs go to nodes that have some, one for each unless fewer are asked for.
        mixed = [{"CPU": 64.0, "memory": 1e9}] * 9 + [{"CPU": 64.0, "GPU": 8.0, "memory": 16e9}]
        self.assertEqual(memory(mixed), 2_000_000_000)
        self.assertEqual(memory(mixed, 4), 4_000_000_000)
        self.assertEqual(memory(mixed, num_gpus=2), 4_000_000_000)
        self.assertEqual(memory(mixed, 20, num_gpus=0), 500_000_000)
        self.assertIsNone(memory([{"CPU": 8.0, "memory": 9e9}], connected=False))

    def test_a_refresh_keeps_its_slices(self):
        """Memory is foretold a little differently each time: a plan that is made again for a refresh keeps the number of slices that was chosen
        before, unless that does not fit any more, or other things changed too."""
        store, path = self.path("kept_store"), self.path("kept.json")
        os.mkdir(store)
        chosen, least, calls, inputs = [3], [1], [], ["a"]

        def stand_in(out, *, shards, item_slices, **_):
            calls.append(item_slices)
            slices = chosen[0] if item_slices == "auto" else item_slices
            if slices < least[0]:
                raise quarry.ConfigError("does not fit")
            with open(out, "w", encoding="utf-8") as file:
                json.dump({"plan_hash": f"{slices:>16}{inputs[0]}", "shards": [{}] * shards, "outputs": "kept.shards", "work": {
                    "rows": 1, "item_slices": [[0, 1]] * slices, "refresh": {"store": "kept_store", "rows_mined": 1, "parent": 1}}}, file)
            return quarry.ray.Plan.read(out)

        def slices_of_refresh():
            calls.clear()
            return quarry._plans.plan_refresh(path, store, 2, item_slices="auto").slices

        with unittest.mock.patch.object(quarry._plans, "plan", stand_in):
            self.assertEqual((slices_of_refresh(), calls), (3, ["auto"]))
            self.assertEqual((slices_of_refresh(), calls), (3, ["auto"]))
            chosen[0] = 2
            self.assertEqual((slices_of_refresh(), calls), (3, ["auto", 3]))
            chosen[0] = least[0] = 4  # less memory
            self.assertEqual((slices_of_refresh(), calls), (4, ["auto", 3]))  # what was planned first is not planned again
            chosen[0], inputs[0] = 5, "b"
            self.assertEqual((slices_of_refresh(), calls), (5, ["auto", 4]))
        self.assertEqual([name for name in os.listdir(os.path.dirname(path)) if name.startswith("kept.json")], ["kept.json"])

    def test_program_is_missing(self):
        """A program that a node lacks is said to be missing there; its actor is not called dead."""
        plan = self.plan("lacking.json", 2)
        command = self.path("gone_later")
        with open(command, "w", encoding="utf-8") as file:  # status runs here, workers find nothing
            file.write(f"#!/bin/sh\nrm -f {command}\nexec {PROGRAM} \"$@\"\n")
        os.chmod(command, 0o700)
        with self.assertRaises(quarry.ray.ShardError) as caught:
            self.mine(plan, program=command, retries=1)
        self.assertIn("could not run the program", str(caught.exception))
        self.assertIn("gone_later", str(caught.exception))

    def test_requests(self):
        with self.assertRaisesRegex(quarry.ConfigError, "0 GPUs"):
            self.mine(self.plan("no_gpu.json", 2), workers=None, num_gpus=1)
        for wrong in ({"retries": -1}, {"workers": 0}, {"stall_timeout": 0}, {"threads": 0}):
            with self.assertRaises(quarry.ConfigError):
                self.mine(self.path("killed.json"), **wrong)
        with self.assertRaisesRegex(quarry.ConfigError, "--shards"):
            quarry.ray.plan(self.path("no.json"), shards=0, program=PROGRAM, **self.inputs)
        with self.assertRaisesRegex(quarry.IoError, "no_such"):
            quarry.ray.mine(self.path("no_such.json"), program=PROGRAM)
        with self.assertRaisesRegex(quarry.InputError, "no shard plan"):
            quarry.ray.mine(self.path("catalogue.csv"), program=PROGRAM)
        with open(self.path("flags.toml"), "w", encoding="utf-8") as file:
            file.write("".join(f"{name.replace('_', '-')} = {json.dumps(value)}\n" for name, value in self.inputs.items()))
        planned = quarry.ray.plan(self.path("config.json"), shards=3, config=self.path("flags.toml"), probe_seconds=0, program=PROGRAM)
        self.assertEqual(planned.shards, 3)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("tests/ray_test.py PROGRAM")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
