"""Plants one fault after the other in mined sets: tools/check_set must find each, and name it.

  check_set_corruptions.py PROGRAM CHECK_SET DATA FOLDER

PROGRAM is quarry, DATA a folder of `quarry synth`. Run by tests/demo_test.cpp.
"""
import glob
import json
import os
import shutil
import struct
import subprocess
import sys

RECIPE = """
name = "corrupted"
k = 12
metric = "cosine"
cap = [{ column = "category", per_row = 2 }]
backfill = ["hard"]
[exposure]
positive = ["purchase", "like"]
aversion = ["dislike", "hide"]
disinterest = ["skip"]
window = 31536000
[safety]
filters = ["positives", { kind = "time" }]
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 40, max_rank = 60 }
[[branch]]
name = "seen"
share = 0.25
source = { kind = "exposed", classes = ["aversion", "disinterest"], max_age = 31536000 }
[[branch]]
name = "random"
share = 0.25
source = "uniform"
[quota]
by = "popularity"
shares = { head = 0.4, torso = 0.35, tail = 0.25 }
"""
# Another one, whose quota is redistributed: no item is without a category, so the cells of "" are empty.
SHARED_OUT = """
name = "shared-out"
k = 12
metric = "ip"
backfill = ["random", "popular", "hard"]
[exposure]
positive = ["purchase", "like"]
aversion = ["dislike", "hide"]
[safety]
filters = ["positives", { kind = "time" }, { kind = "exposed", classes = ["aversion"] }]
[strata]
popularity = { bins = 2, names = ["tail", "head"] }
category = { column = "category" }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 100 }
[[branch]]
name = "popular"
share = 0.25
source = "popularity^0.75"
[[branch]]
name = "random"
share = 0.25
source = "uniform"
[quota]
by = ["category", "popularity"]
shares = { category = "equal", popularity = { tail = 0.4, head = 0.6 } }
redistribute = true
"""
WIDTH = {"row_key": ("Q", 1), "user": ("I", 1), "time": ("q", 1), "positive_offset": ("Q", 1), "positive": ("I", 1),
         "count": ("H", 1), "positive_min": ("f", 1), "item": ("I", 12),
         "score": ("f", 12), "gap": ("f", 12), "branch": ("B", 12), "raw_rank": ("I", 12), "survivor_rank": ("I", 12),
         "quantile": ("f", 12), "stratum": ("I", 12), "logq": ("f", 12), "fill": ("B", 12)}


class Set:
    """A copy of the mined set whose numbers can be changed in place."""

    def __init__(self, folder):
        self.folder = folder
        self.shard = glob.glob(os.path.join(folder, "s0*"))[0]
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as file:
            self.manifest = json.load(file)

    def path(self, column):
        return os.path.join(self.shard, column + ".npy")

    def get(self, column, row, slot=0):
        kind, width = WIDTH[column]
        with open(self.path(column), "rb") as file:
            file.seek(128 + (row * width + slot) * struct.calcsize(kind))
            return struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]

    def put(self, column, row, slot, value):
        kind, width = WIDTH[column]
        with open(self.path(column), "r+b") as file:
            file.seek(128 + (row * width + slot) * struct.calcsize(kind))
            file.write(struct.pack("<" + kind, value))

    def change(self, column, row, slot, change):
        self.put(column, row, slot, change(self.get(column, row, slot)))

    def save(self):
        with open(os.path.join(self.folder, "manifest.json"), "w", encoding="utf-8") as file:
            json.dump(self.manifest, file)

    def find(self, wanted):
        """The first (row, slot) that `wanted(set, row, slot)` takes."""
        for row in range(self.manifest["rows"]):
            for slot in range(12):
                if wanted(self, row, slot):
                    return row, slot
        sys.exit("the mined set has no slot to plant this fault in")


def filled(s, row, slot):
    return slot < s.get("count", row)


def empty(s, row, slot):
    return not filled(s, row, slot)


def from_branch(name):
    return lambda s, row, slot: filled(s, row, slot) and s.manifest["branches"][s.get("branch", row, slot)] == name


def recipe(old, new):
    def fault(s):
        text = s.manifest["run"]["recipe"]["text"]
        assert old in text, old
        s.manifest["run"]["recipe"]["text"] = text.replace(old, new)
        s.save()
    return fault


def number(*path):
    def fault(s):
        place = s.manifest["run"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] += 1
        s.save()
    return fault


def at(wanted, column, change):
    def fault(s):
        row, slot = s.find(wanted)
        s.change(column, row, slot, change)
    return fault


def not_exposed(s):
    """Puts an item that was drawn at random into a slot of the exposed branch, with all that belongs to it."""
    row, slot = s.find(lambda s, row, slot: from_branch("random")(s, row, slot) and any(
        from_branch("seen")(s, row, other) for other in range(12)))
    s.put("branch", row, slot, s.manifest["branches"].index("seen"))
    for column in ("raw_rank", "survivor_rank"):
        s.put(column, row, slot, 1)
    s.put("quantile", row, slot, 1 / s.manifest["num_items"])


def f32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def later_rank(s):
    """The last ranked pick of a row one place further back, with all that follows from it."""
    hard = from_branch("hard")
    row, slot = s.find(lambda s, row, slot: hard(s, row, slot) and s.get("raw_rank", row, slot) < 60 and all(
        s.get("raw_rank", row, other) <= s.get("raw_rank", row, slot) for other in range(12) if hard(s, row, other)))
    s.change("raw_rank", row, slot, lambda rank: rank + 1)
    s.put("quantile", row, slot, f32(s.get("raw_rank", row, slot)) / f32(s.manifest["num_items"]))


def next_float(s):
    """The last bit of a score, with the gap that belongs to it."""
    row, slot = s.find(from_branch("random"))
    bits = struct.unpack("<I", struct.pack("<f", s.get("score", row, slot)))[0]
    s.put("score", row, slot, struct.unpack("<f", struct.pack("<I", bits ^ 1))[0])
    s.put("gap", row, slot, s.get("positive_min", row) - s.get("score", row, slot))


def swap_users(s):
    first = s.get("user", 0)
    s.put("user", 0, 0, first + 1)


FAULTS = [
    ("the score is not that", at(filled, "score", lambda x: x + 0.01)),
    ("the gap is not", at(filled, "gap", lambda x: x * 1.0001 + 1e-6)),
    ("the quantile is not", at(from_branch("hard"), "quantile", lambda x: x * 1.01)),
    ("row_key is not", at(filled, "row_key", lambda x: x ^ 1)),
    ("row is another user's", swap_users),
    ("the time is not that of", at(filled, "time", lambda x: x + 1)),
    ("the positives are not the row's", at(filled, "positive", lambda x: x ^ 1)),
    ("the positives are not the row's", lambda s: s.change("positive_offset", 5, 0, lambda x: x + 1)),
    ("positive_offset does not go from 0", lambda s: s.change("positive_offset", s.manifest["shards"][0]["rows"], 0, lambda x: x - 1)),
    ("positive_min is not", at(filled, "positive_min", lambda x: x - 0.01)),
    ("stratum is not that of the item", at(filled, "stratum", lambda x: (x + 1) % 3)),
    ("are not its quota target", at(empty, "stratum", lambda x: (x + 1) % 3)),
    ("fill code of an empty slot", at(empty, "fill", lambda x: 1)),
    ("not marked as empty", at(empty, "raw_rank", lambda x: 7)),
    ("an item stands in the row twice", lambda s: s.put("item", 0, 1, s.get("item", 0, 0))),
    ("no valid item, branch or fill code", at(filled, "branch", lambda x: 9)),
    ("was not exposed in a class of branch seen", not_exposed),
    ("raw_rank or survivor_rank is not one", at(from_branch("random"), "survivor_rank", lambda x: 3)),
    ("order of the scores", at(from_branch("hard"), "raw_rank", lambda x: 59)),
    ("beyond max_rank of branch hard", recipe("max_rank = 60", "max_rank = 2")),
    ("more than 1 items of one category", recipe("per_row = 2", "per_row = 1")),
    ("breaks the filter score of branch hard", recipe(', max_rank = 60 }', ', max_rank = 60 }\nfilters = [{ kind = "score", hi = -0.9 }]')),
    ("breaks the filter exposed", recipe('{ kind = "time" }]', '{ kind = "exposed", max_age = 31536000, classes = ["ambiguous", "aversion", "disinterest"] }]')),
    ("raw_rank is not the item's place", later_rank),
    ("the score is not the exact one", next_float),
    ("logq is not the logarithm", at(from_branch("random"), "logq", lambda x: x + 1e-4)),
    ("logq is not the logarithm", at(from_branch("seen"), "logq", lambda x: x - 1e-4)),
    ("logq is a number for a deterministic pick", at(from_branch("hard"), "logq", lambda x: -1.0)),
    ("(emitted), the set holds", number("fill", "emitted")),
    ("(requested), the set holds", number("fill", "requested")),
    ("(missing max_rank), the set holds", number("fill", "missing", "max_rank")),
    ("(picked by branch seen), the set holds", number("branches", 1, "picked")),
]

SHARED_OUT_FAULTS = [
    ("logq is not the logarithm", at(from_branch("popular"), "logq", lambda x: x + 1e-4)),
    ("logq is not the logarithm", recipe("popularity^0.75", "popularity^0.74")),
    ("quota target after redistribution", recipe("tail = 0.4, head = 0.6", "tail = 0.3, head = 0.7")),
    ("quota target after redistribution", recipe('by = ["category", "popularity"]', 'by = ["popularity", "category"]')),
    ("a stratum without a share has slots", recipe("tail = 0.4, head = 0.6", "head = 1.0")),
]


def cut_file(s):
    with open(s.path("score"), "r+b") as file:
        file.truncate(1001)


def no_recipe(s):
    del s.manifest["run"]["recipe"]
    s.save()


def more_positives(s):
    s.manifest["shards"][0]["positives"] += 1
    s.save()


CANNOT = [("holds", cut_file), ("positive.npy is of shape", more_positives), ("KeyError", no_recipe),
          ("manifest.json", lambda s: os.remove(os.path.join(s.folder, "manifest.json")))]


def main():
    program, check_set, data, folder = sys.argv[1:]
    copy = os.path.join(folder, "copy")

    def mine(name, text):
        path = os.path.join(folder, name)
        with open(path + ".toml", "w", encoding="utf-8") as file:
            file.write(text)
        subprocess.run([program, "mine", "--items", data + "/items.npy", "--users", data + "/users.npy", "--events",
                        data + "/events.csv", "--catalogue", data + "/catalogue.csv", "--as-of", "1631536000",
                        "--recipe", path + ".toml", "--out", path], check=True, stderr=subprocess.DEVNULL)
        return path

    failures = 0

    def judge(path, code, words):
        nonlocal failures
        run = subprocess.run([sys.executable, "-B", check_set, "--ranked-rows", "20", path], capture_output=True, text=True)
        output = run.stdout + run.stderr
        if run.returncode != code or words not in output or "Traceback" in output:
            failures += 1
            print(f"FAILED: exit code {run.returncode}, not {code}, or no '{words}' in:\n{output}")

    planted = 0
    for name, text, batches in (("mined", RECIPE, ((1, FAULTS), (2, CANNOT))),
                                ("shared-out", SHARED_OUT, ((1, SHARED_OUT_FAULTS),))):
        mined = mine(name, text)
        judge(mined, 0, "nothing wrong")
        for code, faults in batches:
            for words, fault in faults:
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(mined, copy)
                fault(Set(copy))
                judge(copy, code, words)
                planted += 1
    print(f"{planted} faults planted, {failures} not found")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
