"""A plan of shards and the processes that work at it, for tests."""
import ctypes
import errno
import json
import os
import struct
import subprocess
import sys

from program import check, manifest_of, quarry, rows_of, text_of

SHARDS = 16
FULL = float(os.environ.get("QUARRY_TEST_SCALE", "1")) > 1
GATE_FAILED, USAGE, BAD_DATA, STOPPED = 8, 2, 3, 75
ARRAY = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX")
SUMS = ("fill", "strata", "branches", "dropped", "events", "recipe", "rows", "warnings", "seed", "as_of", "latest_event", "inputs")


def json_of(words):
    return json.loads(words)


def flip_byte(path, at):
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


class Xxh128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def hash_of(raw):
    hasher = ctypes.CDLL("libxxhash.so.0").XXH3_128bits
    hasher.restype, hasher.argtypes = Xxh128, [ctypes.c_char_p, ctypes.c_size_t]
    digest = hasher(raw, len(raw))
    return f"{digest.high:016x}{digest.low:016x}"


def seal(folder):
    """Makes the seal of a part fit its manifest."""
    os.chmod(os.path.join(folder, "seal"), 0o600)
    with open(os.path.join(folder, "seal"), "w", encoding="utf-8") as file:
        file.write(hash_of(text_of(os.path.join(folder, "manifest.json")).encode()) + "\n")


def reseal_plan(file, plan):
    """Writes a plan with the hash, and the names, that it has after a change."""
    plan["plan_hash"] = hash_of(json.dumps([plan["format_version"], plan["run"], plan["work"]], separators=(",", ":"),
                                           ensure_ascii=False).encode())
    for shard in plan["shards"]:
        shard["output"] = f"{plan['plan_hash'][:16]}-{shard['id']:08}"
    with open(file, "w", encoding="utf-8") as out:
        json.dump(plan, out)


def without_locks():
    """For preexec_fn: flock answers ENOSYS from here on, as on a Lustre that is mounted without locks. None where that cannot be had."""
    number = {"x86_64": 73, "aarch64": 32}.get(os.uname().machine)
    if number is None:
        return None
    filters = b"".join(struct.pack("<HBBI", *one) for one in (
        (0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | errno.ENOSYS), (0x06, 0, 0, 0x7fff0000)))  # number; is it; no; yes

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filters", ctypes.c_char_p)]

    program, libc = Program(len(filters) // 8, filters), ctypes.CDLL(None)

    def deny():
        libc.prctl(38, 1, 0, 0, 0)  # no new privileges
        if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:
            os._exit(99)

    return deny


class Cluster:
    """A plan and the processes that work at it."""

    def __init__(self, program, folder, inputs):
        self.program, self.folder, self.inputs = program, folder, inputs

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def plan(self, name, shards, *more, ok=(0,)):
        file = self.path(name)
        done = quarry(self.program, "shards", "plan", *self.inputs, "--shards", shards, "--probe-seconds", 0, "--out", file, *more, ok=ok)
        return json.loads(text_of(file)) if done.returncode == 0 else done

    def start(self, plan, shard=None, array=None, number=None, more=(), what="--shard", **env):
        """A worker; with `array` its number comes from the environment. what: --search: `shard` is the number of a search."""
        clean = {name: value for name, value in os.environ.items() if name not in ARRAY}
        if array:
            clean[array] = str(number)
        command = [self.program, "mine", "--plan", self.path(plan), what, "env" if array else str(shard), "--threads", "1",
                   *map(str, more)]
        return subprocess.Popen(command, env={**clean, **{k: str(v) for k, v in env.items()}}, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def mine(self, plan, shard, ok=(0,), **more):
        process = self.start(plan, shard, **more)
        _, words = process.communicate()
        if process.returncode not in ok:
            sys.exit(f"{more.get('what', '--shard')} {shard} of {plan}: exit {process.returncode}, not {ok}\n{words}")
        return words

    def missing(self, plan, *more):
        done = quarry(self.program, "shards", "missing", self.path(plan), *more, ok=(0, GATE_FAILED))
        check((done.returncode == 0) == (done.stdout == ""), f"missing of {plan}: exit {done.returncode} beside {done.stdout!r}")
        return done.stdout.strip()

    def status(self, plan):
        return json_of(quarry(self.program, "shards", "status", self.path(plan), "--json", ok=(0, GATE_FAILED)).stdout)

    def output(self, plan, shard):
        text = json.loads(text_of(self.path(plan)))
        return os.path.join(self.folder, text["outputs"], text["shards"][shard]["output"])


def small_world(program, folder, shards):
    """A plan's inputs in a folder, and the set that one process mines of them. Returns the Cluster, the set, and its rows per shard."""
    quarry(program, "synth", "--out", folder, "--users", 150, "--items", 600, "--dim", 16, "--force")
    path = lambda name: os.path.join(folder, name)  # noqa: E731
    c = Cluster(program, folder, ["--items", path("items.npy"), "--users", path("users.npy"), "--events", path("events.csv"), "--catalogue",
                                  path("catalogue.csv"), "--as-of", 1631536000, "--recipe", "balanced"])
    rows_per_shard = c.plan("sizes.json", shards)["work"]["rows_per_shard"]
    quarry(program, "mine", *c.inputs, "--rows-per-shard", rows_per_shard, "--out", path("single"))
    return c, path("single"), rows_per_shard


def same_set(one, other, words):
    """Row for row, column for column, and what the manifests count."""
    (rows, manifest), (other_rows, other_manifest) = rows_of(one), rows_of(other)
    check(manifest["content_hash"] == other_manifest["content_hash"], f"{words}: content hash")
    check(len(rows) == len(other_rows), f"{words}: {len(rows)} and {len(other_rows)} rows")
    differ = [r for r, pair in enumerate(zip(rows, other_rows)) if repr(pair[0]) != repr(pair[1])]
    check(not differ, f"{words}: rows {differ[:10]} differ")
    check([s["path"] for s in manifest["shards"]] == [s["path"] for s in other_manifest["shards"]], f"{words}: shards' names")
    for key in SUMS:
        check(manifest["run"].get(key) == other_manifest["run"].get(key),
              f"{words}: run.{key} is {manifest['run'].get(key)} and {other_manifest['run'].get(key)}")
    check(manifest["run"]["search"]["certified_rows"] == other_manifest["run"]["search"]["certified_rows"], f"{words}: certified rows")
