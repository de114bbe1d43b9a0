#!/usr/bin/env python3
"""tools/gpu_check and tools/verify_evidence on made-up evidence: every planted difference must be seen, and what was
not shown must not be called so. Needs no GPU: a driver, a sanitizer and a device are played by scripts in a temporary
folder, and evidence made here never leaves it.

  evidence_test.py GOLDEN [unittest arguments]      GOLDEN: the program build/.../golden
"""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = None
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

    @classmethod
    def setUpClass(cls):
        cls.cases = subprocess.run([GOLDEN, "--threads", "2"], capture_output=True, text=True, check=True).stdout
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


class Verify(Tree):
    def test_without_evidence_nothing_is_proved(self):
        code, text = self.verify("--update")
        self.assertEqual(code, 0, text)
        self.assertEqual({self.label(name, text) for name in NAMES}, {"**NEVER RUN**"})
        for word in ("PROVEN", "passed", "STALE"):
            self.assertNotIn(word, text)
        self.assertEqual(self.verify()[0], 0)
        self.assertEqual(self.verify("--strict")[0], 1)

    def test_good_evidence_by_the_real_program(self):
        run = self.run_evidence()
        run["kernels"]["label_keys_kernel"]["launches"] = 0
        self.put(run)
        self.assertEqual(self.verify("--update", golden=GOLDEN)[0], 0)
        code, text = self.verify(golden=GOLDEN)
        self.assertEqual(code, 0, text)
        self.assertEqual(self.label("gather_queries_kernel", text), "**PROVEN** (Played GPU, 2026-01-02)")
        self.assertEqual(self.label("label_keys_kernel", text), "**NEVER RUN**")  # linked in is not run
        self.assertIn(f"{len(run['cases'])} cases recomputed", text)
        self.assertIn("**PROVEN**", (self.root / "README.md").read_text())
        self.assertTrue((self.root / "README.md").read_text().endswith("More.\n"))

    def test_one_bit_of_one_output_fails_and_names_the_case(self):
        for field in ("ids", "scores", "reasons", "inputs"):
            run = self.run_evidence()
            case = run["cases"][123]
            case[field] = f"{int(case[field], 16) ^ 1:016x}"
            self.put(run)
            self.verify("--update")
            code, text = self.verify()
            self.assertEqual(code, 1)
            self.assertIn(f"case {case['name']} ({case['seeds']}): {field}", text)
            self.assertIn("FAILED", self.label(NAMES[0], text))
            self.assertNotIn("PROVEN**", text)

    def test_a_changed_constant_makes_its_kernel_stale(self):
        self.put(self.run_evidence())
        self.assertEqual(self.verify("--update")[0], 0)
        self.edit(KERNELS[0], "kLabelThreads = 128", "kLabelThreads = 64")
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("--update", text)
        self.assertEqual(self.verify("--update")[0], 0)
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertIn("**STALE** (Played GPU, 2026-01-02)", self.label("label_keys_kernel", text))
        self.assertIn("**PROVEN**", self.label("gather_queries_kernel", text))
        self.assertIn("**STALE**", self.label("label_keys_kernel", self.verify("--nvcc", "none")[1]))
        self.assertEqual(self.verify("--strict")[0], 1)

    def test_a_comment_changes_nothing(self):
        self.put(self.run_evidence())
        self.assertEqual(self.verify("--update")[0], 0)
        self.edit(KERNELS[0], "constexpr unsigned", "// a word\n\n/* two\n words */ constexpr   unsigned")
        self.assertEqual(self.verify()[0], 0)
        self.assertEqual(self.verify("--nvcc", "none")[0], 0)

    def test_without_nvcc_it_says_what_it_did_not_check(self):
        self.put(self.run_evidence())
        self.assertEqual(self.verify("--update", "--nvcc", "none")[0], 0)
        code, text = self.verify("--nvcc", "none")
        self.assertEqual(code, 0, text)
        self.assertIn("not checked: the PTX was not recompiled", text)
        self.assertIn("**PROVEN**", self.label("label_keys_kernel", text))  # the sources are the same

    def test_other_sources_with_the_same_ptx(self):
        if not self.nvcc:
            self.skipTest("there is no nvcc")
        self.put(self.run_evidence())
        self.assertEqual(self.verify("--update")[0], 0)
        self.edit(KERNELS[0], "constexpr unsigned", "inline int not_used() { return 3; }\nconstexpr unsigned")
        code, text = self.verify("--nvcc", "none")  # nobody knows the PTX of these sources yet
        self.assertEqual(code, 1)
        self.assertIn("**STALE**", self.label("label_keys_kernel", text))
        self.assertEqual(self.verify("--update")[0], 0)
        for arguments in ((), ("--nvcc", "none")):  # the same table on a machine without nvcc, by the record
            code, text = self.verify(*arguments)
            self.assertEqual(code, 0, text)
            self.assertIn("**PROVEN**", self.label("label_keys_kernel", text))
        record = self.evidence / "ptx_of_tree.txt"
        record.write_text(record.read_text().replace("label_keys_kernel", "another_kernel"))
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("ptx_of_tree.txt is out of date", text)

    def test_same_sources_with_other_ptx_are_not_proved(self):
        if not self.nvcc:
            self.skipTest("there is no nvcc")
        run = self.run_evidence()
        run["kernels"]["label_keys_kernel"]["ptx"] = "b" * 64
        self.put(run)
        self.verify("--update")
        text = self.verify()[1]
        self.assertIn("**STALE**", self.label("label_keys_kernel", text))
        self.assertIn("the sources are those of", text)

    def test_another_nvcc_is_not_compared(self):
        if not self.nvcc:
            self.skipTest("there is no nvcc")
        self.put(self.run_evidence(nvcc="1.2.3"))
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertIn("1.2.3 made the evidence", text)

    def test_unreadable_evidence_is_a_clear_error(self):
        good = self.run_evidence()
        golden, cases = good["golden"], good["cases"]
        kernel = dict(good["kernels"][NAMES[0]])
        cases_of = [
            (self.ge.evidence_text(good)[:900], "is not JSON"), ("[]", "is no evidence"), ("[" * 99999, "is not JSON"),
            (self.ge.evidence_text(good).replace('{', '{"nvcc": "1.0",', 1), "the key 'nvcc' stands 2 times"),
            (dict(good, format="other"), "is no evidence"), (dict(good, schema=1), "has schema 1"),
            (dict(good, cases=[{"name": "x"}]), "cases[0].seeds is null"), (dict(good, nvcc=5), "nvcc is 5"),
            (dict(good, kernels={"k": {"launches": 1}}), "kernels.k.sources is null"),
            (dict(good, sanitizers={"memcheck": "fine"}), 'sanitizers.memcheck is "fine"'),
            (dict(good, sanitizers={"nocheck": {"state": "passed"}}), 'sanitizers is "nocheck"'),
            (dict(good, steps={"golden": {"state": "fine"}}), 'steps.golden.state is "fine"'),
            (dict(good, steps={"golden": {"state": []}}), "steps.golden.state is []"),
            (dict(good, steps={"golden": {"state": "passed", "why": 5}}), "steps.golden.why is 5"),
            (dict(good, golden=[1, 2]), "golden[0] is 1"), (dict(good, golden=golden + ["x y z"]), "is \"x y z\""),
            (dict(good, golden=golden + golden[:1]), "golden holds problem-000 more than once"),
            (dict(good, cases=cases + cases[7:8]), f"cases holds {cases[7]['name']} more than once"),
            (dict(good, cases=[dict(cases[0], equal=False)] + cases[1:]), "cases[0].equal is false"),
            (dict(good, cases=[dict(cases[0], equal=1)] + cases[1:]), "cases[0].equal is 1"),
            (dict(good, architecture="80"), 'architecture is "80"; it must be that of the device, 90a'),
            (dict(good, device={"name": "G|", "driver": "1", "compute_capability": "9.0"}), 'device.name is "G|"'),
            (dict(good, device={"name": "G", "driver": "1"}), "device.compute_capability is null"),
            (dict(good, date="yesterday"), 'date is "yesterday"'), (dict(good, programs={}), "programs is {}"),
            (dict(good, library={"f": -1}), "library.f is -1"), (dict(good, matrix=[]), "matrix is []"),
            (dict(good, kernels={"thrust:setup": dict(kernel, launches=1)}), "the sum of library")]
        for launches in (-1, True, 1.0, None):
            cases_of.append((dict(good, kernels={"k": dict(kernel, launches=launches)}),
                             f"kernels.k.launches is {json.dumps(launches)}; it must be a whole number"))
        for text, words in cases_of:
            self.put(text)
            code, said = self.verify()
            self.assertEqual(code, 1, said)
            self.assertIn(words, said)
            self.assertIn("run.json", said)
            self.assertNotIn("Traceback", said)
            self.assertEqual(len(said.splitlines()), 1, said)

    def test_a_sanitizer_that_did_not_run_is_not_shown_as_passed(self):
        run = self.run_evidence()
        run["sanitizers"]["racecheck"] = {"state": "unavailable", "why": "refused"}
        run["sanitizers"]["synccheck"] = {"state": "timed out"}
        run["steps"]["sanitizers"] = {"state": "timed out"}
        del run["sanitizers"]["initcheck"]
        self.put(run)
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertIn("memcheck passed; racecheck unavailable; synccheck timed out; initcheck not run", text)

    def test_what_went_wrong_on_the_device_is_a_failure(self):
        for change in ({"sanitizers": {"memcheck": {"state": "failed", "why": "2 errors"}}},
                       {"steps": {"golden": {"state": "passed"}, "huge": {"state": "failed", "why": "2 errors"}}},
                       {"steps": {"golden": {"state": "failed", "why": "2 errors"}}},
                       {"steps": {"golden": {"state": "passed"}, "tests": {"state": "timed out", "why": "2 errors"}}}):
            self.put(self.run_evidence(**change))
            self.verify("--update")
            code, text = self.verify()
            self.assertEqual(code, 1)
            self.assertIn("2 errors", text)
            self.assertIn("**FAILED**", self.label(NAMES[0], text))

    def test_missing_cases_are_missed(self):
        run = self.run_evidence()
        del run["cases"][5]
        self.put(run)
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn(f"incomplete, 1 are missing: {self.run_evidence()['cases'][5]['name']}", text)
        self.put(self.run_evidence(steps={}))
        self.assertIn("were not run to their end", self.verify()[1])

    def test_another_case_in_the_place_of_one_is_missed(self):
        run = self.run_evidence()
        run["cases"][5] = dict(run["cases"][5], name="problem-000/another")
        self.put(run)
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("incomplete, 1 are missing", text)
        run = self.run_evidence(golden=[line.replace("dns 14 ", "dns 15 ") for line in self.ge.pinned()])
        self.put(run)  # a family that was changed since must be as large as it was
        self.assertIn("14 cases of dns instead of 15", self.verify()[1])

    def test_a_family_that_the_run_lacks_makes_it_stale(self):
        run = self.run_evidence()
        run["golden"] = [line for line in run["golden"] if not line.startswith("dns ")]
        run["cases"] = [case for case in run["cases"] if not case["name"].startswith("dns/")]
        self.put(run)
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertEqual(self.label(NAMES[0], text), "**STALE** (Played GPU, 2026-01-02): cases were added since")
        self.assertEqual(self.verify("--strict")[0], 1)
        run["golden"] = []
        run["cases"] = run["cases"][:1]
        self.put(run)
        self.assertNotIn("**PROVEN**", self.verify()[1])

    def test_a_program_of_other_cases_is_not_compared_with(self):
        self.put(self.run_evidence())
        (self.prebuilt / "cases").write_text("".join(self.cases.splitlines(True)[1:]))
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("is not of this tree, build it again: 99 cases of problem-000 instead of 100", text)

    def test_a_device_that_dies_is_a_failure(self):
        run = self.run_evidence(cases=[], steps={"golden": {"state": "failed", "why": "exit code -11"}})
        for kernel in run["kernels"].values():
            kernel["launches"] = 0
        self.put(run)
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertEqual({self.label(name, text) for name in NAMES}, {"**FAILED** (Played GPU, 2026-01-02)"})

    def test_a_changed_flag_makes_every_kernel_stale(self):
        for old, new in (("--fmad=false", "--fmad=true"), ("-O2", "-O2\n-Xptxas=-O1"),
                         ("-Xcompiler=-ffp-contract=off", "-Xcompiler=-ffp-contract=fast")):
            with self.subTest(new):
                text = (self.root / "cmake/cuda_flags.txt").read_text()
                self.ge = self.load("gpu_evidence.py")
                self.put(self.run_evidence())
                self.assertEqual(self.verify("--update")[0], 0)
                self.assertIn("**PROVEN**", self.label(NAMES[0], self.verify()[1]))
                self.edit("cmake/cuda_flags.txt", old, new)
                for arguments in ((), ("--nvcc", "none")):
                    self.assertEqual(self.verify(*arguments)[0], 1)  # the table says otherwise
                    said = self.verify(*arguments)[1]
                    for name in NAMES:
                        self.assertIn("**STALE**", self.label(name, said))
                (self.root / "cmake/cuda_flags.txt").write_text(text)

    def test_how_it_is_built_is_part_of_the_tree(self):
        before = self.ge.tree_hash()
        for file in ("CMakeLists.txt", "CMakePresets.json", "cmake/QuarryCuda.cmake", "cmake/cuda_flags.txt"):
            path = self.root / file
            was = path.read_text() if path.is_file() else ""
            path.write_text(was + "\n# changed\n")
            self.assertNotEqual(self.ge.tree_hash(), before, file)
            path.write_text(was)
            before = self.ge.tree_hash()

    def test_flags_that_a_build_adds_or_lacks(self):
        flags = " ".join(self.ge.flags())
        folder = self.root / "build/some"
        folder.mkdir()

        def check(words, file=KERNELS[0]):
            (folder / "compile_commands.json").write_text(json.dumps([{"file": str(self.root / file), "command":
                f"ccache /opt/nvcc -forward-unknown-to-host-compiler -DFMT_SHARED -I/a -isystem=/b {words} "
                f"--generate-code=arch=compute_80,code=[sm_80] -Xcompiler=-fPIC -x cu -c {file} -o {file}.o"}]))
            self.ge.check_built_flags(folder)

        check(flags + " -Xcompiler=-Wall,-Wextra -Werror=all-warnings")
        check("-use_fast_math", "tests/support/launches_gpu.cu")  # no kernel of ours
        for words, said in ((flags + " -use_fast_math", "-use_fast_math is not in it"),
                            (flags.replace("--fmad=false", ""), "--fmad=false is missing")):
            with self.assertRaisesRegex(self.ge.EvidenceError, said):
                check(words)
        os.environ["NVCC_APPEND_FLAGS"] = "--use_fast_math"
        try:
            with self.assertRaisesRegex(self.ge.EvidenceError, "NVCC_APPEND_FLAGS"):
                check(flags)
        finally:
            del os.environ["NVCC_APPEND_FLAGS"]

    def test_flags_are_written_in_one_place(self):
        for flag in ("--fmad=", "-ffp-contract", "-DNDEBUG"):
            for file in ("cmake/QuarryCuda.cmake", "tools/check_cuda", "tools/gpu_evidence.py"):
                found = [line for line in (SOURCE / file).read_text().splitlines()
                         if flag in line and "MATCHES" not in line]
                self.assertEqual(found, [], file)

    def test_a_compiler_that_is_none(self):
        self.put(self.run_evidence())
        for named, said in (("/bin/false", "is it nvcc?"), ("/no/such/nvcc", "CUDACXX is '/no/such/nvcc'"),
                            ("no_such_nvcc", "there is no such program")):
            code, text = self.verify(CUDACXX=named)
            self.assertEqual(code, 1)
            self.assertIn(said, text)
            self.assertNotIn("Traceback", text)
        self.assertIn("--nvcc is 'no_such_nvcc'", self.verify("--nvcc", "no_such_nvcc")[1])
        if self.nvcc:
            folder = str(pathlib.Path(self.nvcc).parent)
            self.verify("--update")
            code, text = self.verify(CUDACXX="nvcc", PATH=f"{folder}:{os.environ['PATH']}")
            self.assertEqual(code, 0, text)
            self.assertNotIn("not checked", text)

    def test_a_bad_line_in_the_record(self):
        record = self.evidence / "ptx_of_tree.txt"
        good = f"13.0.88 90a label_keys_kernel {'a' * 64} {'b' * 64}"
        for text, said in (("13.0.88 90a\n", "ptx_of_tree.txt:1: is not"), ("# x\n" + good[:-1], "txt:2: is not"),
                           (good + "\n" + good, "txt:2: label_keys_kernel for 90a stands here twice")):
            record.write_text(text)
            code, words = self.verify()
            self.assertEqual(code, 1)
            self.assertIn(said, words)
            self.assertNotIn("Traceback", words)

    def test_library_kernels_that_were_not_launched_are_counted(self):
        sys.path.insert(0, str(SOURCE / "tools"))
        import gpu_evidence as real
        sys.path.pop(0)
        for file in real.closure("kernels/setup/setup_gpu.cu"):
            (self.root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SOURCE / file, self.root / file)
        self.ge = self.load("gpu_evidence.py")
        run = self.run_evidence(nvcc="1.2.3")  # nothing is compiled
        for library, said in (({"_Z1a": 3, "_Z1b": 0, "_Z1c": 1},
                               "**PROVEN** (Played GPU, 2026-01-02): 2 of 3 launched, the others never run"),
                              ({"_Z1a": 3, "_Z1b": 1}, "**PROVEN** (Played GPU, 2026-01-02)"),
                              ({"_Z1a": 0}, "**NEVER RUN**")):
            run["library"] = library
            run["kernels"]["thrust:setup"] = {"sources": self.ge.sources_hash("thrust:setup"), "ptx": "a" * 64,
                                              "launches": sum(library.values())}
            self.put(run)
            text = self.verify("--nvcc", "none")[1]
            self.assertEqual(re.search(r"Thrust's, for setup \| \S+ \| (.*) \|", text).group(1), said)

    def test_two_files_with_library_kernels_are_refused(self):
        for name in ("one", "two"):
            (self.root / f"index/{name}_gpu.cu").parent.mkdir(exist_ok=True)
            (self.root / f"index/{name}_gpu.cu").write_text("#include <thrust/sort.h>\n")
        self.assertIn("thrust:one and thrust:two: whose library kernels", self.verify()[1])

    def test_a_wrong_argument_gets_one_line(self):
        for tool in ("verify_evidence", "gpu_check"):
            for argument in ("--wrong", "--strict=1" if tool == "verify_evidence" else "--limit=x"):
                done = subprocess.run([sys.executable, str(self.root / "tools" / tool), argument],
                                      capture_output=True, text=True)
                self.assertEqual(done.returncode, 2)
                self.assertEqual(len((done.stdout + done.stderr).splitlines()), 1)
                self.assertIn(f"tools/{tool} --help", done.stderr)
            done = subprocess.run([sys.executable, str(self.root / "tools" / tool), "--help"],
                                  capture_output=True, text=True)
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"tools/{tool} ", done.stdout)

    def test_results_changed_on_purpose_make_old_evidence_stale(self):
        run = self.run_evidence()
        run["golden"] = [re.sub(r"^(dns 14) .*", r"\1 0123456789abcdef", line) for line in run["golden"]]
        for case in run["cases"]:
            if case["name"].startswith("dns/"):
                case["ids"] = "0" * 16
        self.put(run)
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertIn("**STALE** (Played GPU, 2026-01-02): the expected results", self.label(NAMES[0], text))

    def test_the_newest_run_of_each_device_counts(self):
        old = self.run_evidence(date="2025-01-01T00:00:00+00:00", steps={"golden": {"state": "failed"}})
        self.put(old, "a.json")
        self.put(self.run_evidence(), "b.json")
        self.put(self.run_evidence(device={"name": "Another GPU", "driver": "1", "compute_capability": "9.0"}), "c.json")
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 0, text)
        self.assertEqual(self.label(NAMES[0], text),
                         "**PROVEN** (Another GPU, 2026-01-02), **PROVEN** (Played GPU, 2026-01-02)")

    def test_a_table_that_someone_edited(self):
        self.verify("--update")
        self.edit("README.md", "**NEVER RUN**", "**PROVEN** (H100, today)")
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("README.md is out of date; run tools/verify_evidence --update", text)
        self.edit("README.md", "<!-- end of gpu status -->", "")
        self.assertIn("needs one '<!-- gpu status", self.verify()[1])

    def test_ptx_is_the_same_in_another_folder(self):
        if not self.nvcc:
            self.skipTest("there is no nvcc")
        for text in ("_ZN43_INTERNAL_32db533f_12_setup_gpu_cu_c8f7fe424cuda3std",
                     "a45_GLOBAL__N__32db533f_12_setup_gpu_cu_c8f7fe426"):
            other = text.replace("32db533f", "01234567").replace("c8f7fe42", "89abcdef")
            self.assertEqual(self.ge.normalised(text), self.ge.normalised(other))
            self.assertNotEqual(self.ge.normalised(text), self.ge.normalised(text + "x"))
        here = self.ge.ptx_hashes(self.nvcc, "90a")
        (self.root / "build/ptx").unlink()
        self.assertEqual(self.ge.ptx_hashes(self.nvcc, "90a"), here)
        self.assertEqual(set(here), set(NAMES))

    def test_a_kernel_in_another_form_is_not_overlooked(self):
        self.edit(KERNELS[0], "__global__ void", "void __global__")
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertIn("label_keys_gpu.cu: a kernel is not written as", text)

    def test_entry_points_are_told_apart(self):
        ptx = ("// a comment\n.version 9.0\n.visible .entry _ZN6quarry17label_keys_kernelENS_9LabelArgsE(\n"
               ".param .u32 a\n)\n{\n\t{ // inner\n\t}\n\tadd.u32 %r1, 1;\n}\n"
               ".visible .entry _ZN3cub4sortIiEEvv()\n{\n}\n")
        parts = self.ge.split_ptx(ptx, KERNELS[0])
        self.assertEqual(set(parts), {"label_keys_kernel", "thrust:label_keys"})
        changed = self.ge.split_ptx(ptx.replace("%r1, 1", "%r1, 2"), KERNELS[0])
        self.assertNotEqual(changed["label_keys_kernel"], parts["label_keys_kernel"])
        self.assertEqual(changed["thrust:label_keys"], parts["thrust:label_keys"])


class CheckCuda(unittest.TestCase):
    def run_it(self, *arguments, **environment):
        done = subprocess.run([str(SOURCE / "tools/check_cuda"), *arguments], capture_output=True, text=True,
                              env=dict(os.environ, **environment))
        return done.returncode, done.stdout + done.stderr

    def test_help_is_its_head(self):
        code, text = self.run_it("--help")
        self.assertEqual(code, 0)
        self.assertTrue(text.startswith("Compiles every kernel"), text)
        self.assertIn("tools/check_cuda --self-test", text)
        self.assertNotIn("set -u", text)
        code, text = self.run_it("--wrong")
        self.assertEqual(code, 2)
        self.assertEqual(text, "check_cuda: unknown argument --wrong; tools/check_cuda --help\n")

    def test_cudacxx_is_the_compiler(self):
        code, text = self.run_it(KERNELS[0], CUDACXX="no_such_nvcc")
        self.assertEqual(code, 1)
        self.assertIn("CUDACXX is 'no_such_nvcc'", text)
        with tempfile.TemporaryDirectory() as folder:
            write_program(pathlib.Path(folder) / "my_nvcc", "#!/bin/sh\necho \"my compiler: $*\"\nexit 1\n")
            code, text = self.run_it(KERNELS[0], CUDACXX="my_nvcc", PATH=f"{folder}:{os.environ['PATH']}")
        self.assertEqual(code, 1)
        self.assertIn("my compiler: ", text)
        self.assertIn("--fmad=false", text)


class GpuCheck(Tree):
    def setUp(self):
        super().setUp()
        self.bin = self.root / "bin"
        self.bin.mkdir()
        write_program(self.bin / "nvidia-smi", "#!/bin/sh\necho 'Played GPU, 1.2.3, 9.0'\n")
        write_program(self.bin / "compute-sanitizer", FAKE_SANITIZER)
        for name, text in (("cuda_test", FAKE_TEST), ("quarry", FAKE_QUARRY), ("kernels_bench", FAKE_BENCH)):
            write_program(self.prebuilt / name, text)
        ptx = self.ge.ptx_hashes(self.nvcc, "90a") if self.nvcc else dict.fromkeys(NAMES, "a" * 64)
        (self.prebuilt / "gpu_check.json").write_text(json.dumps({
            "nvcc": self.ge.nvcc_version(self.nvcc) if self.nvcc else "13.0.88", "architecture": "90a",
            "tree_sha256": self.ge.tree_hash(), "programs": {
                name: self.ge.file_hash(self.prebuilt / name)
                for name in ("golden", "quarry", "kernels_bench", "cuda_test")},
            "kernels": {n: {"file": "f", "sources": self.ge.sources_hash(n), "ptx": ptx[n]} for n in NAMES}}))

    def check(self, *arguments, **environment):
        environment = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", **environment)
        done = subprocess.run([sys.executable, str(self.root / "tools/gpu_check"), "--prebuilt", str(self.prebuilt),
                               *arguments], capture_output=True, text=True, env=environment)
        files = sorted(self.evidence.glob("*"))
        return done.returncode, done.stdout + done.stderr, json.loads(files[-1].read_text()) if files else None

    def states(self, evidence):
        return {step: result["state"] for step, result in evidence["steps"].items()}

    def test_without_a_gpu_it_says_so_and_writes_nothing(self):
        write_program(self.bin / "nvidia-smi", "#!/bin/sh\necho 'failed: no driver'\nexit 9\n")
        code, text, evidence = self.check()
        self.assertEqual(code, 7)
        self.assertIn("no usable GPU on this machine", text)
        self.assertIsNone(evidence)
        write_program(self.bin / "nvidia-smi", "#!/bin/sh\necho 'Played GPU, 1.2.3, 9.0'\n")
        code, text, evidence = self.check(PLAY_GOLDEN="no-device")  # listed, but not usable
        self.assertEqual(code, 7)
        self.assertIsNone(evidence)

    def test_a_good_device_is_proved(self):
        code, text, evidence = self.check()
        self.assertEqual(code, 0, text)
        self.assertEqual(set(self.states(evidence).values()), {"passed"}, text)
        self.assertTrue(evidence["complete"])
        self.assertEqual(evidence["kernels"]["gather_queries_kernel"]["launches"], 3)
        self.assertEqual(evidence["timings"]["select_top"]["seconds"], {"median": 0.002, "min": 0.001, "max": 0.003})
        self.assertGreater(evidence["huge"]["product"], 1 << 31)
        self.assertEqual(evidence["tests"]["cuda_test"]["on_device"], 1)
        self.assertEqual(self.verify("--update")[0], 0)
        text = self.verify()[1]
        self.assertIn("**PROVEN** (Played GPU", self.label("gather_queries_kernel", text))
        self.assertEqual(self.label("label_keys_kernel", text), "**NEVER RUN**")
        self.assertEqual([p.name for p in self.evidence.iterdir() if p.name.startswith(".")], [])

    def test_the_device_is_the_one_that_ran(self):
        code, text, evidence = self.check("--only", "golden")
        self.assertEqual(code, 0, text)
        self.assertEqual(evidence["device"]["name"], "Played GPU")
        self.assertEqual(evidence["device"]["driver"], "1.2.3")
        self.assertEqual(set(evidence["programs"]), {"golden", "quarry", "kernels_bench", "cuda_test"})
        self.assertEqual(evidence["library"], {"_ZN3cub4sortEv": 1, "_ZN3cub4scanEv": 0})
        for file in self.evidence.iterdir():
            file.unlink()
        for play, said in (("other-device", "CUDA's device 0 is Other GPU (9.0), nvidia-smi's is Played GPU (9.0)"),
                           ("other-capability", "CUDA's device 0 is Played GPU (8.0)")):
            code, text, evidence = self.check(PLAY_GOLDEN=play)
            self.assertEqual(code, 1)
            self.assertIn(said, text)
            self.assertIsNone(evidence)
        write_program(self.bin / "nvidia-smi", "#!/bin/sh\necho 'Played GPU, 1.2.3, 8.0'\n")
        code, text, evidence = self.check(PLAY_GOLDEN="other-capability")
        self.assertIn("the programs were built for 90a, Played GPU is 80", text)
        self.assertIsNone(evidence)

    def test_programs_that_were_changed_are_refused(self):
        write_program(self.prebuilt / "golden", FAKE_GOLDEN + "# changed\n")
        code, text, evidence = self.check()
        self.assertEqual(code, 1)
        self.assertIn("are not those that were built there", text)
        self.assertIsNone(evidence)

    def test_a_device_that_dies_in_the_golden_cases(self):
        code, text, evidence = self.check("--only", "golden", PLAY_GOLDEN="die-golden")
        self.assertEqual(code, 1)
        self.assertEqual(evidence["steps"]["golden"]["state"], "failed")
        self.verify("--update")
        code, text = self.verify()
        self.assertEqual(code, 1)
        self.assertEqual({self.label(name, text).split(" (")[0] for name in NAMES}, {"**FAILED**"})

    def test_lacking_and_repeated_cases(self):
        for play, said in (("lack", "other cases than on the CPU"), ("twice", "is there more than once")):
            for file in self.evidence.iterdir():
                file.unlink()
            code, text, evidence = self.check("--only", "golden", PLAY_GOLDEN=play)
            self.assertEqual(code, 1)
            self.assertIn(said, evidence["steps"]["golden"]["why"])

    def test_differences_on_the_device_are_recorded(self):
        for play, step in (("flip", "golden"), ("flip-matrix", "matrix"), ("flip-ladder", "ladder")):
            for file in self.evidence.iterdir():
                file.unlink()
            code, text, evidence = self.check(PLAY_GOLDEN=play)
            self.assertEqual(code, 1)
            self.assertEqual(evidence["steps"][step]["state"], "failed", text)
            self.assertFalse(evidence["complete"])
            self.assertEqual(evidence["steps"]["bench"]["state"], "passed", "later steps ran all the same")
            self.verify("--update")
            self.assertIn("**FAILED**", self.label("gather_queries_kernel", self.verify()[1]))

    def test_sanitizers_passed_failed_and_unavailable(self):
        code, text, evidence = self.check("--only", "sanitizers",
                                          PLAY_SANITIZER="racecheck=refuse,memcheck=error,initcheck=crash")
        self.assertEqual(code, 1)
        self.assertEqual({tool: r["state"] for tool, r in evidence["sanitizers"].items()},
                         {"memcheck": "failed", "racecheck": "unavailable", "synccheck": "passed",
                          "initcheck": "failed"})
        self.assertIn("not supported", evidence["sanitizers"]["racecheck"]["why"])
        self.assertEqual(evidence["sanitizers"]["memcheck"]["errors"], 2)

    def test_a_refused_sanitizer_alone_is_no_failure_and_no_pass(self):
        code, text, evidence = self.check(PLAY_SANITIZER="racecheck=refuse")
        self.assertEqual(code, 0, text)
        self.assertEqual(evidence["steps"]["sanitizers"]["state"], "unavailable")
        self.assertFalse(evidence["complete"])
        self.verify("--update")
        self.assertIn("racecheck unavailable", (self.root / "README.md").read_text())

    def test_too_small_a_device_and_skipped_tests(self):
        code, text, evidence = self.check(PLAY_GOLDEN="small-device")
        self.assertEqual(self.states(evidence)["huge"], "unavailable")
        for file in self.evidence.iterdir():
            file.unlink()
        code, text, evidence = self.check("--only", "tests", PLAY_TESTS="skip")
        self.assertEqual(code, 1)
        self.assertIn("skipped though there is a device: Against/Backend.EveryKernel/cuda",
                      evidence["steps"]["tests"]["why"])

    def test_a_step_that_hangs_or_dies_leaves_the_others(self):
        self.edit("tools/gpu_check", '"matrix": 60', '"matrix": 6')
        code, text, evidence = self.check(PLAY_GOLDEN="hang")
        self.assertEqual(code, 1)
        self.assertEqual(self.states(evidence)["matrix"], "timed out")
        self.assertEqual(self.states(evidence)["huge"], "passed")
        for file in self.evidence.iterdir():
            file.unlink()
        code, text, evidence = self.check(PLAY_GOLDEN="die")
        self.assertEqual(self.states(evidence)["matrix"], "failed")
        self.assertEqual(self.states(evidence)["bench"], "passed")
        for file in self.evidence.iterdir():
            file.unlink()
        code, text, evidence = self.check("--limit", "4", PLAY_GOLDEN="hang")
        self.assertEqual(self.states(evidence)["matrix"], "not run")
        self.assertNotEqual(code, 0)

    def test_what_was_recorded_survives_the_death_of_the_tool(self):
        environment = dict(os.environ, PATH=f"{self.bin}:{os.environ['PATH']}", PLAY_GOLDEN="hang")
        process = subprocess.Popen([sys.executable, str(self.root / "tools/gpu_check"), "--only", "matrix",
                                    "--prebuilt", str(self.prebuilt)],
                                   stdout=subprocess.PIPE, text=True, env=environment)
        self.assertIn("golden: passed", process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        run = self.ge.load(sorted(self.evidence.glob("*.json"))[0])
        self.assertEqual(run["steps"]["golden"]["state"], "passed")
        self.assertFalse(run["complete"])

    def test_binaries_of_another_tree_are_refused(self):
        self.edit(KERNELS[0], "kLabelThreads = 128", "kLabelThreads = 64")
        code, text, evidence = self.check()
        self.assertEqual(code, 1)
        self.assertIn("other sources", text)
        self.assertIsNone(evidence)
        (self.prebuilt / "gpu_check.json").unlink()
        self.assertIn("was not built by tools/gpu_check --prepare", self.check()[1])


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    GOLDEN = sys.argv.pop(1)
    unittest.main(verbosity=1)
