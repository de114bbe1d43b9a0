#!/usr/bin/env python3
"""quarry.convert of negative sets, its command line, and its outputs: nothing of a set is lost; what is not finished does not look finished.

  tests/convert_sets_test.py

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import errno
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import unittest
from unittest import mock

from python_package import main, or_skip

with or_skip("pip install pyarrow, or tools/check_python"):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import quarry
    from quarry import convert
try:
    import datasets
    datasets.disable_progress_bars()
except ImportError:
    datasets = None

from arrow_tables import ODD_IDS, VECTORS, Folder, command, lists, read, write


class SetsTest(Folder):
    def setUp(self):
        super().setUp()
        for arguments in (["synth", "--users", "60", "--items", "150", "--dim", "8", "--out", "data"],
                          ["mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue",
                           "data/catalogue.csv", "--recipe", "balanced", "--set", "k=140",
                           "--set", "branch.hard.source.pool=140", "--seed", "4", "--out", "negatives"]):
            done = subprocess.run([quarry.program(), *arguments], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.set = quarry.open("negatives")

    def rebuilt(self, table):
        """The columns of the set, made of nothing but the Parquet table and the manifest's names."""
        s, rows = self.set, table.num_rows
        out = {"row_key": np.array(table["row_key"].to_pylist(), np.uint64), "positive_min": table["positive_min"].to_numpy(),
               "user": np.array([2**32 - 1 if one is None else one for one in table["user"].to_pylist()], np.uint32),
               "time": np.array([2**63 - 1 if one is None else one // 1000 for one in table["time"].cast(pa.int64()).to_pylist()], np.int64),
               "certified": table["certified"].to_numpy().astype(np.uint8),
               "count": np.array([len(row) for row in table["item"].to_pylist()], np.uint16),
               "kappa": np.array(table["kappa"].to_pylist(), np.float32).reshape(rows, len(s.branches)),
               "positive": np.concatenate([np.array(row, np.uint32) for row in table["positives"].to_pylist()])}
        empty = {"item": 2**32 - 1, "score": np.nan, "gap": np.nan, "quantile": np.nan, "logq": np.nan, "raw_rank": 0, "survivor_rank": 0,
                 "branch": 255, "fill": 0, "stratum": 0}
        for name, value in empty.items():
            out[name] = np.full((rows, s.k), value, s.column(name).dtype)
        for row in range(rows):
            one = {name: table[name][row].as_py() for name in table.column_names}
            count = len(one["item"])
            for name in ("item", "score", "gap", "quantile", "logq", "raw_rank", "survivor_rank"):
                out[name][row, :count] = one[name]
            out["branch"][row, :count] = [s.branches.index(name) for name in one["branch"]]
            out["stratum"][row] = [s.strata.index(name) if s.strata else 0 for name in one["stratum"] + one["missing_stratum"]]
            out["fill"][row, count:] = [s.fill_codes.index(name) for name in one["missing"]]
        return out

    def test_a_set_is_whole_in_parquet(self):
        self.assertEqual(convert.negatives("negatives", "out"), len(self.set))
        table = pq.read_table("out/data")
        wanted = self.set[:]
        for name, column in self.rebuilt(table).items():
            found = wanted[name]
            if column.dtype == np.float32:
                np.testing.assert_array_equal(np.isnan(column), np.isnan(found), err_msg=name)
                column, found = np.nan_to_num(column), np.nan_to_num(found)
            np.testing.assert_array_equal(column, found, err_msg=name)
        empty = self.set.column("fill") != 0
        self.assertTrue(empty.any() and not empty.all() and len(self.set.strata) > 1 and np.isfinite(self.set.column("logq")).any())
        with open("out/quarry_manifest.json") as file:
            self.assertEqual(json.load(file), self.set.manifest)
        self.assertEqual(sorted(os.listdir("out")), ["README.md", "data", "quarry_manifest.json"])
        self.assertEqual([stat.S_IMODE(os.stat(path).st_mode) for path in ("out", "out/data", "out/README.md")], [0o700, 0o700, 0o600])
        with open("out/README.md") as file:
            card = file.read()
        self.assertIn(self.set.content_hash, card)
        self.assertIn('name = "balanced"', card)
        for name in table.column_names:
            self.assertIn(f"| `{name}` |", card)
        for name in ("score", "item", "row_key"):
            group = pq.ParquetFile(next(os.path.join("out/data", one) for one in os.listdir("out/data"))).metadata.row_group(0)
            column = next(group.column(c) for c in range(group.num_columns) if group.column(c).path_in_schema.startswith(name))
            self.assertFalse(column.has_dictionary_page)

    @unittest.skipIf(datasets is None, "datasets is not installed: pip install datasets")
    def test_hugging_face_reads_the_folder(self):
        convert.negatives("negatives", "out", item_ids=[f"sku-{n}" for n in range(150)], user_ids=[f"u,{n}" for n in range(60)])
        rows = datasets.load_dataset("out", split="train", cache_dir="cache")
        self.assertEqual(len(rows), len(self.set))
        for row in (0, len(rows) - 1):
            wanted = self.set[row]
            self.assertEqual(rows[row]["item"], wanted["item"][:wanted["count"]].tolist())
            self.assertEqual(rows[row]["item_ids"], [f"sku-{n}" for n in rows[row]["item"]])
            self.assertEqual(rows[row]["positive_ids"], [f"sku-{n}" for n in wanted["positives"]])
            self.assertEqual(rows[row]["user_id"], f"u,{wanted['user']}")

    def test_what_stands_there_is_replaced_only_if_it_is_a_conversion(self):
        os.mkdir("letters")
        open("letters/one", "w").close()
        for overwrite in (False, True):
            self.refused(["letters", "not replaced" if overwrite else "there already"], convert.negatives, "negatives", "letters",
                         overwrite=overwrite, kind=quarry.ConfigError)
        self.assertEqual(os.listdir("letters"), ["one"])
        convert.negatives("negatives", "out")
        open("out/more", "w").close()
        convert.negatives("negatives", "out", overwrite=True)
        self.assertEqual(sorted(os.listdir("out")), ["README.md", "data", "quarry_manifest.json"])

    def test_a_link_to_a_folder_is_replaced_and_the_folder_stays(self):
        convert.negatives("negatives", "real")
        os.symlink("real", "link")
        rows = convert.negatives("negatives", "link", overwrite=True)
        self.assertFalse(os.path.islink("link"))
        self.assertEqual(pq.read_table("link/data").num_rows, rows)
        self.assertEqual(pq.read_table("real/data").num_rows, rows)
        self.assertEqual([name for name in os.listdir(".") if name.startswith(".")], [])

    def test_ids_that_do_not_belong(self):
        self.refused(["item_ids", "149", "150"], convert.negatives, "negatives", "out", item_ids=[str(n) for n in range(149)])
        self.refused(["user_ids", "has 5 ids"], convert.negatives, "negatives", "out", user_ids=[str(n) for n in range(5)])

    def test_a_version_of_a_store(self):
        done = subprocess.run([quarry.program(), "mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv",
                               "--catalogue", "data/catalogue.csv", "--recipe", "random", "--store", "store"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        command("store@1", "out", "--to", "parquet", "--verify")
        self.assertEqual(pq.read_table("out/data").num_rows, len(quarry.open("store@1")))

    def test_a_folder_that_cannot_be_replaced_comes_back(self):
        convert.negatives("negatives", "out")
        os.symlink("out", "link")

        def all_of(folder):
            files = [os.path.join(where, name) for where, _, names in os.walk(folder) for name in names]
            return {file: (os.stat(file).st_mode, pathlib.Path(file).read_bytes()) for file in files}

        before, there = all_of("out"), sorted(os.listdir("."))
        self.assertEqual(len(before), 3)
        real = os.rename
        for out, failing, error, kind in (("out", 2, OSError(errno.EACCES, "not allowed", "the folder"), quarry.IoError),
                                          ("out", 1, OSError(errno.EACCES, "not allowed", "the folder"), quarry.IoError),
                                          ("link", 2, OSError(errno.EACCES, "not allowed", "the folder"), quarry.IoError),
                                          ("out", 2, KeyboardInterrupt("stop"), KeyboardInterrupt),
                                          ("new", 1, OSError(errno.EACCES, "not allowed", "the folder"), quarry.IoError)):
            calls = []

            def rename(source, to):
                calls.append((source, to))
                if len(calls) == failing:
                    raise error
                real(source, to)

            with self.subTest(out=out, failing=failing, error=error):
                with mock.patch("os.rename", rename), self.assertRaises(kind) as caught:
                    convert.negatives("negatives", out, item_ids=[f"i{n}" for n in range(150)], overwrite=True)
                self.assertEqual(str(caught.exception), "stop" if kind is KeyboardInterrupt else "the folder: not allowed")
                # A folder that moved away is moved back; one that did not needs nothing.
                self.assertEqual(len(calls), failing + (failing == 2))
                self.assertEqual((sorted(os.listdir(".")), all_of("out"), os.readlink("link")), (there, before, "out"))
        convert.negatives("negatives", "out", item_ids=[f"i{n}" for n in range(150)], overwrite=True)
        self.assertEqual((sorted(os.listdir(".")), set(all_of("out"))), (there, set(before)))
        self.assertNotEqual(all_of("out"), before)


class OutputsTest(Folder):
    def test_command_line(self):
        write("in.parquet", pa.table({"vec": lists(VECTORS, "list"), "sku": ODD_IDS}))
        done = command("embeddings", "in.parquet", "out.npy", "--column", "vec", "--id-column", "sku", "--ids-out", "ids.tsv")
        self.assertIn(f"{len(VECTORS)} rows of 6 float32", done.stdout)
        np.testing.assert_array_equal(np.load("out.npy"), VECTORS)
        command("embeddings", "out.npy", "back.parquet", "--ids", "ids.tsv")
        self.assertEqual(pq.read_table("back.parquet")["id"].to_pylist(), ODD_IDS)
        write("events.arrow", pa.table({"uid": [1], "item": [2], "ts": [1714559415999]}))
        command("events", "events.arrow", "events.csv", "--columns", "user=uid,time=ts", "--time-unit", "ms")
        self.assertEqual(read("events.csv")[1], [["1", "2", "2024-05-01 10:30:15Z"]])
        for code, words, arguments in (
                (2, "there already", ["events", "events.arrow", "events.csv"]), (2, "--drop does nothing", ["events", "a", "b.csv", "--drop", "x"]),
                (2, "output is missing", ["events", "events.arrow"]), (2, "--nonsense", ["a", "b", "--nonsense", "1"]),
                (2, "quarry export", ["set", "a", "b", "--to", "csv"]), (2, "user=uid", ["events", "events.arrow", "o.csv", "--columns", "user"]),
                (3, "no column 'user'", ["events", "events.arrow", "o.csv"]), (5, "gone.parquet", ["events", "gone.parquet", "o.csv"])):
            with self.subTest(words):
                self.assertIn(words, command(*arguments, ok=code).stderr)
        self.assertIn("usage", command("--help").stdout)
        command("events", "events.arrow", "events.csv", "--columns", "user=uid,time=ts", "--time-unit", "ms", "--overwrite")
        script = os.path.join(os.path.dirname(sys.executable), "quarry")
        if os.path.exists(script):
            self.assertIn("usage", subprocess.run([script, "convert", "--help"], capture_output=True, text=True, check=True).stdout)
        code = "import sys; sys.modules['pyarrow'] = None; sys.argv = ['quarry', 'convert', 'events', 'events.arrow', 'o.csv']\n" \
            "from quarry.__main__ import main; main()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual((done.returncode, "pip install pyarrow" in done.stderr), (2, True), done.stderr)

    def test_a_killed_conversion_leaves_nothing_that_looks_finished(self):
        write("in.parquet", pa.table({"embedding": lists(VECTORS, "list"), "id": ODD_IDS}))
        write("old.parquet", pa.table({"embedding": lists(VECTORS * 2, "list"), "id": [one + "x" for one in ODD_IDS]}))
        step = "import os, sys, quarry\nfrom quarry import convert\nreal, left = getattr(os, sys.argv[1]), [int(sys.argv[2])]\n" \
            "def stop(*a, **k):\n    left[0] -= 1\n    if left[0] < 0: os._exit(9)\n    return real(*a, **k)\nsetattr(os, sys.argv[1], stop)\n" \
            "convert.embeddings('in.parquet', 'out.npy', id_column='id', ids_out='ids.csv', overwrite=True)\n"
        for old in (False, True):
            for call, number in (("fsync", 0), ("fsync", 1), ("rename", 0), ("rename", 1), ("unlink", 0)):
                for name in ("out.npy", "ids.csv"):
                    if os.path.exists(name):
                        os.remove(name)
                if old:
                    convert.embeddings("old.parquet", "out.npy", id_column="id", ids_out="ids.csv")
                done = subprocess.run([sys.executable, "-c", step, call, str(number)])
                self.assertIn(done.returncode, (9, 0))
                if os.path.exists("out.npy"):  # whole, and beside its own ids
                    found, ids = np.load("out.npy"), [one for one, in read("ids.csv")[1]]
                    self.assertIn((found[0, 0], ids[0]), [(VECTORS[0, 0], ODD_IDS[0]), (VECTORS[0, 0] * 2, ODD_IDS[0] + "x")])
                    self.assertEqual((len(found), len(ids)), (len(VECTORS),) * 2)
                else:
                    self.assertNotEqual(done.returncode, 0)
        for name in os.listdir("."):  # what a killed one leaves says so
            self.assertTrue(name in ("in.parquet", "old.parquet", "out.npy", "ids.csv") or name.startswith(".") and ".partial-" in name, name)

    def test_a_folder_is_replaced_whole(self):
        folder = os.path.join(self.folder.name, "out")
        from quarry.convert.outputs import whole_folder
        os.mkdir(folder)
        open(os.path.join(folder, "old"), "w").close()
        with self.assertRaises(ZeroDivisionError), whole_folder(folder) as aside:
            open(os.path.join(aside, "new"), "w").close()
            1 / 0
        self.assertEqual((os.listdir(folder), os.listdir(".")), (["old"], ["out"]))
        with whole_folder(folder) as aside:
            open(os.path.join(aside, "new"), "w").close()
        self.assertEqual((os.listdir(folder), os.listdir(".")), (["new"], ["out"]))

    def test_a_folder_beside_what_a_killed_process_left(self):
        """Processes of containers have the same number again and again."""
        from quarry.convert.outputs import whole_folder
        old, partial = (os.path.abspath(f".out.{word}-{os.getpid()}") for word in ("old", "partial"))
        for killed in ("before the renames", "between them", "behind them"):
            for left in ("out",) * (killed != "between them") + (partial,) * (killed != "behind them") + (old,) * (killed != "before the renames"):
                os.makedirs(left)
                pathlib.Path(left, "left").write_text(left)
            with self.subTest(killed=killed):
                if killed == "between them":  # an attempt that fails brings it back
                    with self.assertRaises(ZeroDivisionError), whole_folder("out"):
                        1 / 0
                    self.assertEqual(pathlib.Path("out/left").read_text(), old)
                with whole_folder("out") as aside:
                    open(os.path.join(aside, "new"), "w").close()
                self.assertEqual((os.listdir("out"), os.listdir(".")), (["new"], ["out"]))
            shutil.rmtree("out")

    def test_a_full_disk(self):
        write("in.parquet", pa.table({"embedding": lists(np.ones((50000, 16), np.float32), "list")}))
        code = "import resource, quarry\nfrom quarry import convert\nresource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))\n" \
            "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" \
            "try:\n    convert.embeddings('in.parquet', 'out.npy')\nexcept quarry.IoError as error:\n    print('IoError', error)\n"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertIn("IoError", done.stdout, done.stderr)
        self.assertEqual(os.listdir("."), ["in.parquet"])


if __name__ == "__main__":
    main()
