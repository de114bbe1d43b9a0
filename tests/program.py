"""What tests of the program share: it is run, its files are written, and sets are read by their headers alone, with nothing of
Quarry's own."""
import csv
import json
import math
import os
import struct
import subprocess
import sys
import tempfile
import unittest

failures = []  # of check()


def check(condition, words):
    """For scripts that go on behind a fault and end with finish()."""
    if not condition:
        failures.append(words)
        print("FAILED:", words)


def finish(words="passed"):
    if failures:
        sys.exit(f"{len(failures)} failed")
    print(words)


def quarry(program, *arguments, ok=(0,), env=None):
    """Runs it; another exit code than those of `ok` ends the script."""
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env={**os.environ, **(env or {})})
    if done.returncode not in ok:
        sys.exit(f"{' '.join(map(str, arguments))}\nexit {done.returncode}\n{done.stderr}")
    return done


def text_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


def read_npy(path):
    """Numbers, one after the other, and the shape."""
    with open(path, "rb") as file:
        raw = file.read()
    length = struct.unpack_from("<H", raw, 8)[0]
    head = eval(raw[10:10 + length], {"__builtins__": {}}, {"False": False})  # written by the program under test
    code = {"<u8": "Q", "<u4": "I", "<u2": "H", "|u1": "B", "<i8": "q", "<f4": "f"}[head["descr"]]
    body = raw[10 + length:]
    return struct.unpack("<%d%s" % (len(body) // struct.calcsize(code), code), body), head["shape"]


def write_npy(path, numbers, shape):
    """fp32."""
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}".ljust(117) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<%df" % len(numbers), *numbers))


def write_waves(path, rows, dim, phase):
    """Vectors of no meaning that are the same everywhere."""
    write_npy(path, [math.sin(phase + 0.7 * i) for i in range(rows * dim)], (rows, dim))


def read_csv(path, delimiter=","):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def write_csv(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
    return path


def manifest_of(folder, version=None):
    """Of a set, or of a version of a store."""
    return json.loads(text_of(os.path.join(folder, f"versions/v{version:020d}.json" if version else "manifest.json")))


def shards_of(store, version):
    """Their folders, which name their bytes."""
    return [shard["path"] for shard in manifest_of(store, version)["shards"]]


def rows_of(folder, version=None):
    """Rows of a set, or of a version of a store, as dicts, and the manifest."""
    manifest = manifest_of(folder, version)
    k, rows = manifest["k"], []
    for shard in manifest["shards"]:
        c = {name: read_npy(os.path.join(folder, shard["path"], name + ".npy"))[0] for name in shard["columns"]}
        for r in range(shard["rows"]):
            row = {name: c[name][r] for name in ("row_key", "user", "time", "count", "positive_min", "certified")}
            row["positives"] = list(c["positive"][c["positive_offset"][r]:c["positive_offset"][r + 1]])
            for name in ("item", "score", "gap", "branch", "raw_rank", "survivor_rank", "quantile", "stratum", "logq", "fill"):
                row[name] = list(c[name][r * k:(r + 1) * k])
            row["negatives"] = row["item"][:row["count"]]
            rows.append(row)
    return rows, manifest


class ProgramTest(unittest.TestCase):
    """A folder for all tests of a class, and the program that main() is given."""
    program = ""
    secret = None  # stands nowhere in what ok() and fails() are shown

    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.TemporaryDirectory()
        cls.root = cls.dir.name

    @classmethod
    def tearDownClass(cls):
        cls.dir.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.root, name)

    @classmethod
    def write(cls, name, text):
        with open(cls.path(name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
        return cls.path(name)

    @classmethod
    def table(cls, name, header, rows):
        return write_csv(cls.path(name), header, rows)

    @classmethod
    def run_quarry(cls, *args, env=None):
        done = subprocess.run([ProgramTest.program, *args], capture_output=True, text=True, env={**os.environ, **(env or {})})
        return done.returncode, done.stdout, done.stderr

    def ok(self, *args, env=None):
        code, out, err = self.run_quarry(*args, env=env)
        self.assertEqual(code, 0, err)
        self.check_secret(out + err)
        return out

    def fails(self, code, words, *args, env=None):
        got, out, err = self.run_quarry(*args, env=env)
        self.assertEqual(got, code, out + err)
        for word in [words] if isinstance(words, str) else words:
            self.assertIn(word, out + err)
        self.check_secret(out + err)

    def check_secret(self, words):
        if self.secret:
            self.assertNotIn(self.secret, words)


def main(usage):
    """Of a file of ProgramTests: its first argument is the program."""
    if len(sys.argv) < 2:
        sys.exit(usage)
    ProgramTest.program = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
