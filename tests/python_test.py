#!/usr/bin/env python3
"""The Python package beside the program: the same rows get the same negatives, arrays are not copied, mistakes have names, threads,
signals and forks do what is promised, sets are read, and nothing leaks.

  tests/python_test.py [PROGRAM]     PROGRAM: what to compare with; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import csv
import gc
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

try:
    import numpy as np

    import quarry
except ImportError as error:
    print(f"python_test: skipped, {sys.executable} lacks the package: {error}")
    sys.exit(77)
try:
    import torch

    import quarry.torch
except ImportError:
    torch = None

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECIPES = ("balanced", "nv-perc", "simans", "random", "dns-mn", "exposure", "nv-sample")
COLUMNS = ("item", "score", "gap", "branch", "raw_rank", "survivor_rank", "stratum", "logq", "fill", "count", "kappa", "positive_min",
           "certified")
program = ""


def run(*arguments, ok=(0,)):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in ok:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stderr}")
    return done


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class PythonTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.old = os.getcwd()
        os.chdir(cls.folder.name)
        run("synth", "--users", 300, "--items", 800, "--dim", 32, "--out", "data")
        cls.items, cls.users = np.load("data/items.npy"), np.load("data/users.npy")
        cls.tables = {"events": "data/events.csv", "catalogue": "data/catalogue.csv"}
        for recipe in RECIPES:
            cls.mine(recipe, f"set_{recipe}")

    @classmethod
    def tearDownClass(cls):
        os.chdir(cls.old)
        cls.folder.cleanup()

    @classmethod
    def mine(cls, recipe, out, *more, items="data/items.npy"):
        run("mine", "--items", items, "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue",
            "data/catalogue.csv", "--recipe", recipe, "--seed", 11, "--out", out, *more)

    def miner(self, recipe="balanced", **more):
        return quarry.Miner(**{"items": self.items, "users": self.users, "recipe": recipe, "seed": 11, **self.tables, **more})

    @staticmethod
    def batch(rows):
        return rows.user, (rows.positive_offset, rows.positive)

    def assert_same(self, negatives, rows):
        np.testing.assert_array_equal(negatives.key, rows.row_key)
        for name in COLUMNS:
            expected = rows[name].astype(np.int64) if name == "item" else rows[name]
            if name == "item":
                expected = np.where(expected == 0xFFFFFFFF, -1, expected)
            np.testing.assert_array_equal(getattr(negatives, name), expected, name)

    # --- the same answers -------------------------------------------------------------------------
    def test_recipes_give_what_the_program_gives(self):
        for recipe in RECIPES:
            with self.subTest(recipe=recipe):
                wanted = quarry.open(f"set_{recipe}")
                miner = self.miner(recipe, threads=1 + len(recipe) % 2)
                parts = []
                for begin in range(0, len(wanted), 333):
                    rows = wanted[begin:begin + 333]
                    parts.append(miner.mine(*self.batch(rows), times=rows.time))
                    self.assert_same(parts[-1], rows)
                got = quarry.Negatives.concatenate(parts)
                self.assertEqual(got.content_hash(), wanted.content_hash)
                self.assertEqual((miner.branches, miner.strata, miner.k), (wanted.branches, wanted.strata, wanted.k))
                other = self.miner(recipe, seed=12).mine(*self.batch(rows), times=rows.time)
                sampled = bool(np.isfinite(got.logq).any())
                self.assertEqual(bool((other.item != parts[-1].item).any()), sampled)

    def test_rows_of_a_table_with_ids(self):
        with open("ids.csv", "w", newline="") as file:
            csv.writer(file).writerows([["sku", "x"]] + [[f"i{i}", i] for i in range(len(self.items))])
        with open("data/events.csv") as source, open("named.csv", "w", newline="") as file:
            events = list(csv.DictReader(source))
            csv.writer(file).writerows([["who", "item", "time", "kind", "value"]] + [
                [f"u{e['user']}", f"i{e['item']}", e["time"], e["kind"], e["value"]] for e in events])
        user_ids = [f"u{u}" for u in range(len(self.users))]
        with open("user_ids.csv", "w", newline="") as file:
            csv.writer(file).writerows([["user"]] + [[u] for u in user_ids])
        users = np.arange(0, 200) % 150
        keys = np.arange(200, dtype=np.uint64) * 3 + 5
        lists = [[(7 * r + j * j + 3 * j) % 800 for j in range(r % 4)] for r in range(200)]
        tables = {"users": "data/users.npy", "item_ids": "ids.csv:sku", "user_ids": user_ids, "events": ["named.csv"],
                  "event_columns": {"user": "who"}, "as_of": "2021-06-01", "overrides": ["k=3"]}
        without = quarry.Miner("data/items.npy", "nv-sample", **tables)
        for r, items in enumerate(without.mine(users[:50], lists[:50], keys=keys[:50]).item):
            lists[150 + r] = [item for item in items.tolist() if item >= 0]  # positives of the second rows of these users
        with open("rows.csv", "w", newline="") as file:
            csv.writer(file).writerows([["user", "item", "row_key"]] + [
                [user_ids[u], "|".join(f"i{i}" for i in row), 5 + 3 * r] for r, (u, row) in enumerate(zip(users, lists))])
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--item-ids", "ids.csv:sku", "--user-ids", "user_ids.csv",
            "--events", "named.csv", "--event-columns", "user=who", "--rows", "rows.csv", "--recipe", "nv-sample", "--set", "k=3",
            "--as-of", "2021-06-01", "--out", "set_table")
        wanted = quarry.open("set_table", verify=True)
        known = (np.repeat(users, [len(row) for row in lists]), np.concatenate([np.array(row, np.int64) for row in lists]))
        miner = quarry.Miner("data/items.npy", "nv-sample", known_positives=known, **tables)
        self.assert_same(miner.mine(users, lists, keys=keys), wanted[:])
        padded = np.full((200, 3), -1)
        for r, row in enumerate(lists):
            padded[r, :len(row)] = row
        self.assert_same(miner.mine(users, padded, keys=keys), wanted[:])
        self.assertNotEqual(without.mine(users, lists, keys=keys).content_hash(), wanted.content_hash)
        # Keys of ids, several positives and no time, as the program makes them.
        with open("rows.csv", "w", newline="") as file:
            csv.writer(file).writerows([["user", "item"]] + [[user_ids[u], "|".join(f"i{i}" for i in row)] for u, row in zip(range(99), lists)])
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--item-ids", "ids.csv:sku", "--user-ids", "user_ids.csv",
            "--events", "named.csv", "--event-columns", "user=who", "--rows", "rows.csv", "--recipe", "nv-sample", "--out", "set_keys")
        np.testing.assert_array_equal(miner.mine(range(99), lists[:99]).key, quarry.open("set_keys").column("row_key"))

    def test_recipe_as_text_and_path_and_half_tables(self):
        text = run("recipes", "show", "nv-perc").stdout
        with open("r.toml", "w") as file:
            file.write(text)
        rows = quarry.open("set_nv-perc")[:200]
        for recipe in (text, "r.toml", "./r.toml"):
            self.assert_same(self.miner(recipe).mine(*self.batch(rows), times=rows.time), rows)
        half = self.items.astype(np.float16)
        np.save("half.npy", half)
        self.mine("nv-perc", "set_half", items="half.npy")
        wanted = quarry.open("set_half")[:]
        self.assert_same(self.miner("nv-perc", items=half).mine(*self.batch(wanted), times=wanted.time), wanted)

    def test_tables_that_recipes_name(self):
        recipe = """name = "tables"
k = 4
metric = "ip"
[safety]
filters = [{ kind = "segment", column = "category" }, { kind = "positives" }]
[exposure]
positive = ["like", "purchase"]
[[branch]]
name = "hard"
share = 1
source = { kind = "topk", pool = 20 }
filters = [{ kind = "allow_list", list = "shown" }, { kind = "near_duplicate", table = "text", cosine = 0.2 },
           { kind = "column", table = "teacher", max = 0.5, missing = "keep" }]
"""
        random = np.random.default_rng(5)
        text = random.standard_normal((800, 8), np.float32)
        np.save("text.npy", text)
        shown = np.sort(random.choice(800, 500, replace=False))
        with open("data/catalogue.csv") as file:
            category = [row["category"] for row in csv.DictReader(file)]
        users, items = np.arange(120), random.integers(0, 800, 120)
        segments = [category[(7 * item) % 800] for item in items]
        for name, header, rows in (("shown.csv", ["item"], [[i] for i in shown]),
                                   ("teacher.csv", ["user", "item", "score"], [[u, i, (u * i % 10) / 10] for u in users for i in range(u % 3, 800, 3)]),
                                   ("rows.csv", ["user", "item", "time", "segment"], [[u, i, 1_620_000_000 + u, s] for u, i, s in zip(users, items, segments)])):
            with open(name, "w", newline="") as file:
                csv.writer(file).writerows([header, *rows])
        with open("tables.toml", "w") as file:
            file.write(recipe)
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue", "data/catalogue.csv",
            "--rows", "rows.csv", "--recipe", "tables.toml", "--pairs", "teacher=teacher.csv", "--feature", "text=text.npy", "--item-list",
            "shown=shown.csv", "--out", "set_tables")
        wanted = quarry.open("set_tables")[:]
        self.assertGreater(int(wanted.count.sum()), 50)
        for features, lists in ((text, shown[::-1]), ("text.npy", "shown.csv")):
            miner = self.miner(recipe, seed=0, pairs={"teacher": "teacher.csv"}, features={"text": features}, item_lists={"shown": lists},
                               known_positives=(users, items))
            self.assert_same(miner.mine(users, items, times=1_620_000_000 + users, segments=segments), wanted)
        other = miner.mine(users, items, times=1_620_000_000 + users, segments=segments[::-1])
        self.assertTrue((other.item != np.where(wanted.item == 0xFFFFFFFF, -1, wanted.item.astype(np.int64))).any())
        with self.assertRaisesRegex(quarry.InputError, "segments: has 1"):
            miner.mine(users, items, segments=["c1"])
        with self.assertRaisesRegex(quarry.ConfigError, "teacher"):
            self.miner(recipe, features={"text": text}, item_lists={"shown": shown})
        with self.assertRaisesRegex(quarry.InputError, "799 rows, items have 800"):
            self.miner(recipe, pairs={"teacher": "teacher.csv"}, features={"text": text[:799]}, item_lists={"shown": shown})

    def test_other_k_queries_and_bad_rows(self):
        rows = quarry.open("set_nv-perc")[:50]
        miner = self.miner("nv-perc")
        self.mine("nv-perc", "set_k7", "--set", "k=7")
        wanted = quarry.open("set_k7")[:50]
        self.assert_same(miner.mine(*self.batch(rows), times=rows.time, k=7), wanted)
        self.assert_same(miner.mine(*self.batch(rows), times=rows.time), rows)
        by_query = miner.mine(*self.batch(rows), times=rows.time, queries=np.ascontiguousarray(self.users[rows.user]))
        self.assert_same(by_query, rows)
        queries = self.users[:3].copy()
        queries[1, 2] = np.nan
        mined = miner.mine([0, 1, 2], queries=queries)
        self.assertEqual(mined.count[1], 0)
        self.assertEqual({quarry.FILL_CODES[code] for code in mined.fill[1]}, {"bad_row"})
        self.assertTrue((mined.item[1] == -1).all() and mined.count[0] > 0)
        bare = quarry.Miner(self.items, "naive", allow_inert=True)
        self.assertEqual(bare.num_users, 0)
        best = bare.mine(queries=self.users[:4], keys=[1, 2, 3, 4], positives=[[5], [], [7, 9], []]).item
        unit = self.items / np.linalg.norm(self.items, axis=1, keepdims=True) if 'metric = "cosine"' in bare.recipe else self.items
        top = np.argsort(-(self.users[1].astype(np.float64) @ unit.T.astype(np.float64)))[:bare.k]
        self.assertEqual(set(best[1].tolist()), set(top.tolist()))
        self.assertEqual(len(bare.mine(queries=np.zeros((0, 32), np.float32), keys=[])), 0)

    def test_readme_example(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            section = file.read().split("\n## Python\n")[1].split("\n## ")[0]
        shell = re.search(r"```\n(.*?)```", section, re.S).group(1)
        code = re.search(r"```python\n(.*?)```", section, re.S).group(1)
        self.assertLessEqual(len(code.strip().splitlines()), 15)
        folder = tempfile.mkdtemp(dir=".")
        lines = [line.split() for line in shell.splitlines() if line.startswith("python -m quarry")]
        self.assertEqual(len(lines), 2)
        for words in lines:
            subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True, capture_output=True)
        done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(os.path.join(folder, "negatives/manifest.json")) as file:
            self.assertIn(json.load(file)["content_hash"], done.stdout)

    # --- no copies --------------------------------------------------------------------------------
    def test_arrays_are_read_in_place(self):
        for array in (self.items, self.items.astype(np.float16)):
            miner = self.miner("random", items=array)
            self.assertEqual((miner.items_address, miner.users_address), (array.ctypes.data, self.users.ctypes.data))
        frozen = self.items.copy()
        frozen.setflags(write=False)
        address, miner = frozen.ctypes.data, self.miner("random", items=frozen)
        self.assertEqual(miner.items_address, address)
        del frozen  # the miner keeps it
        gc.collect()
        rows = quarry.open("set_random")[:100]
        self.assert_same(miner.mine(*self.batch(rows), times=rows.time), rows)
        mapped = np.load("data/items.npy", mmap_mode="r")
        self.assertEqual(self.miner("random", items=mapped).items_address, mapped.ctypes.data)
        held = self.items.copy()
        before = sys.getrefcount(held)
        miner = self.miner("random", items=held)
        self.assertGreater(sys.getrefcount(held), before)
        del miner
        gc.collect()
        self.assertEqual(sys.getrefcount(held), before)

    @unittest.skipIf(torch is None, "no torch")
    def test_torch_tensors_are_read_in_place(self):
        items, users = torch.from_numpy(self.items), torch.from_numpy(self.users).clone().requires_grad_()
        miner = self.miner("nv-perc", items=items, users=users)
        self.assertEqual((miner.items_address, miner.users_address), (items.data_ptr(), users.data_ptr()))
        rows = quarry.open("set_nv-perc")[:64]
        offsets = torch.from_numpy(rows.positive_offset.astype(np.int64))
        got = miner.mine(torch.from_numpy(rows.user.astype(np.int64)), (offsets, torch.from_numpy(rows.positive.astype(np.int32))),
                         times=torch.from_numpy(rows.time.copy()))
        self.assert_same(got, rows)
        brain = items.to(torch.bfloat16)
        self.assertEqual(self.miner("nv-perc", items=brain).items_address, brain.data_ptr())
        with self.assertRaisesRegex(quarry.InputError, "device meta.*cpu"):
            self.miner(items=items.to("meta"))

    # --- mistakes ---------------------------------------------------------------------------------
    def test_what_is_left_out_is_said(self):
        with open("data/events.csv", newline="") as file:
            lines = file.read().splitlines()
        with open("strange.csv", "w") as file:
            file.write("\n".join([*lines, "100000,1,1600000000,like,", "1,100000,1600000000,like,"]) + "\n")
        with self.assertRaisesRegex(quarry.InputError, "have no embedding"):
            self.miner(events="strange.csv")
        self.assertEqual(self.miner(unknown_ids="drop").warnings, [])
        warned = self.miner(events="strange.csv", unknown_ids="drop").warnings
        self.assertRegex(" ".join(warned), r"events \(ids of users and items\): 2;")

    def test_mistakes_are_named(self):
        miner, one = self.miner("nv-perc"), self.users[:1]
        cases = [
            (quarry.InputError, "items: is float64.*astype", lambda: self.miner(items=self.items.astype(np.float64))),
            (quarry.InputError, "items: is int32", lambda: self.miner(items=np.zeros((3, 32), np.int32))),
            (quarry.InputError, "two dimensions", lambda: self.miner(items=self.items[0])),
            (quarry.InputError, "ascontiguousarray", lambda: self.miner(items=np.asfortranarray(self.items))),
            (quarry.InputError, "ascontiguousarray", lambda: self.miner(items=self.items[::2])),
            (quarry.InputError, "byte order", lambda: self.miner(items=self.items.astype(">f4"))),
            (quarry.InputError, "is a list", lambda: self.miner(items=[[1.0]])),
            (quarry.InputError, "items: is <U1", lambda: self.miner(items=np.array([["a", "b"]]))),
            (quarry.InputError, "items: is datetime64", lambda: self.miner(items=np.zeros((3, 32), "datetime64[s]"))),
            (quarry.InputError, "items: is", lambda: self.miner(items=self.items.astype(np.longdouble))),
            (quarry.InputError, "queries: is complex64", lambda: miner.mine([0], [2], queries=one.astype(np.complex64))),
            (quarry.InputError, "Python objects", lambda: self.miner(items=self.items.astype(object))),
            (quarry.InputError, "users: have 8 columns, items have 32", lambda: self.miner(users=self.users[:, :8].copy())),
            (quarry.InputError, "items", lambda: self.miner(items=np.full((5, 32), np.nan, np.float32))),
            (quarry.InputError, "0 rows", lambda: self.miner(items=self.items[:0])),
            (quarry.ConfigError, "there is no recipe .nv-pers.*did you mean .nv-perc", lambda: self.miner("nv-pers")),
            (quarry.ConfigError, "recipe:", lambda: self.miner("k = 3\nnonsense = 1\n")),
            (quarry.ConfigError, "catalogue", lambda: self.miner(catalogue=None)),
            (quarry.ConfigError, "known_positives", lambda: quarry.Miner(self.items, "nv-perc", users=self.users)),
            (quarry.ConfigError, "users=", lambda: quarry.Miner(self.items, "nv-perc", events="data/events.csv")),
            (quarry.ConfigError, "threads", lambda: self.miner(threads=0)),
            (quarry.ConfigError, "seed", lambda: self.miner(seed=-1)),
            (quarry.ConfigError, "as_of", lambda: self.miner(as_of="yesterday")),
            (quarry.ConfigError, "event_columns.*'usr'", lambda: self.miner(event_columns={"usr": "x"})),
            (quarry.ConfigError, "unknown_ids", lambda: self.miner(unknown_ids="keep")),
            (quarry.IoError, "missing.csv", lambda: self.miner(events="missing.csv")),
            (quarry.IoError, "missing.npy", lambda: self.miner(items="missing.npy")),
            (quarry.InputError, "known_positives", lambda: self.miner(known_positives=([1, 2], [3]))),
            (quarry.InputError, "known_positives.*800", lambda: self.miner(known_positives=([1], [800]))),
            (quarry.InputError, "known_positives: must be", lambda: self.miner(known_positives=np.array([[3, 10], [4, 11], [5, 12]]))),
            (quarry.InputError, "known_positives: must be", lambda: self.miner(known_positives=([1],))),
            (quarry.InputError, "datetime64.s.", lambda: miner.mine([0], [2], times=np.array(["2021-01-01"], "datetime64[ns]"))),
            (quarry.InputError, "entry 1 is 18446744073709551616", lambda: miner.mine([0, 1], [2, 3], keys=[1, 2**64])),
            (quarry.InputError, "ids for 800 rows", lambda: self.miner(item_ids=["a", "b"])),
            (quarry.InputError, "users: is float64", lambda: miner.mine([0.5], [1])),
            (quarry.InputError, "users: has shape", lambda: miner.mine([[0]], [1])),
            (quarry.InputError, "entry 1 is -3", lambda: miner.mine([0, -3], [1, 2])),
            (quarry.InputError, "entry 0 is 4294967295", lambda: miner.mine(np.array([2**32 - 1], np.uint32), [2])),
            (quarry.InputError, "outside of the 300 that are known.*rows 1", lambda: miner.mine([0, 300], [1, 2])),
            (quarry.InputError, "outside of the 800 items.*rows 0", lambda: miner.mine([0, 1], [800, 2])),
            (quarry.InputError, "is of 1 rows; the batch has 2", lambda: miner.mine([0, 1], [2])),
            (quarry.InputError, "offsets", lambda: miner.mine([0, 1], (np.array([0, 2, 1]), np.array([4, 5])))),
            (quarry.InputError, "3 are needed", lambda: miner.mine([0, 1], (np.array([0, 2]), np.array([4, 5])))),
            (quarry.InputError, "times: has 1", lambda: miner.mine([0, 1], [2, 3], times=[5])),
            (quarry.InputError, "keys: has 3", lambda: miner.mine([0, 1], [2, 3], keys=[1, 2, 3])),
            (quarry.InputError, "queries: must be float32.*\\(1, 32\\)", lambda: miner.mine([0], [2], queries=one.astype(np.float16))),
            (quarry.InputError, "queries: must be float32", lambda: miner.mine([0], [2], queries=one[:, :8].copy())),
            (quarry.InputError, "queries: is float64", lambda: miner.mine([0], [2], queries=one.astype(np.float64))),
            (quarry.InputError, "users: none", lambda: miner.mine()),
            (quarry.InputError, "users: none", lambda: miner.mine(queries=one)),
            (quarry.ConfigError, "k: 0", lambda: miner.mine([0], [2], k=0)),
            (quarry.ConfigError, "k", lambda: miner.mine([0], [2], k=60000)),
            (quarry.InputError, "keys: none", lambda: quarry.Miner(self.items, "naive", allow_inert=True).mine(queries=one)),
            (quarry.Error, "nowhere", lambda: quarry.open("nowhere")),
            (quarry.ConfigError, "set_num_threads: 5000", lambda: quarry.set_num_threads(5000)),
        ]
        for kind, words, call in cases:
            with self.subTest(words=words):
                with self.assertRaisesRegex(kind, words):
                    call()
        rows = [[0, 1, 2], [3, 4]]  # of lists, a tuple is what a list is
        self.assertEqual(miner.mine([0, 1], tuple(rows)).content_hash(), miner.mine([0, 1], rows).content_hash())
        cut = (np.array([0, 3, 5]), np.array([0, 1, 2, 3, 4]))
        self.assertEqual(miner.mine([0, 1], cut).content_hash(), miner.mine([0, 1], rows).content_hash())
        keys = miner.mine([0, 1], rows).key.tolist()  # on both sides of 2^63, mostly
        self.assertEqual(miner.mine([0, 1], rows, keys=[keys[0], 5]).key.tolist(), [keys[0], 5])
        self.assertTrue(issubclass(quarry.InputError, ValueError) and issubclass(quarry.IoError, OSError))
        rows = quarry.open("set_nv-perc")[:9]  # none of these broke it
        self.assert_same(miner.mine(*self.batch(rows), times=rows.time), rows)

    def test_words_are_those_of_the_program(self):
        for recipe, events, call in (("nv-pers", "data/events.csv", lambda: self.miner("nv-pers")),
                                     ("nv-perc", "missing.csv", lambda: self.miner("nv-perc", events="missing.csv")),
                                     ("nv-perc", "data/planted.csv", lambda: self.miner("nv-perc", events="data/planted.csv"))):
            words = run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", events, "--recipe", recipe, "--out",
                        "never", ok=(2, 3, 5)).stderr.strip()
            with self.assertRaises(quarry.Error) as caught:
                call()
            words = words.replace("--event-columns time=COLUMN", "event_columns={'time': COLUMN}")  # what is an argument here
            self.assertEqual("quarry: %s: %s" % (words.split(": ")[1], caught.exception), words)

    # --- threads, signals, processes ---------------------------------------------------------------
    def test_threads_share_a_miner(self):
        wanted, miner = quarry.open("set_balanced"), self.miner()
        failures = []

        def work(first):
            for begin in range(first * 40, len(wanted), 160):
                rows = wanted[begin:begin + 40]
                got = miner.mine(*self.batch(rows), times=rows.time)
                if got.content_hash() != quarry.Negatives.content_hash(self.as_negatives(rows)):
                    failures.append(begin)
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    @staticmethod
    def as_negatives(rows):
        nothing = {name: rows["row_key"] for name in ("key", "kappa")}
        names = [name for name in COLUMNS if name not in ("gap", "kappa")]
        return quarry.Negatives(**nothing, **{name: np.ascontiguousarray(rows[name]) for name in names})

    def test_the_lock_of_the_interpreter_is_free_while_mining(self):
        miner, users = self.miner("nv-perc", threads=1), np.tile(np.arange(300), 100)
        done = []
        thread = threading.Thread(target=lambda: done.append(miner.mine(users, users)))
        thread.start()
        ticks = 0
        while thread.is_alive():
            time.sleep(0.002)
            ticks += 1
        self.assertGreater(ticks, 20)
        self.assertEqual(len(done[0]), 30000)

    def test_interrupt(self):
        code = """
import time, numpy as np, quarry
random = np.random.default_rng(1)
items, queries = (random.standard_normal((n, 128), np.float32) for n in (50000, 300000))
miner = quarry.Miner(items, "naive", threads=1, allow_inert=True)
miner.mine(queries=queries[:100], keys=np.arange(100))
start = time.monotonic()
miner.mine(queries=queries[:10000], keys=np.arange(10000))
whole = 30 * (time.monotonic() - start)
print("ready", flush=True)
start = time.monotonic()
try:
    miner.mine(queries=queries, keys=np.arange(len(queries)))
except KeyboardInterrupt:
    share = (time.monotonic() - start) / whole
    print("interrupted", share, *miner.mine(queries=queries[:2], keys=[1, 2]).count)
"""
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        self.assertEqual(child.stdout.readline(), "ready\n")
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        words = child.communicate(timeout=300)[0].split()
        self.assertEqual((words[0], words[2:]), ("interrupted", ["4", "4"]), words)
        self.assertLess(float(words[1]), 0.6)  # of the time of the whole batch, which a stop behind it would take

    def test_a_forked_child_is_told(self):
        miner = self.miner("random")
        miner.mine([0], [1])
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            words = []
            for call in (lambda: miner.mine([0], [1]), lambda: self.miner("random")):
                try:
                    call()
                    words.append("mined")
                except quarry.ForkError as error:
                    words.append("spawn" if "spawn" in str(error) else str(error))
            os.write(writer, " ".join(words).encode())
            os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(os.read(reader, 1000), b"spawn spawn")

    def test_number_of_threads(self):
        before = quarry.get_num_threads()
        try:
            quarry.set_num_threads(3)
            self.assertEqual((quarry.get_num_threads(), self.miner("random").threads), (3, 3))
            self.assertEqual(self.miner("random", threads=1).threads, 1)
        finally:
            quarry.set_num_threads(0)
        self.assertEqual(quarry.get_num_threads(), before)

    def test_ten_thousand_batches_leak_nothing(self):
        miner, users = self.miner("balanced", threads=1), np.arange(4)
        sizes = []
        for step in range(10001):
            miner.mine(users, users + step % 700, times=users + 1_600_000_000)
            if step % 100 == 0:  # the miner's own way of failing must not keep anything either
                with self.assertRaises(quarry.InputError):
                    miner.mine(users, users + 5000)
            if step in (2000, 10000):
                gc.collect()
                sizes.append(resident())
        self.assertLess(sizes[1] - sizes[0], 1 << 20, sizes)

    def test_miners_leave_their_memory(self):
        def make():
            self.miner("balanced").mine(range(50), range(50))
            gc.collect()
            return resident()
        for _ in range(20):
            make()
        before = make()
        for _ in range(60):
            after = make()
        self.assertLess(after - before, 4 << 20)

    # --- sets -------------------------------------------------------------------------------------
    def test_sets_are_mapped(self):
        self.mine("balanced", "set_shards", "--rows-per-shard", 100)
        whole, parts = quarry.open("set_balanced"), quarry.open("set_shards", verify=True)
        self.assertGreater(len(parts.shards), 3)
        self.assertIsInstance(whole.column("item"), np.memmap)
        self.assertFalse(whole[10:20].item.flags.writeable or not np.shares_memory(whole[10:20].item, whole.shards[0]["item"]))
        for choice in (slice(None), slice(90, 310), slice(100, 200), slice(-5, None), slice(5, 5), slice(400, 20, -7), [3, 250, 99, 100, -1],
                       np.arange(len(whole)) % 50 == 1, []):
            a, b = whole[choice], parts[choice]
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], name)
            self.assertEqual(int(a.positive_offset[-1]), len(a.positive))
        index = np.array([3, 250, 99])
        np.testing.assert_array_equal(parts[index].item, np.load(f"set_balanced/{whole.manifest['shards'][0]['path']}/item.npy")[index])
        np.testing.assert_array_equal(parts[250]["positives"], whole[:].positives(250))
        self.assertEqual(parts[-1]["row_key"], whole.column("row_key")[-1])
        self.assertEqual(parts.content_hash, whole.content_hash)
        self.assertEqual(quarry.FILL_CODES, tuple(whole.fill_codes))
        few = parts[[300, 7]]
        for row, index in enumerate((300, 7)):
            np.testing.assert_array_equal(few.positives(row), parts[index]["positives"])
            np.testing.assert_array_equal(few.positives(row - 2), parts[index]["positives"])
        for bad in (len(whole), -len(whole) - 1):
            with self.assertRaises(IndexError):
                parts[bad]
            with self.assertRaises(IndexError):
                parts[[0, bad]]
        for bad in (2.9, "item"):
            with self.assertRaisesRegex(quarry.InputError, "whole numbers"):
                parts[bad]
        with self.assertRaises(IndexError):
            few.positives(2)
        with self.assertRaisesRegex(quarry.InputError, "no column 'items'"):
            whole.column("items")
        again = pickle.loads(pickle.dumps(parts))
        np.testing.assert_array_equal(again.column("score"), parts.column("score"))
        shutil.copytree("set_balanced", "set_broken")
        path = f"set_broken/{whole.manifest['shards'][0]['path']}/score.npy"
        with open(path, "r+b") as file:
            file.seek(200)
            file.write(b"\x55")
        quarry.open("set_broken")
        with self.assertRaisesRegex(quarry.InputError, "score.npy"):
            quarry.open("set_broken", verify=True)

    def test_versions_of_a_store(self):
        flags = ["mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "nv-perc", "--store",
                 "store"]
        run(*flags, "--tag", "first")
        run(*flags, "--set", "k=3")
        self.assertEqual([quarry.open(f"store{name}").k for name in ("@first", "@1", "@2", "@latest", "")], [4, 4, 3, 3, 3])
        pickled = pickle.dumps(quarry.open("store"))
        run(*flags, "--set", "k=2")
        self.assertEqual((pickle.loads(pickled).k, quarry.open("store").k), (3, 2))
        with self.assertRaisesRegex(quarry.InputError, "second"):
            quarry.open("store@second")

    @unittest.skipIf(torch is None, "no torch")
    def test_training_data(self):
        data = quarry.torch.NegativeDataset("set_simans", n=4, epoch_seed=9)
        seen, batches = [], {}
        for rank in range(2):
            sampler = quarry.torch.EpochSampler(data, rank=rank, world=2)
            sampler.set_epoch(2)
            loader = torch.utils.data.DataLoader(data, batch_size=16, sampler=sampler, num_workers=2)
            batches[rank] = [batch["row"].tolist() for batch in loader]
            seen += sum(batches[rank], [])
            resumed = quarry.torch.EpochSampler(data, rank=rank, world=2)
            data.set_epoch(0)
            resumed.load_state_dict(json.loads(json.dumps({**sampler.state_dict(48), "epoch": 2})))
            rest = [batch["row"].tolist() for batch in torch.utils.data.DataLoader(data, batch_size=16, sampler=resumed, num_workers=2)]
            self.assertEqual(rest, batches[rank][3:])
            again = [batch["row"].tolist() for batch in torch.utils.data.DataLoader(data, batch_size=16, sampler=resumed)]
            self.assertEqual(again, batches[rank])  # behind a resumed pass a whole one
            resumed.load_state_dict(sampler.state_dict(48) | {"epoch": 2})
            resumed.set_epoch(2)  # as a loop over epochs does that begins at the state's
            self.assertEqual(len(resumed), len(sampler) - 48)
            resumed.set_epoch(3)
            self.assertEqual(len(resumed), len(sampler))
            data.set_epoch(2)
            self.assertEqual(sampler.state_dict(10**6)["rows_done"], len(sampler))
        self.assertEqual(sorted(seen), list(range(len(data))))
        self.assertNotEqual(seen, sorted(seen))
        whole, picked = quarry.open("set_simans"), np.zeros(15)
        for row in range(0, 400):
            data.set_epoch(row % 5)
            one, all_of_it = data[row], whole[row]
            chosen = one["item"].tolist()[:int(one["count"])]
            self.assertEqual(len(set(chosen)), min(4, int(all_of_it["count"])))
            places = [all_of_it["item"].tolist().index(item) for item in chosen]
            self.assertEqual(places, sorted(places))
            np.testing.assert_array_equal(one["score"].numpy()[:len(chosen)], all_of_it["score"][places])
            self.assertIn(int(one["positive"]), all_of_it["positives"].tolist())
            if all_of_it["count"] == 15:
                picked[places] += 1
        self.assertGreater(picked.min() / picked.sum(), 0.04)  # of 1/15 each, more than five standard deviations below
        data.set_epoch(1)
        first = [data[row]["item"].tolist() for row in range(100)]
        data.set_epoch(2)
        self.assertNotEqual([data[row]["item"].tolist() for row in range(100)], first)
        loader = iter(torch.utils.data.DataLoader(data, batch_size=100, num_workers=1, persistent_workers=True))
        self.assertEqual(next(loader)["item"].tolist(), [data[row]["item"].tolist() for row in range(100)])
        for kind, call in ((quarry.ConfigError, lambda: quarry.torch.NegativeDataset("set_simans", n=16)),
                           (quarry.InputError, lambda: quarry.torch.EpochSampler(data, rank=0, world=3).load_state_dict(sampler.state_dict(0)))):
            with self.assertRaises(kind):
                call()

    # --- the package ------------------------------------------------------------------------------
    def test_the_program_of_the_package(self):
        def python(*arguments):
            return subprocess.run([sys.executable, "-m", "quarry", *arguments], capture_output=True, text=True)
        self.assertEqual(python("--version").stdout, run("--version").stdout)
        self.assertEqual(python("recipes", "show", "nv-perc").stdout, run("recipes", "show", "nv-perc").stdout)
        flags = ["mine", "--items", "data/items.npy", "--users", "data/users.npy", "--recipe", "random", "--out", "never"]
        self.assertEqual([python("bogus").returncode, python(*flags, "--events", "missing.csv").returncode,
                          python(*flags, "--events", "data/catalogue.csv").returncode], [2, 5, 3])

    def test_what_the_package_holds(self):
        folder = os.path.dirname(quarry.__file__)
        names = os.listdir(folder)
        self.assertTrue({"py.typed", "_quarry.pyi"} <= set(names), names)
        with open(os.path.join(folder, "_quarry.pyi")) as file:
            self.assertIn("def mine(self, rows: int", file.read())
        for name in quarry.__all__:
            self.assertTrue(getattr(quarry, name).__doc__, name)
        self.assertIn("nv-perc", quarry.recipes())
        if shutil.which("nm"):
            module = [name for name in names if name.startswith("_quarry") and name.endswith(".so")]
            shown = subprocess.run(["nm", "-D", "--defined-only", os.path.join(folder, module[0])], capture_output=True, text=True, check=True).stdout
            self.assertEqual([line.split()[-1] for line in shown.splitlines()], ["PyInit__quarry"])


if __name__ == "__main__":
    program = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and os.path.exists(sys.argv[1]) else quarry.program()
    unittest.main(verbosity=2)
