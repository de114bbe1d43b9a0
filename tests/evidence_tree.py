"""A tree of its own for tests of tools/gpu_check and tools/verify_evidence, in which a driver, a sanitizer and a device are
played by scripts; evidence made there never leaves it."""
import importlib.machinery
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent
KERNELS = ("kernels/certify/label_keys_gpu.cu", "kernels/certify/gather_queries_gpu.cu")
NAMES = ("gather_queries_kernel", "label_keys_kernel")

# Plays golden on a device: the CPU's results under the device's name.
FAKE_GOLDEN = r'''#!/usr/bin/env python3
import os, pathlib, sys, time
here = pathlib.Path(__file__).resolve().parent
play = os.environ.get("PLAY_GOLDEN", "")
arguments = sys.argv[1:]
lines = (here / "cases").read_text().splitlines()
if "--device-info" in arguments:
    if play == "no-device": sys.exit("golden: no usable CUDA device: played")
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID": sys.exit("golden: devices in another order")
    name, capability = {"other-device": ("Other GPU", "9.0"), "other-capability": ("Played GPU", "8.0")}.get(
        play, ("Played GPU", "9.0"))
    print(f"name {name}\ncompute_capability {capability}\ntotal_bytes 1\ndriver_cuda 13000\nruntime_cuda 13000")
    sys.exit(0)
if "--launches" in arguments:
    pathlib.Path(arguments[arguments.index("--launches") + 1]).write_text(
        "gather_queries_kernel 3\nlabel_keys_kernel 0\nlibrary:_ZN3cub4sortEv 1\nlibrary:_ZN3cub4scanEv 0\n")
by_name = {line.split(" ")[0]: line.split(" ") for line in lines}
on_device = "--device" in arguments
if "--matrix" in arguments:
    if play == "hang": time.sleep(30)
    if play == "die": os.kill(os.getpid(), 9)
    for name, case in by_name.items():
        if "/matrix" in name:
            for setting in ("1 1 1 pooled", "64 3 2 unpooled"):
                flip = play == "flip-matrix" and name == "dns/matrix" and setting.startswith("64")
                print(name, setting, "0" * 16 if flip else case[3], case[4], case[5])
elif "--ladder" in arguments:
    outputs = " ".join(by_name["balanced/matrix"][3:])
    print("unlimited 0 mined", outputs)
    for limit in (900, 500): print("limit", limit, "mined", "0 0 0" if play == "flip-ladder" else outputs)
    print("limit 10 out-of-memory - - -\nunlimited 0 mined", outputs)
elif "--huge" in arguments:
    if play == "small-device": sys.exit(6)
    print("1060000 2048 25", " ".join(by_name["huge/over-2^31-places"][2:]))
else:
    if "--sanitizer" in arguments: lines = lines[:5]
    if "--only" in arguments:
        lines = [line for line in lines if arguments[arguments.index("--only") + 1] in line.split(" ")[0]]
    if on_device and play == "die-golden" and "--launches" in arguments: os.kill(os.getpid(), 11)
    if on_device and play == "lack": lines = lines[:-2] + lines[-1:]
    if on_device and play == "twice": lines = lines + lines[-1:]
    for n, line in enumerate(lines):
        if on_device and play == "flip" and n == 7: line = line[:-1] + ("0" if line[-1] != "0" else "1")
        print(line)
'''
FAKE_SANITIZER = r'''#!/usr/bin/env python3
import os, subprocess, sys
tool = sys.argv[sys.argv.index("--tool") + 1]
play = dict(p.split("=") for p in os.environ.get("PLAY_SANITIZER", "").split(",") if p).get(tool, "")
if play == "refuse":
    print("========= COMPUTE-SANITIZER\n========= Error: this device is not supported by the tool")
    sys.exit(1)
at = next(i for i, a in enumerate(sys.argv) if a.endswith("/golden"))
if play == "crash" and "--sanitizer" in sys.argv: sys.exit(1)
sys.stdout.write("========= COMPUTE-SANITIZER\n" + subprocess.run(sys.argv[at:], capture_output=True, text=True).stdout)
errors = 2 if play == "error" and "--sanitizer" in sys.argv else 0
if tool == "racecheck": print(f"========= RACECHECK SUMMARY: {errors} hazards displayed ({errors} errors, 0 warnings)")
else: print(f"========= ERROR SUMMARY: {errors} errors")
sys.exit(99 if errors else 0)
'''
FAKE_TEST = r'''#!/usr/bin/env python3
import json, os, sys
report = next(a for a in sys.argv if a.startswith("--gtest_output=json:")).split(":", 1)[1]
skip = os.environ.get("PLAY_TESTS") == "skip"
tests = [{"name": "EveryKernel/threads", "status": "RUN", "result": "COMPLETED"},
         {"name": "EveryKernel/cuda", "status": "RUN", "result": "SKIPPED" if skip else "COMPLETED"}]
suites = [{"name": "Against/Backend", "testsuite": tests}]
json.dump({"tests": 2, "failures": 0, "testsuites": suites}, open(report, "w"))
'''
FAKE_QUARRY = r'''#!/usr/bin/env python3
import json, sys
spread = {"median": 2.0, "min": 1.0, "max": 3.0}
json.dump({"parameters": {"rows": 1}, "retrievers": [{"rows_per_second": spread, "candidates_per_second": 1.0,
          "seconds": {"mine": spread}}]}, open(sys.argv[sys.argv.index("--out") + 1], "w"))
'''
FAKE_BENCH = r'''#!/usr/bin/env python3
import json, sys
out = next(a for a in sys.argv if a.startswith("--benchmark_out=")).split("=", 1)[1]
json.dump({"benchmarks": [{"run_type": "iteration", "run_name": "select_top/cuda:1", "real_time": t, "time_unit": "ms",
          "rows/s": 5.0} for t in (1.0, 3.0, 2.0)]}, open(out, "w"))
'''


def write_program(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Tree(unittest.TestCase):
    """A tree with two of the kernels and the tools, whose module is loaded as `ge`."""
    golden = ""  # the program, which main() is given

    @classmethod
    def setUpClass(cls):
        cls.cases = subprocess.run([Tree.golden, "--threads", "2"], capture_output=True, text=True, check=True).stdout
        cls.cache = tempfile.TemporaryDirectory()  # of compiled PTX, for all tests

    @classmethod
    def tearDownClass(cls):
        cls.cache.cleanup()

    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        sys.path.insert(0, str(SOURCE / "tools"))
        sys.dont_write_bytecode = True
        import gpu_evidence as real
        sys.path.pop(0)
        files = {f for unit in KERNELS for f in real.closure(unit)}
        for file in sorted(files) + ["tests/golden/cases.txt", "cmake/cuda_flags.txt", "CMakeLists.txt", "tools/gpu_check", "tools/verify_evidence",
                                     "tools/gpu_evidence.py"]:
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / file, self.root / file)
        (self.root / "build").mkdir()
        (self.root / "build/ptx").symlink_to(self.cache.name)
        (self.root / "README.md").write_text("# A tree\n<!-- gpu status: written by tools/verify_evidence --update -->"
                                             "\n<!-- end of gpu status -->\nMore.\n")
        (self.root / "tests/cuda_test.cpp").write_text("// CudaExec\n")
        self.evidence = self.root / "bench/results/gpu"
        self.evidence.mkdir(parents=True)
        self.prebuilt = self.root / "prebuilt"
        self.prebuilt.mkdir()
        (self.prebuilt / "cases").write_text(self.cases)
        write_program(self.prebuilt / "golden", FAKE_GOLDEN)
        self.ge = self.load("gpu_evidence.py")
        self.nvcc = self.ge.find_nvcc()

    def tearDown(self):
        self.folder.cleanup()

    def load(self, name):
        """A fresh module of the tree's tools, as after an edit."""
        loader = importlib.machinery.SourceFileLoader("tree_evidence", str(self.root / "tools" / name))
        module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        return module

    def edit(self, file, old, new):
        text = (self.root / file).read_text()
        self.assertIn(old, text)
        (self.root / file).write_text(text.replace(old, new, 1))

    def run_evidence(self, **changes):
        """Evidence as gpu_check would write it of a device that agrees with the CPU."""
        ptx = self.ge.ptx_hashes(self.nvcc, "90a") if self.nvcc else dict.fromkeys(NAMES, "a" * 64)
        run = {"format": self.ge.FORMAT, "schema": self.ge.SCHEMA, "date": "2026-01-02T03:04:05+00:00",
               "complete": True, "device": {"name": "Played GPU", "driver": "1.2", "compute_capability": "9.0"},
               "tree_sha256": "c" * 64, "programs": {"golden": "d" * 64}, "library": {},
               "nvcc": self.ge.nvcc_version(self.nvcc) if self.nvcc else "13.0.88", "architecture": "90a",
               "golden": self.ge.pinned(), "steps": {"golden": {"state": "passed"}, "tests": {"state": "passed"}},
               "sanitizers": {tool: {"state": "passed"} for tool in self.ge.SANITIZERS},
               "kernels": {name: {"sources": self.ge.sources_hash(name), "ptx": ptx[name], "launches": 5}
                           for name in NAMES},
               "cases": [dict(zip(self.ge.CASE_FIELDS, line.split(" ")), equal=True)
                         for line in self.cases.splitlines()]}
        run.update(changes)
        return run

    def put(self, run, name="run.json"):
        (self.evidence / name).write_text(run if isinstance(run, str) else self.ge.evidence_text(run))

    def verify(self, *arguments, golden=None, **environment):
        done = subprocess.run([sys.executable, str(self.root / "tools/verify_evidence"), "--golden",
                               str(golden or self.prebuilt / "golden"), *arguments], capture_output=True, text=True,
                              env=dict(os.environ, **environment))
        return done.returncode, done.stdout + done.stderr

    def label(self, kernel, text):
        return re.search(rf"`{kernel}` \| \S+ \| (.*) \|", text).group(1)


def main(usage):
    if len(sys.argv) < 2:
        sys.exit(usage)
    Tree.golden = sys.argv.pop(1)
    unittest.main(verbosity=1)
