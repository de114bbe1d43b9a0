"""Made-up items, users and events for the tests of quarry.Miner, and what may be asked of Miners and of sets over them."""
import csv
import unittest
import warnings

import numpy as np

import quarry
from python_package import SharedFolder, run

try:
    import torch

    import quarry.torch
except ImportError:
    torch = None

needs_torch = unittest.skipIf(torch is None, "no torch")
COLUMNS = ("key", "item", "score", "branch", "raw_rank", "survivor_rank", "stratum", "logq", "fill", "count", "kappa", "positive_min",
           "certified")
CURRICULUM = """name = "curriculum"
k = { schedule = [[0, 3], [4, 7]] }
metric = "ip"
[exposure]
positive = ["like", "purchase"]
window = { schedule = [[0, 1000000], [9, 100000000]] }
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous"] }]
[[branch]]
name = "hard"
share = 1
source = { kind = "topk", pool = 30 }
select = { kind = "sample", weight = { kind = "softmax", tau = { schedule = [[0, 4.0], [10, 0.5]] } } }
"""
BY_STEP = """name = "by step"
k = 4
metric = "%s"
[exposure]
positive = ["like", "purchase"]
[safety]
filters = ["positives", { kind = "exposed", classes = ["ambiguous"], max_age = { schedule = [[0, 1000], [20, 100000000]] } }]
[strata]
popularity = { bins = 3 }
[quota]
by = "popularity"
shares = "equal"
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = { schedule = [[0, 60], [20, 15]] } }
select = { kind = "sample", weight = { kind = "softmax", tau = { schedule = [[0, 4.0], [20, 0.5]] } } }
[[branch]]
name = "easy"
share = 0.5
source = { kind = "popularity", beta = { schedule = [[0, 0.25], [10, 0.75]], kind = "step" } }
select = { kind = "sample" }
"""
SHARED = """name = "shared"
k = 4
metric = "ip"
[exposure]
positive = ["like", "purchase"]
[safety]
filters = ["positives"]
[[branch]]
name = "shared"
share = 1
source = %s
select = %s
"""


class World(SharedFolder):
    """`quarry synth` in data/, and Miners over it."""
    num_users, num_items, dim = 200, 600, 24
    seed = 5  # of the Miners

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run("synth", "--users", cls.num_users, "--items", cls.num_items, "--dim", cls.dim, "--out", "data")
        cls.items, cls.users = np.load("data/items.npy"), np.load("data/users.npy")
        cls.tables = {"events": "data/events.csv", "catalogue": "data/catalogue.csv"}

    def miner(self, recipe="balanced", **more):
        return quarry.Miner(**{"items": self.items, "users": self.users, "recipe": recipe, "seed": self.seed, **self.tables, **more})


class TrainingWorld(World):
    """Beside it: later tables, a batch, and what is positive. Negatives are compared with those of other Miners."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        warnings.simplefilter("error", quarry.StaleWarning)  # where a test does not wait for it
        random = np.random.default_rng(3)
        cls.later = [(cls.items + random.normal(0, 0.3, cls.items.shape)).astype(np.float32) for _ in range(6)]
        cls.later_users = (cls.users + random.normal(0, 0.3, cls.users.shape)).astype(np.float32)
        cls.batch = (np.arange(150) % 200, (np.arange(150) * 7) % 600)
        with open("data/events.csv", newline="") as file:
            cls.log = list(csv.DictReader(file))
        cls.positives = [set() for _ in cls.users]  # by the rules of SHARED
        for event in cls.log:
            if event["kind"] in ("like", "purchase"):
                cls.positives[int(event["user"])].add(int(event["item"]))

    @classmethod
    def has_faiss(cls):
        try:
            quarry.Miner(cls.items, "naive", allow_inert=True, retriever="IVF4,Flat")
        except quarry.ConfigError as error:
            if "FAISS" not in str(error):
                raise
            return False
        return True

    def assert_same(self, a, b):
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)

    def assert_other(self, a, b):
        self.assertTrue(a.item.shape != b.item.shape or (a.item != b.item).any())


class MinedWorld(World):
    """Beside it: sets that the program mined, set_RECIPE. Negatives are compared with their rows."""
    num_users, num_items, dim = 300, 800, 32
    seed = 11
    recipes: tuple = ()

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for recipe in cls.recipes:
            cls.mine(recipe, f"set_{recipe}")

    @classmethod
    def mine(cls, recipe, out, *more, items="data/items.npy"):
        run("mine", "--items", items, "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue",
            "data/catalogue.csv", "--recipe", recipe, "--seed", cls.seed, "--out", out, *more)

    @staticmethod
    def batch(rows):
        return rows.user, (rows.positive_offset, rows.positive)

    def assert_same(self, negatives, rows):
        np.testing.assert_array_equal(negatives.key, rows.row_key)
        for name in (*COLUMNS[1:], "gap"):
            expected = rows[name].astype(np.int64) if name == "item" else rows[name]
            if name == "item":
                expected = np.where(expected == 0xFFFFFFFF, -1, expected)
            np.testing.assert_array_equal(getattr(negatives, name), expected, name)
