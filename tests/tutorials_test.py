#!/usr/bin/env python3
"""Every command and snippet of docs/tutorials is run, in small: the blocks of a page one after the other, in a home of their own, where
`quarry` is the program under test and `sbatch` a stand-in that loses a task. Blocks that say needs=PACKAGE are skipped, with words, where it
is missing.

  tests/tutorials_test.py [PROGRAM]      default: the program of the package `quarry`"""
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

from program import manifest_of, read_csv, text_of
from tiny_movielens import write_tables

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGES = os.path.join(ROOT, "docs", "tutorials")
PROGRAM = ""
BLOCK = re.compile(r"^```(\w*)[ ]?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# Sizes of the pages, and those of the test. Each must be there.
SMALL = {
    "nightly.md": [("--users 2000 --items 5000", "--users 300 --items 800")],
    "cluster.md": [("--users 20000 --items 10000 --leaks 0", "--users 900 --items 400 --dim 16 --leaks 0"),
                   ("--synth-users 100000 --synth-items 20000 --shards 16", "--synth-users 900 --synth-items 400 --synth-dim 16 --shards 4")],
    "text.md": [], "training.md": [],
}
# Stands for Slurm's: tasks one after the other, of which the last of the first array gets lost.
SBATCH = """#!{python}
import os, subprocess, sys
array, = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--array=")]
export, = [a.split("=", 1)[1] for a in sys.argv if a.startswith("--export=")]
numbers = []
for part in array.split("%")[0].split(","):
    first, _, last = part.partition("-")
    numbers += range(int(first), int(last or first) + 1)
lost = not os.path.exists(os.path.expanduser("~/lost"))
open(os.path.expanduser("~/lost"), "a").write(f"{{numbers}}\\n")
given = dict(pair.split("=", 1) for pair in export.split(",")[1:])
for number in numbers[:-1] if lost else numbers:
    env = dict(os.environ, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID=str(number), SLURM_CPUS_PER_TASK="1", **given)
    code = subprocess.run(["bash", sys.argv[-1]], env=env).returncode
    if code:
        sys.exit(f"task {{number}}: exit code {{code}}")
"""


def missing(package):
    return importlib.util.find_spec(package) is None


def blocks_of(page, text):
    """(language, packages, code) of each; every block must be one that can be run, and say its language."""
    found = [(language, words, code) for language, words, code in BLOCK.findall(text)]
    if text.count("```") != 2 * len(found):
        raise AssertionError(f"{page}: {text.count('```')} fences, of which {len(found)} blocks were found")
    for language, words, code in found:
        if language not in ("sh", "python", "cron") or not re.fullmatch(r"(needs=[\w,]+)?", words):
            raise AssertionError(f"{page}: a block of {language or 'no language'} {words!r}, which nothing runs:\n{code}")
    return [(language, words.removeprefix("needs=").split(",") if words else [], code) for language, words, code in found]


def in_small(page, text):
    for words, smaller in SMALL[page]:
        if words not in text:
            raise AssertionError(f"{page}: {words!r} is not there any more")
        text = text.replace(words, smaller)
    return text


class Home:
    """A home folder with what pages count on."""

    def __init__(self, folder):
        self.folder = folder
        self.skipped = []
        os.symlink(ROOT, self.path("quarry"))
        os.mkdir(self.path("bin"))
        for name, text in (("quarry", f'#!/bin/sh\nexec "{PROGRAM}" "$@"\n'), ("srun", '#!/bin/sh\nexec "$@"\n'), ("scontrol", "#!/bin/sh\nexit 1\n"),
                           ("sbatch", SBATCH.format(python=sys.executable)), *((name, f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
                                                                              for name in ("python", "python3"))):
            with open(self.path("bin", name), "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(self.path("bin", name), 0o755)
        self.env = {**os.environ, "HOME": folder, "PATH": self.path("bin") + os.pathsep + os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1",
                    "OMP_NUM_THREADS": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def run(self, page, text):
        """Blocks in order; what they print."""
        said = []
        for number, (language, packages, code) in enumerate(blocks_of(page, text), 1):
            lacking = [package for package in packages if missing(package)]
            if lacking:
                self.skipped.append(number)
                print(f"{page}: block {number} ({language}) skipped, {sys.executable} lacks {', '.join(lacking)}", flush=True)
                continue
            if language == "cron":
                code = "".join(line.split(None, 5)[5] + "\n" for line in code.splitlines() if line and not line.startswith("#"))
            command = {"sh": ["bash", "-euo", "pipefail"], "cron": ["sh"], "python": [sys.executable]}[language]
            done = subprocess.run(command + ["-c", code], cwd=self.folder, env=self.env, capture_output=True, text=True)
            said.append(done.stdout + done.stderr)
            if done.returncode != 0:
                raise AssertionError(f"{page}: block {number} ended with {done.returncode}\n{code}\n{said[-1]}")
        return "".join(said)


class Tutorials(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.home = Home(os.path.realpath(temporary.name))

    def page(self, name):
        said = self.home.run(name, in_small(name, text_of(os.path.join(PAGES, name))))
        return said, self.home.path

    def quarry(self, *arguments):
        done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_nightly(self):
        said, path = self.page("nightly.md")
        store = path("shop", "negatives")
        versions = {v["version"]: v for v in json.loads(self.quarry("log", store, "--json"))["versions"]}
        self.assertEqual(sorted(versions), [1, 2])  # cron's line came before a log did: it made nothing
        self.assertEqual((versions[2]["state"], versions[2]["audit"]), ("approved", "pass"))
        self.assertIn("pending approval; audit: pass", said)
        self.assertIn("latest", versions[2]["tags"] + re.findall(r"^v2 .*\[(.*)\]", self.quarry("log", store), re.MULTILINE)[0].split(", "))
        day, base = read_csv(path("shop", "logs", "day1.csv")), manifest_of(store, 1)
        self.assertGreater(len(day), 20)
        self.assertGreater(manifest_of(store, 2)["rows"], base["rows"])  # positives of the log are rows
        for page in ("audit.html", "history.html"):
            self.assertIn("</html>", text_of(path("shop", page)))
        self.assertNotIn("exit code", text_of(path("shop", "nightly.log")))

    def test_nightly_says_that_a_gate_failed(self):
        text = in_small("nightly.md", text_of(os.path.join(PAGES, "nightly.md")))
        blocks = blocks_of("nightly.md", text)
        for _, _, code in blocks[:2]:
            subprocess.run(["bash", "-euo", "pipefail", "-c", code], env=self.home.env, check=True, capture_output=True)
        shop = self.home.path("shop")
        gates = self.home.path("gates.toml")
        with open(gates, "w", encoding="utf-8") as file:
            file.write("[fill.slots]\nlimit = 1.5\n")
        with open(os.path.join(shop, "nightly.sh"), encoding="utf-8") as file:
            script = file.read()
        self.assertIn("--record", script)
        with open(os.path.join(shop, "nightly.sh"), "w", encoding="utf-8") as file:
            file.write(script.replace("--record", f"--record --gates {gates}"))
        with open(os.path.join(shop, "data", "heldout.csv"), encoding="utf-8") as file:
            lines = file.readlines()
        with open(os.path.join(shop, "logs", "day1.csv"), "w", encoding="utf-8") as file:
            file.writelines(lines)
        done = subprocess.run([os.path.join(shop, "nightly.sh")], env=self.home.env, capture_output=True, text=True)
        self.assertEqual(done.returncode, 8, done.stderr)
        cron = [code for language, _, code in blocks if language == "cron"][0].split(None, 5)[5]
        with open(os.path.join(shop, "logs", "day2.csv"), "w", encoding="utf-8") as file:
            file.write(lines[0] + lines[1].replace(lines[1].split(",")[2], "1700000000"))
        done = subprocess.run(["sh", "-c", cron], env=self.home.env, capture_output=True, text=True)
        self.assertIn("exit code 8", done.stderr)  # a mail
        self.assertRegex(self.quarry("log", os.path.join(shop, "negatives")), r"v1 .*latest")

    def test_training(self):
        write_tables(self.home.path("data", "movielens"))
        said, _ = self.page("training.md")
        if not self.home.skipped:
            self.assertEqual(len(re.findall(r"NDCG@10 0\.\d+ on validation, 0\.\d+ on test", said)), 2)
            losses = [float(loss) for loss in re.findall(r"epoch \d: loss ([\d.]+)", said)]
            self.assertEqual(len(losses), 5)
            self.assertLess(losses[-1], losses[0])

    def test_text(self):
        _, path = self.page("text.md")
        if 1 in self.home.skipped:
            return
        with open(path("train.json"), encoding="utf-8") as file:
            table = json.load(file)
        answer = dict(zip(table["question"], table["answer"]))
        self.assertEqual(len(answer), 32)
        for row in range(len(table["question"])):
            negatives = [table[f"negative_{n}"][row] for n in (1, 2, 3)]
            self.assertEqual(len(set(negatives)), 3)
            self.assertNotIn(answer[table["question"][row]], negatives)
            self.assertLessEqual(set(negatives), set(answer.values()))

    def test_cluster(self):
        said, path = self.page("cluster.md")
        calls = text_of(path("lost")).splitlines()
        self.assertEqual(calls[1:], ["[7]", str(list(range(8)))])  # the lost task was found, and submitted again alone; then all, to measure
        self.assertEqual(len(json.loads(text_of(path("big", "plan.json")))["shards"]), 8)
        inputs = [f"--{name}={path('big', 'data', file)}" for name, file in (("items", "items.npy"), ("users", "users.npy"), ("events", "events.csv"),
                                                                             ("catalogue", "catalogue.csv"))]
        self.quarry("mine", *inputs, "--recipe", "balanced", "--out", path("big", "whole"))
        self.quarry("diff", path("big", "negatives"), path("big", "whole"), "--fail-if-different")
        for name in ("cluster", "array") + (() if self.home.skipped else ("ray",)):
            told = json.loads(text_of(path("big", f"{name}.json")))
            self.assertTrue(told["hashes_equal"], name)
            self.assertEqual([case["workers"] for case in told["cases"]], [1, 4] if name == "array" else [1, 2])
            self.assertIn("</svg>", text_of(path("big", f"{name}.svg")))
        self.assertIn("PASS", said)

    def test_every_page_is_run(self):
        pages = {os.path.basename(page) for page in glob.glob(os.path.join(PAGES, "*.md"))} - {"README.md"}
        self.assertEqual(pages, set(SMALL))
        self.assertEqual({name for name in dir(self) if re.fullmatch(r"test_[a-z]+", name)}, {f"test_{page[:-3]}" for page in pages})
        index = text_of(os.path.join(PAGES, "README.md"))
        for page in pages:
            self.assertIn(f"({page})", index)

    def test_faults_of_pages_are_seen(self):
        for text, words in (("```sh\nquarry mine --no-such-flag\n```\n", "no-such-flag"), ("```sh\nfalse | true\n```\n", "ended with 1"),
                            ("```python\nassert False, 'seen'\n```\n", "seen"), ("```cron\n0 0 * * * exit 3\n```\n", "ended with 3"),
                            ("```\nls\n```\n", "no language"), ("```sh if you like\nls\n```\n", "nothing runs"), ("```sh\nls\n", "fences")):
            with self.assertRaisesRegex(AssertionError, words):
                self.home.run("page", text)
        self.assertEqual(self.home.run("page", "```sh needs=no_such_package\nfalse\n```\n```sh\necho \"$HOME\"\n```\n"), self.home.folder + "\n")
        self.assertEqual(self.home.skipped, [1])


def main():
    global PROGRAM
    if len(sys.argv) > 1 and os.path.exists(sys.argv[1]):
        PROGRAM = os.path.abspath(sys.argv.pop(1))
    else:
        try:
            import quarry
        except ImportError as error:
            print(f"tutorials_test: skipped, no program is given and {sys.executable} lacks the package: {error}")
            sys.exit(77)
        PROGRAM = quarry.program()
    unittest.main(verbosity=2)


if __name__ == "__main__":
    main()
