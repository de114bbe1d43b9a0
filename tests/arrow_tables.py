"""Arrow tables for the tests of quarry.convert: vectors of every list type, files of every format, odd ids."""
import csv
import os
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

import quarry

ODD_IDS = ["plain", "007", " led and trailed ", "comma, and \"quotes\"", "two\nlines", "tab\there", "été", "0x1F", "null", "NA", "-1", "1e5",
           "|bar|", "'", "\\", "é\u0301", "𝄞", "a\r\nb"]
VECTORS = np.random.default_rng(1).standard_normal((len(ODD_IDS), 6)).astype(np.float32)


def lists(values, kind):
    """Vectors as an Arrow array of one of the list types."""
    number = pa.float16() if values.dtype == np.float16 else pa.float64() if values.dtype == np.float64 else pa.float32()
    flat = pa.array(values.reshape(-1), number)
    if kind == "fixed":
        return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    bounds = np.arange(len(values) + 1) * values.shape[1]
    return pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), flat) if kind == "list" else pa.LargeListArray.from_arrays(
        pa.array(bounds, pa.int64()), flat)


def write(path, table, group=7):
    """A table by the extension of its name, in several groups of rows."""
    if path.endswith((".parquet", ".pq")):
        pq.write_table(table, path, row_group_size=group)
    elif path.endswith(".feather"):
        pyarrow.feather.write_feather(table, path, chunksize=group, compression="lz4")
    else:
        make = pa.ipc.new_stream if path.endswith(".arrows") else pa.ipc.new_file
        with make(path, table.schema) as file:
            file.write_table(table, max_chunksize=group)
    return path


def read(path):
    """Header and records of a .csv or .tsv, by another reader."""
    with open(path, newline="", encoding="utf-8") as file:
        records = list(csv.reader(file, delimiter="," if path.endswith(".csv") else "\t", strict=True))
    return records[0], records[1:]


def command(*arguments, ok=0, **more):
    done = subprocess.run([sys.executable, "-m", "quarry", "convert", *map(str, arguments)], capture_output=True, text=True, **more)
    if done.returncode != ok:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.old = os.getcwd()
        os.chdir(self.folder.name)
        self.addCleanup(self.folder.cleanup)
        self.addCleanup(os.chdir, self.old)

    def refused(self, words, call, *arguments, kind=quarry.InputError, **more):
        before = sorted(os.listdir("."))
        with self.assertRaises(kind) as caught:
            call(*arguments, **more)
        for word in words:
            self.assertIn(word, str(caught.exception))
        self.assertEqual(sorted(os.listdir(".")), before, "something was left behind")
