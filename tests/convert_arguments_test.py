#!/usr/bin/env python3
"""python -m quarry mine --items x.parquet: what is Parquet or Arrow among the arguments is converted on the way, once, and the set is the one of the
files written by hand.

  tests/convert_arguments_test.py

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import csv
import os
import resource
import signal
import subprocess
import sys
import time

from python_package import main, or_skip, run

with or_skip("pip install pyarrow, or tools/check_python"):
    import numpy as np
    import pyarrow as pa

    import quarry

from arrow_tables import Folder, lists, write
from python_package import SharedFolder


def python(*arguments, ok=0, **more):
    """python -m quarry; standard error."""
    done = subprocess.run([sys.executable, "-m", "quarry", *map(str, arguments)], capture_output=True, text=True, **more)
    if ok is not None and done.returncode != ok:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stderr


def columns_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        records = list(csv.reader(file))
    return dict(zip(records[0], zip(*records[1:])))


class MiningTest(SharedFolder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run("synth", "--users", 120, "--items", 300, "--dim", 16, "--out", "data")
        cls.items, cls.users = np.load("data/items.npy"), np.load("data/users.npy")
        write("vectors.parquet", pa.table({"sku": [f"i{n}" for n in range(300)], "vector": lists(cls.items, "fixed")}), 50)
        write("users.feather", pa.table({"embedding": lists(cls.users, "list"), "other": lists(cls.users, "list")}), 50)
        log, shop = columns_of("data/events.csv"), columns_of("data/catalogue.csv")
        sku = ["i" + one for one in log["item"]]
        times = pa.array([int(one) for one in log["time"]], pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp("us", "UTC"))
        table = pa.table({"uid": [int(one) for one in log["user"]], "sku": sku, "ts": times, "kind": list(log["kind"]),
                          "value": pa.array([float(one) if one else None for one in log["value"]], pa.float64())})
        os.mkdir("log")
        half = table.num_rows // 2
        write("log/a.parquet", table.slice(0, half), 1000)
        write("log/b.arrow", table.slice(half), 1000)
        shop["item"] = ["i" + one for one in shop["item"]]
        write("shop.parquet", pa.table({name: list(column) for name, column in shop.items()}), 100)
        for path, names, rows in (("ids.csv", ["sku"], [[f"i{n}"] for n in range(300)]), ("log.csv", ["uid", "sku", "ts", "kind", "value"],
                                  zip(log["user"], sku, log["time"], log["kind"], log["value"])), ("shop.csv", list(shop), zip(*shop.values()))):
            with open(path, "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([names, *rows])
        cls.common = ("--recipe", "balanced", "--seed", "3", "--event-columns", "user=uid,item=sku,time=ts")
        python("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--item-ids", "ids.csv:sku", "--events", "log.csv", "--catalogue",
               "shop.csv", *cls.common, "--out", "by_hand")

    given = ("--items", "vectors.parquet", "--users", "users.feather", "--item-ids=vectors.parquet:sku", "--events=log", "--catalogue", "shop.parquet")

    def hash_of(self, path):
        return quarry.open(path).content_hash

    def test_the_set_is_that_of_files_by_hand(self):
        told = python("mine", *self.given, *self.common, "--converted", "kept", "--out", "by_parquet")
        self.assertEqual(self.hash_of("by_parquet"), self.hash_of("by_hand"))
        np.testing.assert_array_equal(quarry.open("by_parquet").column("row_key"), quarry.open("by_hand").column("row_key"))
        self.assertEqual(told.count(" converted to kept/"), 5)
        self.assertEqual(sorted(name.partition("-")[0] for name in os.listdir("kept")), ["log", "shop", "users", "vectors", "vectors"])
        self.assertEqual({os.stat("kept/" + name).st_mode & 0o777 for name in os.listdir("kept")} | {os.stat("kept").st_mode & 0o777}, {0o600, 0o700})
        before = {name: os.stat("kept/" + name).st_mtime_ns for name in os.listdir("kept")}
        told = python("mine", *self.given, *self.common, "--converted=kept", "--out", "again")  # nothing is converted twice
        self.assertNotIn("converted", told)
        self.assertEqual({name: os.stat("kept/" + name).st_mtime_ns for name in os.listdir("kept")}, before)
        self.assertEqual(self.hash_of("again"), self.hash_of("by_hand"))
        python("plan", *self.given, *self.common, "--converted", "kept")
        os.rename("vectors.parquet", "else.parquet")  # other vectors under a name that was seen are others
        try:
            write("vectors.parquet", pa.table({"sku": [f"i{n}" for n in range(300)], "vector": lists(self.items[::-1].copy(), "fixed")}), 50)
            python("mine", *self.given, *self.common, "--converted", "kept", "--out", "other")
            self.assertNotEqual(self.hash_of("other"), self.hash_of("by_hand"))
        finally:
            os.replace("else.parquet", "vectors.parquet")

    def test_rows_and_pairs(self):
        users, positives = np.arange(100), (np.arange(100) * 7) % 300
        with open("rows.csv", "w", encoding="utf-8") as file:
            file.writelines(["who,what,when\n", *(f"{u},i{i},{1_600_000_000 + u}\n" for u, i in zip(users, positives))])
        with open("teacher.csv", "w", encoding="utf-8") as file:
            file.writelines(["who,what,score\n", *(f"{u},i{i},{(u * i) % 11 / 11!r}\n" for u in range(100) for i in range(300))])
        rows, teacher = columns_of("rows.csv"), columns_of("teacher.csv")
        write("rows.parquet", pa.table({"who": users, "what": list(rows["what"]), "when": pa.array([int(one) * 1000 + 999 for one in rows["when"]])}))
        write("teacher.arrow", pa.table({"who": [int(one) for one in teacher["who"]], "what": list(teacher["what"]),
                                         "score": [float(one) for one in teacher["score"]]}), 5000)
        more = ("--item-ids", "ids.csv:sku", "--row-columns", "user=who,item=what,time=when", "--pair-columns", "user=who,item=what,value=score",
                "--recipe", "rocketqa", "--users", "data/users.npy")
        python("mine", "--items", "data/items.npy", "--rows", "rows.csv", "--pairs", "teacher=teacher.csv", *more, "--out", "rows_by_hand")
        python("mine", "--items", "vectors.parquet", "--rows", "rows.parquet", "--pairs", "teacher=teacher.arrow", *more, "--time-unit", "ms",
               "--converted", "kept_too", "--out", "rows_by_parquet")
        self.assertEqual(self.hash_of("rows_by_parquet"), self.hash_of("rows_by_hand"))

    def test_the_default_folder_is_the_users_cache(self):
        python("plan", "--items", "vectors.parquet", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "random",
               env={**os.environ, "XDG_CACHE_HOME": os.path.abspath("cache")}, ok=0)
        self.assertEqual(len(os.listdir("cache/quarry/converted")), 1)

    def test_other_arguments_are_as_they_were(self):
        rest = ("--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "random")
        python("plan", "--items", "data/items.npy", *rest, "--converted", "none")
        self.assertFalse(os.path.exists("none"))
        self.assertIn("--time-unit", python("plan", "--items", "data/items.npy", *rest, "--time-unit", "ms", ok=2))
        for verb in ("show", "explain", "verify"):
            self.assertEqual(python(verb, "by_hand", ok=None), subprocess.run([quarry.program(), verb, "by_hand"], capture_output=True, text=True).stderr)

    def test_what_is_wrong_is_said_before_the_program_begins(self):
        rest = ("--users", "data/users.npy", "--events", "log.csv", *self.common, "--converted", "wrong", "--out", "never")
        bad = self.items.copy()
        bad[7, 3] = np.nan
        write("bad.parquet", pa.table({"embedding": lists(bad, "fixed")}), 50)
        write("two.parquet", pa.table({"a": lists(self.items, "fixed"), "b": lists(self.items, "fixed")}))
        write("double.parquet", pa.table({"a": pa.array(self.items.astype(np.float64).tolist(), pa.list_(pa.float64(), 16))}))
        write("none.parquet", pa.table({"a": [1.0]}))
        with open("broken.parquet", "wb") as file:
            file.write(b"PAR1 and no more")
        for path, code, words in (("bad.parquet", 3, ["bad.parquet: row 7", "nan"]), ("two.parquet", 2, ["2 columns of vectors (a, b)", "--column"]),
                                  ("double.parquet", 2, ["numbers of a are float64", "quarry convert embeddings double.parquet OUT.npy --column a --dtype float32"]),
                                  ("none.parquet", 2, ["no columns of vectors"]), ("broken.parquet", 3, ["broken.parquet"]),
                                  ("missing.parquet", 5, ["missing.parquet"])):
            said = python("mine", "--items", path, *rest, ok=code)
            for word in ("quarry mine: ", *words):
                self.assertIn(word, said)
        self.assertIn("--item-ids vectors.parquet:COLUMN", python("mine", "--items", "vectors.parquet", "--item-ids", "vectors.parquet", *rest, ok=2))
        self.assertIn("--bad-rows", python("mine", "--items", "bad.parquet", *rest, "--bad-rows", "maybe", ok=3))
        self.assertEqual([name for name in os.listdir("wrong") if not name.startswith("vectors")], [])
        open("a_file", "w").close()
        self.assertIn("a_file", python("mine", "--items", "vectors.parquet", *rest, "--converted", "a_file", ok=5))
        os.makedirs("without", exist_ok=True)
        with open("without/pyarrow.py", "w", encoding="utf-8") as file:
            file.write("raise ImportError('none')")
        self.assertIn("pip install pyarrow", python("mine", "--items", "vectors.parquet", *rest, ok=2, env={**os.environ, "PYTHONPATH": "without"}))
        self.assertFalse(os.path.exists("never"))

    def test_rows_that_cannot_be_scored_are_left_to_the_program(self):
        bad = self.items.copy()
        bad[7, 3] = np.nan
        np.save("bad.npy", bad)
        write("bad.parquet", pa.table({"embedding": lists(bad, "fixed")}), 50)
        for path in ("bad.npy", "bad.parquet"):
            python("mine", "--items", path, "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "random", "--bad-rows", "drop",
                   "--converted", "kept_bad", "--out", "dropped_" + path[4:])
        self.assertEqual(self.hash_of("dropped_npy"), self.hash_of("dropped_parquet"))

    def test_the_library_and_the_program_name_the_call(self):
        words = "x.parquet: .parquet is not read as it is. Convert it: quarry convert embeddings x.parquet x.npy"
        write("x.parquet", pa.table({"embedding": lists(self.items, "fixed")}))
        with self.assertRaises(quarry.InputError) as caught:
            quarry.Miner("x.parquet", "random", allow_inert=True)
        self.assertIn(words, str(caught.exception))
        for flag, path, wanted in (("--items", "x.parquet", words), ("--events", "log/b.arrow", "quarry convert events|catalogue|rows|pairs log/b.arrow log/b.csv")):
            given = {"--items": "data/items.npy", "--users": "data/users.npy", "--events": "log.csv", "--catalogue": "shop.csv", "--item-ids": "ids.csv:sku",
                     flag: path}
            said = run("mine", *(part for pair in given.items() for part in pair), *self.common, "--out", "never", ok=(3,)).stderr
            self.assertIn(wanted, said)


class HalfWrittenTest(Folder):
    """Whatever stops a conversion: the next run does not take what it left for a whole file."""

    def setUp(self):
        super().setUp()
        run("synth", "--users", 20, "--items", 30, "--dim", 8, "--out", "data")
        values = np.random.default_rng(1).standard_normal((200_000, 32), np.float32)
        write("big.parquet", pa.table({"embedding": lists(values, "fixed")}), 1000)
        np.save("users.npy", values[:50])
        np.save("big.npy", values)
        self.mine = ("mine", "--items", "big.parquet", "--users", "users.npy", "--events", "data/events.csv", "--recipe", "random", "--converted", "kept")

    def whole(self):
        return [name for name in os.listdir("kept") if not name.startswith(".")]

    def test_a_full_disk(self):
        said = python(*self.mine, "--out", "set", ok=5, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)))
        self.assertIn("kept/", said)
        self.assertEqual(os.listdir("kept"), [])

    def test_a_killed_conversion(self):
        process = subprocess.Popen([sys.executable, "-m", "quarry", *self.mine, "--out", "set"], stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while time.monotonic() < end and not (os.path.isdir("kept") and any(os.stat("kept/" + name).st_size > 1 << 16 for name in os.listdir("kept"))):
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertEqual(self.whole(), [])
        python(*self.mine, "--out", "set")
        self.assertEqual(len(self.whole()), 1)
        with open("big.npy", "rb") as a, open("kept/" + self.whole()[0], "rb") as b:
            a.seek(128), b.seek(128)
            self.assertEqual(a.read(), b.read())

    def test_several_at_once(self):
        runs = [subprocess.Popen([sys.executable, "-m", "quarry", *self.mine, "--out", f"set{n}"], stderr=subprocess.DEVNULL) for n in range(3)]
        self.assertEqual([one.wait() for one in runs], [0, 0, 0])
        self.assertEqual(len(os.listdir("kept")), 1)
        self.assertEqual(len({quarry.open(f"set{n}").content_hash for n in range(3)}), 1)


if __name__ == "__main__":
    main()
