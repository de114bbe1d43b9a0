#!/usr/bin/env python3
"""tools/verify_evidence on made-up evidence: every planted difference must be seen, and what was not shown must not be called so.
Needs no GPU.

  evidence_test.py GOLDEN [unittest arguments]      GOLDEN: the program build/.../golden
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

from evidence_tree import KERNELS, NAMES, SOURCE, Tree, main


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
        self.assertEqual(self.verify("--update", golden=Tree.golden)[0], 0)
        code, text = self.verify(golden=Tree.golden)
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


if __name__ == "__main__":
    main(__doc__)
