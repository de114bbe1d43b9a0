#!/usr/bin/env python3
"""`quarry bench --array`, `--processes` and, where the package and Ray are, `--ray`: rates, shares and efficiencies worked out again from
planted times of shards, bars as long as they say, and no figure where hashes differ, shards are missing or workers are unlike.

  tests/bench_cluster_test.py PROGRAM"""
import glob
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

from cluster import seal
from program import manifest_of
from program import quarry as run_program

ROOT = pathlib.Path(__file__).resolve().parent.parent
SVG = "{http://www.w3.org/2000/svg}"
PROGRAM = ""


def run(*arguments, command=None):
    command = command or [sys.executable, "-B", str(ROOT / "bench/cluster/run")]
    if "--from" not in arguments:
        arguments = [*arguments, "--program", PROGRAM]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True)


class BenchClusterTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.dir.cleanup)
        cls.root = cls.dir.name
        run_program(PROGRAM, "synth", "--out", cls.root, "--users", 120, "--items", 300, "--dim", 16, "--force")
        cls.inputs = [word for name, file in (("items", "items.npy"), ("users", "users.npy"), ("events", "events.csv"), ("catalogue", "catalogue.csv"))
                      for word in (f"--{name}", cls.at(file))] + ["--recipe", "nv-perc"]
        run_program(PROGRAM, "mine", *cls.inputs, "--out", cls.at("single"))
        for name in ("one.json", "two.json"):
            run_program(PROGRAM, "shards", "plan", *cls.inputs, "--shards", 4, "--probe-seconds", 0, "--out", cls.at(name))
        for shard in range(4):
            run_program(PROGRAM, "mine", "--plan", cls.at("one.json"), "--shard", shard, "--threads", 1)
        for first in (0, 2):  # two at a time
            pair = [subprocess.Popen([PROGRAM, "mine", "--plan", cls.at("two.json"), "--shard", str(shard), "--threads", "1"], stderr=subprocess.DEVNULL)
                    for shard in (first, first + 1)]
            assert all(process.wait() == 0 for process in pair)

    @classmethod
    def at(cls, name):
        return os.path.join(cls.root, name)

    def plant(self, name, times, of="two.json", **worker):
        """A copy of a plan that is done, whose shards were mined at these (began, committed, seconds of mining)."""
        plan = json.loads(pathlib.Path(self.at(of)).read_text())
        folder = self.at(name + ".shards")
        shutil.copytree(self.at(of.replace(".json", ".shards")), folder)
        for entry, (began, committed, mining) in zip(plan["shards"], times):
            path = os.path.join(folder, entry["output"])
            manifest = manifest_of(path)
            manifest["part"].update(committed=committed, seconds=mining)
            manifest["part"]["worker"].update(began=began, **worker)
            pathlib.Path(path, "manifest.json").write_text(json.dumps(manifest))
            seal(path)
        plan["outputs"] = name + ".shards"  # not of what the plan's hash is of
        pathlib.Path(self.at(name + ".json")).write_text(json.dumps(plan))
        return self.at(name + ".json")

    def test_times_that_are_known(self):
        """By hand: 4 shards of 10 s, 8 of them mining; one after the other with 2 s between 46 s; two at a time, of which one lags, 23 s."""
        one = self.plant("planted_1", [(100 + 12 * s, 110 + 12 * s, 8) for s in range(4)])
        two = self.plant("planted_2", [(100, 110, 8), (100, 112, 8), (112, 122, 8), (112, 123, 8)])
        again = self.plant("planted_2b", [(0, 12, 8), (0, 12, 8), (13, 26, 8), (13, 25, 8)])
        out, plot = self.at("planted.json"), self.at("planted.svg")
        done = run("--array", one, two, again, "--single", self.at("single"), "--out", out, "--plot", plot)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("no shard was in work for 6.0 of 46.0 s", done.stderr)
        told = json.loads(pathlib.Path(out).read_text())
        rows = manifest_of(self.at("single"))["rows"]
        self.assertEqual((told["format"], told["format_version"], told["engine"]), ("quarry.cluster_bench", 1, "array"))
        self.assertEqual((told["parameters"]["rows"], told["parameters"]["shards"], told["worker"]), (rows, 4, {"threads": 1, "gpus": 0}))
        self.assertEqual((told["hashes_equal"], told["single"]["content_hash"]), (True, manifest_of(self.at("single"))["content_hash"]))
        first, second = told["cases"]
        self.assertEqual((first["workers"], second["workers"], len(first["runs"]), len(second["runs"])), (1, 2, 1, 2))
        rates = rows / 46, (rows / 23 + rows / 26) / 2
        for case, rate in zip((first, second), rates):
            self.assertAlmostEqual(case["rows_per_second"]["median"], rate)
            self.assertAlmostEqual(case["rows_per_second_per_worker"]["median"], rate / case["workers"])
        self.assertAlmostEqual(second["rows_per_second"]["min"], rows / 26)
        self.assertAlmostEqual(second["rows_per_second"]["max"], rows / 23)
        self.assertEqual(first["efficiency"], {"median": 1, "min": 1, "max": 1})
        self.assertAlmostEqual(second["efficiency"]["median"], rates[1] / rates[0] / 2)
        self.assertAlmostEqual(second["efficiency"]["min"], 46 / 26 / 2)
        self.assertAlmostEqual(second["efficiency"]["max"], 46 / 23 / 2)
        self.assertAlmostEqual(first["load_share"]["median"], 0.2)
        self.assertAlmostEqual(second["runs"][0]["load_share"], 1 - 32 / 43)
        self.assertAlmostEqual(first["occupied_share"]["median"], 40 / 46)
        self.assertAlmostEqual(second["runs"][0]["occupied_share"], 43 / 46)
        self.assertAlmostEqual(second["runs"][1]["idle_seconds"], 1)
        self.assertEqual([node["shards"] for node in first["runs"][0]["nodes"]], [4])
        self.assertIn(f"| 2 | {rates[1]:,.0f} ({rows / 26:,.0f}–{rows / 23:,.0f}) |", done.stdout)
        self.picture(plot, told)
        drawn = run("--from", out, "--plot", self.at("again.svg"))
        self.assertEqual((drawn.returncode, drawn.stdout), (0, done.stdout), drawn.stderr)
        self.assertEqual(pathlib.Path(self.at("again.svg")).read_text(), pathlib.Path(plot).read_text())

    def picture(self, path, told):
        """Bars in proportion to their rates, marks to n times the first."""
        picture = xml.etree.ElementTree.parse(path).getroot()
        rates = [case["rows_per_second"]["median"] for case in told["cases"]]
        if told["single"] and "rows_per_second" in told["single"]:
            rates.insert(0, told["single"]["rows_per_second"]["median"])
        bars = list(picture.iter(f"{SVG}rect"))
        self.assertEqual(len(bars), len(rates))
        scale = max(float(bar.get("width")) for bar in bars) / max(rates)
        for bar, rate in zip(bars, rates):
            self.assertLess(abs(float(bar.get("width")) - rate * scale), 0.2)
        marks = [float(re.match(r"M([\d.]+) ", mark.get("d")).group(1)) for mark in picture.iter(f"{SVG}path") if mark.get("class") == "ideal"]
        one = told["cases"][0]["rows_per_second"]["median"] / told["cases"][0]["workers"]
        self.assertEqual(len(marks), len(told["cases"]))
        for mark, case in zip(marks, told["cases"]):
            self.assertLess(abs(mark - float(bars[0].get("x")) - one * case["workers"] * scale), 0.2)
        words = "".join(text.text for text in picture.iter(f"{SVG}text"))
        for rate in rates:
            self.assertIn(f"{rate:,.0f}", words)
        for case in told["cases"][1:]:
            self.assertIn(f"{100 * case['efficiency']['median']:.0f} %", words)

    def test_the_committed_plot_is_of_the_committed_measurement(self):
        results = ROOT / "bench/results/cpu"
        for name in ("cluster", "cluster_ray"):
            done = run("--from", results / f"{name}.json", "--plot", self.at("committed.svg"))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(pathlib.Path(self.at("committed.svg")).read_text(), (results / f"{name}.svg").read_text())
            self.picture(results / f"{name}.svg", json.loads((results / f"{name}.json").read_text()))

    def test_shards_that_were_mined(self):
        """Without planted times: workers are counted, and times are those of the manifests."""
        out = self.at("mined.json")
        done = run("--array", self.at("one.json"), self.at("two.json"), "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(pathlib.Path(out).read_text())
        self.assertEqual([case["workers"] for case in told["cases"]], [1, 2])
        self.assertIsNone(told["single"])
        for case, folder in zip(told["cases"], ("one.shards", "two.shards")):
            parts = [manifest_of(path)["part"] for path in sorted(glob.glob(self.at(f"{folder}/*-*")))]
            seconds = max(part["committed"] for part in parts) - min(part["worker"]["began"] for part in parts)
            self.assertAlmostEqual(case["runs"][0]["seconds"], seconds)
            for part in parts:  # the program's own account of it
                self.assertLess(part["worker"]["began"] + part["seconds"], part["committed"])
                self.assertEqual((part["worker"]["node"], part["worker"]["threads"]), (os.uname().nodename, 1))
        self.assertEqual(glob.glob(self.at(".quarry-bench-*")), [])

    def test_what_is_not_compared(self):
        one, two = self.at("one.json"), self.at("two.json")
        other = self.at("other.json")
        run_program(PROGRAM, "shards", "plan", *self.inputs, "--seed", 5, "--set", "k=3", "--shards", 4, "--probe-seconds", 0, "--out", other)
        for shard in range(4):
            run_program(PROGRAM, "mine", "--plan", other, "--shard", shard, "--threads", 1)
        run_program(PROGRAM, "mine", *self.inputs, "--set", "k=3", "--out", self.at("other_single"))
        unlike = self.plant("unlike", [(0, 9, 1)] * 4, threads=2)
        turned = self.plant("turned", [(9, 5, 1)] * 4)
        foreign = self.plant("foreign", [(0, 9, 1)] * 4)
        shutil.rmtree(glob.glob(self.at("foreign.shards/*-00000001"))[0])
        shutil.copytree(glob.glob(self.at("foreign.shards/*-00000000"))[0], glob.glob(self.at("foreign.shards/*-00000000"))[0][:-1] + "1")
        old = self.plant("old", [(0, 9, 1)] * 4)
        path = glob.glob(self.at("old.shards/*-00000002"))[0]
        manifest = manifest_of(path)
        del manifest["part"]["worker"]
        pathlib.Path(path, "manifest.json").write_text(json.dumps(manifest))
        lacking = self.plant("lacking", [(0, 9, 1)] * 4)
        shutil.rmtree(glob.glob(self.at("lacking.shards/*-00000003"))[0])
        shutil.copy(two, self.at("sliced.json"))
        text = json.loads(pathlib.Path(two).read_text())
        text["work"]["item_slices"] = [[0, 1]]
        pathlib.Path(self.at("sliced.json")).write_text(json.dumps(text))
        for name, change in (("refresh", lambda plan: plan["work"].update(refresh={"store": "store", "parent": 1, "rows_mined": 9})),
                             ("shardless", lambda plan: plan.update(shards=[]))):
            text = json.loads(pathlib.Path(two).read_text())
            change(text)
            pathlib.Path(self.at(name + ".json")).write_text(json.dumps(text))
        for code, words, arguments in (
                (2, "is a plan of a refresh", ["--array", self.at("refresh.json")]), (3, "has no shards", ["--array", self.at("shardless.json")]),
                (5, "/proc/x", ["--processes", *self.inputs, "--folder", "/proc/x"]),
                (3, "different work", ["--array", one, other]), (3, "unlike workers", ["--array", one, unlike]),
                (3, "content hash", ["--array", one, "--single", self.at("other_single")]), (3, "clock of", ["--array", turned]),
                (3, "another plan, or another shard", ["--array", foreign]), (3, "earlier Quarry", ["--array", old]),
                (3, "1 of 4 shards are not there, the first: 3", ["--array", lacking]), (5, "nowhere.json", ["--array", self.at("nowhere.json")]),
                (3, "no shard plan", ["--array", self.at("single") + "/manifest.json"]), (2, "item-slices", ["--array", self.at("sliced.json")]),
                (2, "2 shards were in work", ["--array", two, "--workers", "1"]), (2, "2 numbers for 1", ["--array", one, "--workers", "1,2"]),
                (2, "no list of numbers", ["--array", one, "--workers", "1,x"]), (2, "--no-join joins none", ["--array", one, "--single", "x", "--no-join"]),
                (2, "--threads: does nothing with --array", ["--array", one, "--threads", "2"]), (2, "--seed", ["--array", one, "--seed", "2"]),
                (5, "its folder is not there", ["--array", one, "--out", self.at("no/where.json")]), (2, "give one of", ["--array", one, "--processes"]),
                (2, "cannot share 2 shards", ["--processes", "--workers", "3", "--shards", "2"]),
                (2, "take one of the two out", ["--processes", "--items", "x.npy", "--synth-users", "9"]),
                (2, "--no-such", ["--processes", "--no-such", *self.inputs]), (5, "no_such.npy", ["--processes", *self.inputs[2:], "--items", "no_such.npy"]),
                (3, "no measurement", ["--from", one]), (2, "nothing new", ["--from", one, "--out", "x"])):
            with self.subTest(words):
                done = run(*arguments)
                self.assertIn(words, done.stderr)
                self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(glob.glob(self.at(".quarry-bench-*")), [])
        refused = subprocess.run([PROGRAM, "bench", "--ray"], capture_output=True, text=True)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("python -m quarry bench --ray", refused.stderr)

    def test_measurements_that_are_damaged(self):
        whole = json.loads((ROOT / "bench/results/cpu/cluster.json").read_text())

        def without(document, *path):
            *holders, last = path
            for name in holders:
                document = document[name]
            del document[last]

        def put(value, document, *path):
            *holders, last = path
            for name in holders:
                document = document[name]
            document[last] = value

        for words, change in (("lacks 'worker'", lambda d: without(d, "worker")), ("lacks 'cases'", lambda d: without(d, "cases")),
                              ("cases are none", lambda d: put([], d, "cases")), ("cases: one is 3", lambda d: put([3], d, "cases")),
                              ("lacks 'median'", lambda d: without(d, "cases", 1, "efficiency", "median")),
                              ("load_share: max is 'x'", lambda d: put("x", d, "cases", 0, "load_share", "max")),
                              ("0 workers", lambda d: put(0, d, "cases", 0, "workers")), ("parameters is []", lambda d: put([], d, "parameters")),
                              ("lacks 'single'", lambda d: without(d, "single")), ("lacks 'dim'", lambda d: without(d, "parameters", "dim"))):
            with self.subTest(words):
                document = json.loads(json.dumps(whole))
                change(document)
                pathlib.Path(self.at("damaged.json")).write_text(json.dumps(document))
                done = run("--from", self.at("damaged.json"), "--plot", self.at("never.svg"))
                self.assertEqual(done.returncode, 3, done.stderr)
                self.assertRegex(done.stderr, "damaged.json: is a damaged measurement")
                self.assertIn(words, done.stderr)
                self.assertFalse(os.path.exists(self.at("never.svg")))

    def test_files_that_cannot_be(self):
        done = subprocess.run([sys.executable, "-B", str(ROOT / "bench/cluster/run"), "--processes", *self.inputs, "--program", "/no/such"],
                              capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr), (5, "quarry bench: /no/such: No such file or directory\n"))
        os.mkdir(self.at("taken.svg"))
        done = run("--from", ROOT / "bench/results/cpu/cluster.json", "--plot", self.at("taken.svg"))
        self.assertEqual(done.returncode, 5, done.stderr)
        self.assertIn("taken.svg: cannot be written", done.stderr)
        self.assertEqual(glob.glob(self.at("taken.svg*")), [self.at("taken.svg")])

    def turns(self, command, *arguments):
        out, plot, folder = self.at("turns.json"), self.at("turns.svg"), self.at("shared")
        done = run(*arguments, "--workers", "2,1", "--shards", 4, "--repetitions", 2, "--threads", 1, "--folder", folder, "--out", out, "--plot", plot,
                   command=command)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(os.listdir(folder), [])
        told = json.loads(pathlib.Path(out).read_text())
        self.assertEqual(told["single"]["content_hash"], manifest_of(self.at("single"))["content_hash"])
        self.assertEqual((told["hashes_equal"], told["parameters"]["shards"], len(told["single"]["runs"])), (True, 4, 2))
        self.assertEqual([case["workers"] for case in told["cases"]], [1, 2])
        one, two = told["cases"]
        ratios = sorted(b["rows_per_second"] / (2 * a["rows_per_second"]) for a, b in zip(one["runs"], two["runs"]))
        self.assertAlmostEqual(two["efficiency"]["min"], ratios[0])
        self.assertAlmostEqual(two["efficiency"]["max"], ratios[1])
        self.assertAlmostEqual(two["efficiency"]["median"], sum(ratios) / 2)
        for case in told["cases"]:
            for turn, measured in enumerate(case["runs"]):
                self.assertEqual(measured["turn"], turn)
                self.assertLess(measured["seconds"], measured["call_seconds"])
                self.assertLess(0, measured["occupied_share"])
                self.assertLessEqual(measured["occupied_share"], 1)
        self.picture(plot, told)
        return told

    def test_processes(self):
        told = self.turns(None, "--processes", *self.inputs)
        self.assertEqual(told["engine"], "processes")
        self.assertNotIn("users", told["parameters"])

    def test_made_up_data(self):
        out = self.at("made.json")
        done = run("--processes", "--synth-users", 90, "--synth-items", 200, "--synth-dim", 8, "--shards", 2, "--repetitions", 1, "--workers", 1, "--out", out)
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(pathlib.Path(out).read_text())
        self.assertEqual([told["parameters"][name] for name in ("users", "items", "dim", "recipe")], [90, 200, 8, "nv-perc"])
        self.assertEqual(told["command_line"], "quarry bench --processes --synth-users 90 --synth-items 200 --synth-dim 8 --shards 2 --repetitions 1 --workers 1")

    def test_ray(self):
        if any(importlib.util.find_spec(package) is None for package in ("quarry", "ray")):
            self.skipTest("the package and Ray are not there")
        told = self.turns([sys.executable, "-m", "quarry", "bench"], "--ray", *self.inputs)
        self.assertEqual(told["engine"], "ray")
        self.assertIn("ray", told["versions"])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("tests/bench_cluster_test.py PROGRAM")
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
