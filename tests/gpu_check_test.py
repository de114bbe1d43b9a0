#!/usr/bin/env python3
"""tools/gpu_check on a played device, and tools/check_cuda's arguments: what fails, hangs, dies or is refused must be recorded so.
Needs no GPU.

  gpu_check_test.py GOLDEN [unittest arguments]      GOLDEN: the program build/.../golden
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

from evidence_tree import FAKE_BENCH, FAKE_GOLDEN, FAKE_QUARRY, FAKE_SANITIZER, FAKE_TEST, KERNELS, NAMES, SOURCE, Tree, write_program, main


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
    main(__doc__)
