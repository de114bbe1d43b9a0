"""Events and catalogue with a value of every kind, in CSV files and as lists, for the tests of tables in memory."""
import csv

import numpy as np

from python_world import TrainingWorld

try:
    import pyarrow
except ImportError:
    pyarrow = None
try:
    import pandas
except ImportError:
    pandas = None
try:
    import polars
except ImportError:
    polars = None

RECIPE = """name = "tables"
k = 6
metric = "ip"
[exposure]
positive = ["like", "purchase>=40", "view>=60"]
aversion = ["dislike"]
window = "200d"
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous"] }, { kind = "group", column = "group" }, "time",
           { kind = "overlap", columns = ["new", "level", "maker", "since"], min_equal = 3 }]
[strata]
colour = { column = "colour" }
recency = { edges = ["100d", "300d"] }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 60 }
select = { kind = "sample", weight = { kind = "softmax", tau = 2.0 } }
[[branch]]
name = "random"
share = 0.5
source = { kind = "popularity", beta = 0.5 }
[quota]
by = "colour"
shares = { "red, \\"deep\\"" = 0.5, "grün" = 0.5 }
cap = [{ column = "maker", per_row = 2 }]
backfill = ["random", "hard"]
"""
COLOURS = 'red, "deep"', "grün", "", "line\nbreak", "紅🙂"


def text_of(value):
    """A value as a field: what `quarry convert` writes."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def write(path, table):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([tuple(table), *([text_of(value) for value in row] for row in zip(*table.values()))])
    return path


def part(table, rows):
    return {name: [column[row] for row in rows] for name, column in table.items()}


class TablesWorld(TrainingWorld):
    """Negatives are compared with those of the files, `wanted`; each column but the title matters to them."""
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random = np.random.default_rng(2)
        cls.events = {"user": [int(e["user"]) for e in cls.log], "item": [int(e["item"]) for e in cls.log],
                      "time": [int(e["time"]) for e in cls.log], "kind": [e["kind"] for e in cls.log],
                      "value": [float(e["value"]) if e["value"] else None for e in cls.log]}
        for _ in range(6000):  # more than a reader takes at once
            event = (random.integers(200).item(), random.integers(600).item(), random.integers(16 * 10**8, 1_631_536_000).item(),
                     random.choice(["view", "dislike", "share"]).item(), None if random.random() < 0.5 else random.integers(100).item() + 0.5)
            for name, one in zip(cls.events, event):
                cls.events[name].append(one)
        cls.rows = len(cls.events["user"])
        n = len(cls.items)
        since = np.array("2019-01-31", "datetime64[s]") + random.integers(0, 10**8, n)
        cls.attributes = {
            "first_seen": [None if i % 9 == 0 else int(t) for i, t in enumerate(random.integers(15 * 10**8, 163 * 10**7, n))],
            "retired": [int(t) if i % 7 == 0 else None for i, t in enumerate(random.integers(16 * 10**8, 164 * 10**7, n))],
            "title": [f"Title {i}, “{i % 3}”" for i in range(n)],
            "group": [int(one) for one in random.integers(0, 90, n)],
            "colour": [COLOURS[one] for one in random.integers(0, len(COLOURS), n)],
            "new": [None if one == 2 else bool(one) for one in random.integers(0, 3, n).tolist()],
            "level": [None if one == 0 else one / 4 for one in random.integers(0, 9, n).tolist()],
            "maker": [None if one == 0 else one for one in random.integers(0, 40, n).tolist()],
            "since": [str(one) for one in (since.astype("datetime64[D]") - random.integers(0, 2, n) * 400).astype("datetime64[Y]").astype("datetime64[D]")]}
        cls.catalogue = {"item": list(range(n)), **cls.attributes}
        cls.tables = {"events": write("log.csv", cls.events), "catalogue": write("items.csv", cls.catalogue)}
        cls.everyone = np.arange(200), (np.arange(200) * 7) % 600
        cls.times = [160 * 10**7 + int(one) for one in random.integers(0, 3 * 10**7, 200)]
        cls.wanted = cls().mine()
        cls.assert_told_apart()

    @classmethod
    def assert_told_apart(cls):
        """Each column matters: negatives differ where it does, so that equal ones mean that it was read."""
        test = cls()
        for name, other in (("user", lambda c: c[1:] + c[:1]), ("item", lambda c: c[1:] + c[:1]), ("time", lambda c: c[::-1]),
                            ("kind", lambda c: c[1:] + c[:1]), ("value", lambda c: [None] * len(c))):
            got = test.mine(events=write("other.csv", {**cls.events, name: other(cls.events[name])}))
            test.assertTrue((got.item != cls.wanted.item).any(), name)
        for name in cls.attributes:
            if name != "title":
                got = test.mine(catalogue=write("other.csv", {**cls.catalogue, name: cls.catalogue[name][::-1]}))
                test.assertTrue((got.item != cls.wanted.item).any(), name)

    def mine(self, recipe=RECIPE, **more):
        return self.miner(recipe, **more).mine(*self.everyone, times=self.times)

    def assert_same_log(self, table, **more):
        self.assert_same(self.mine(events=table, **more), self.wanted)

    def assert_same_items(self, table, **more):
        miner, files = self.miner(RECIPE, catalogue=table, **more), self.miner(RECIPE, **more)
        self.assertEqual(miner.strata, files.strata)
        self.assert_same(miner.mine(*self.everyone, times=self.times), self.wanted)
