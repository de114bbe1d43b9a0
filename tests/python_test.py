#!/usr/bin/env python3
"""The Python package beside the program: the same rows get the same negatives, arrays are not copied, and what the package holds.

  tests/python_test.py [PROGRAM]     PROGRAM: what to compare with; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import csv
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

from python_package import main, or_skip, run

with or_skip():
    import numpy as np

    import quarry

from python_world import MinedWorld, needs_torch, torch

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RECIPES = ("balanced", "nv-perc", "simans", "random", "dns-mn", "exposure", "nv-sample")


class PythonTest(MinedWorld):
    recipes = RECIPES

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

    @needs_torch
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
    main()
