#!/usr/bin/env python3
"""Pairs as arrays: the negatives of the same table in a file and of brute force, whatever the arrays are made of; and every mistake is named.

  tests/python_pairs_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import csv
import unittest

from python_package import main, or_skip

with or_skip():
    import numpy as np

    import quarry

from python_world import TrainingWorld, needs_torch, torch

try:
    import pyarrow
except ImportError:
    pyarrow = None

MOST = 0.25  # of the teacher's values
RECIPE = f"""name = "tables"
k = 7
metric = "ip"
backfill = []
[exposure]
positive = ["like", "purchase"]
[safety]
filters = ["positives"]
[[branch]]
name = "given"
count = 4
source = {{ kind = "run", table = "run" }}
filters = [{{ kind = "column", table = "teacher", max = {MOST} }}]
[[branch]]
name = "drawn"
count = 3
source = {{ kind = "topk", pool = 40 }}
select = {{ kind = "sample", weight = {{ kind = "column", table = "teacher", coef = 2.0 }} }}
"""


class PairsTest(TrainingWorld):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random = np.random.default_rng(8)
        cls.arrays = {}
        for name, without, each, values in (("run", (0, 7, 199), 30, lambda n: random.integers(-40, 40, n) / 8),  # ties; float16 has them all
                                            ("teacher", (7, 9), 200, lambda n: random.standard_normal(n))):
            table = [(user, item) for user in range(200) if user not in without for item in random.choice(600, each, replace=False)]
            users, items = np.array(table)[random.permutation(len(table))].T
            cls.arrays[name] = users.copy(), items.copy(), values(len(table)).astype(np.float32)
            cls.write(f"{name}.csv", *cls.arrays[name])
        cls.files = {name: f"{name}.csv" for name in cls.arrays}
        cls.everyone = np.arange(200), (np.arange(200) * 7) % 600
        cls.wanted = cls().mine(cls.files)

    @staticmethod
    def write(path, users, items, values):
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([("user", "item", "score"), *zip(users, items, map(repr, np.asarray(values).tolist()))])

    def mine(self, pairs, **more):
        return self.miner(RECIPE, pairs=pairs, **more).mine(*self.everyone)

    def test_as_brute_force_has_it(self):
        run, teacher = ([{} for _ in self.users] for _ in range(2))
        for table, name in ((run, "run"), (teacher, "teacher")):
            for user, item, value in zip(*self.arrays[name]):
                table[user][item] = float(value)
        got = self.mine(self.arrays)
        filled = 0
        for row, (user, own) in enumerate(zip(*self.everyone)):
            ranked = sorted(run[user], key=lambda item: (-run[user][item], item))
            wanted = [(item, rank) for rank, item in enumerate(ranked, 1)
                      if item not in self.positives[user] and item != own and teacher[user].get(item, MOST) <= MOST][:4]
            given = got.branch[row] == 0
            self.assertEqual(list(zip(got.item[row][given].tolist(), got.raw_rank[row][given].tolist())), wanted)
            self.assertEqual(got.count[row], len(wanted) + 3)
            np.testing.assert_allclose(got.score[row][given], [self.items[item].astype(np.float64) @ self.users[user] for item, _ in wanted],
                                       rtol=1e-5, atol=1e-5)
            filled += len(wanted)
        self.assertGreater(filled, 700)

    def test_any_arrays_are_the_table_in_a_file(self):
        def strided(column):
            return np.stack([column, column], axis=1)[:, 1]

        def fixed(column):
            column = column.copy()
            column.flags.writeable = False
            return column

        forms = {"as they are": (lambda a: a,) * 3, "int32": (np.int32,) * 2 + (np.float64,), "uint32, which is taken": (np.uint32,) * 2 + (np.float32,),
                 "uint64": (np.uint64,) * 2 + (np.longdouble,), "the shortest": (np.uint8, np.int16, np.float64), "strided": (strided,) * 3,
                 "backward": (lambda a: a[::-1],) * 3, "other byte order": (">i4", ">u2", ">f8"), "read-only": (fixed,) * 3,
                 "lists": (np.ndarray.tolist,) * 3, "tuples": (lambda a: tuple(a.tolist()),) * 3}
        for name, makers in forms.items():
            with self.subTest(name):
                self.assert_same(self.mine({table: tuple(make(column) if callable(make) and not isinstance(make, type) else column.astype(make)
                                                         for make, column in zip(makers, columns))
                                            for table, columns in self.arrays.items()}), self.wanted)
        users, items, values = self.arrays["run"]
        for narrow in (np.float16, np.int8):
            exact = narrow(values * 8) if narrow is np.int8 else narrow(values)
            self.write("narrow.csv", users, items, exact)
            self.assert_same(self.mine({**self.arrays, "run": [users, items, exact]}), self.mine({**self.files, "run": "narrow.csv"}))

    def test_order_does_not_count(self):
        for order in (np.lexsort, lambda keys: np.lexsort(keys)[::-1], lambda keys: np.random.default_rng(1).permutation(len(keys[0]))):
            self.assert_same(self.mine({name: [column[order(columns[:2])] for column in columns] for name, columns in self.arrays.items()}),
                             self.wanted)

    def test_beside_files(self):
        for name in self.arrays:
            self.assert_same(self.mine({**self.files, name: self.arrays[name]}), self.wanted)
        self.assert_other(self.mine({**self.arrays, "run": self.arrays["teacher"]}), self.wanted)
        ids = {"item_ids": [f"item {i}" for i in range(600)], "user_ids": [f"user {u}" for u in range(200)], "events": None, "catalogue": None}
        named = {}
        for name, (users, items, values) in self.arrays.items():
            named[name] = f"named_{name}.csv"
            self.write(named[name], [f"user {u}" for u in users], [f"item {i}" for i in items], values)
        # Pairs are of row numbers, whatever the rows are called.
        known = {"known_positives": ([1], [2]), **ids}
        self.assert_same(self.mine(self.arrays, **known), self.mine(named, **known))

    def test_none_and_one(self):
        self.write("none.csv", [], [], [])
        for none in (([], [], []), tuple(np.zeros(0, dtype) for dtype in (np.int64, np.uint32, np.float32)), (np.zeros(0),) * 3):
            got = self.mine({**self.arrays, "run": none})
            self.assert_same(got, self.mine({**self.files, "run": "none.csv"}))
            self.assertEqual((set(got.count.tolist()), {quarry.FILL_CODES[code] for code in got.fill[:, 3:].flat}), ({3}, {"exhausted"}))
            self.assert_same(self.mine({"run": none, "teacher": none}), self.mine({"run": "none.csv", "teacher": "none.csv"}))
        item = next(i for i in range(600) if i not in self.positives[199] and i != self.everyone[1][199])
        got = self.mine({"run": ([199], [item], [-3.4e38]), "teacher": ([], [], [])})
        self.assertEqual((got.count.tolist(), got.item[199, 0], got.raw_rank[199, 0]), ([3] * 199 + [4], item, 1))

    def test_what_a_miner_took_stays(self):
        """Whatever becomes of the arrays, also when the tables are put in again behind an update."""
        arrays = {name: (np.uint32(users), np.uint32(items), values.copy()) for name, (users, items, values) in self.arrays.items()}
        miner = self.miner(RECIPE, pairs=arrays)
        for columns in arrays.values():
            for column in columns:
                column[:] = 0
        self.assert_same(miner.mine(*self.everyone), self.wanted)
        miner.update_items(self.later[0], version=1)
        self.assert_same(miner.mine(*self.everyone), self.mine(self.files, items=self.later[0]))
        more_items, more_users = np.concatenate([self.items, self.later[1][:50]]), np.concatenate([self.users, self.later_users[:20]])
        miner.update_items(more_items, users=more_users, version=2)
        self.assert_same(miner.mine(*self.everyone), self.mine(self.files, items=more_items, users=more_users))
        event = [3], [5], [1_700_000_000]
        miner.update_events(*event, kinds=["like"])
        other = self.miner(RECIPE, pairs=self.files, items=more_items, users=more_users)
        other.update_events(*event, kinds=["like"])
        self.assert_same(miner.mine(*self.everyone), other.mine(*self.everyone))

    def test_mistakes_are_named(self):
        nan, inf = float("nan"), float("inf")
        three = [0, 5, 199], [2, 599, 0], [0.5, -1.0, 2.0]
        name = r"^pairs\['teacher'\]"
        users, items, values = (rf"{name}\[{place}\] \({word}\): " for place, word in enumerate(("users", "items", "values")))

        def other(place, entry, column=None):
            """The three with another entry, the second, in a column; or with another column."""
            table = [list(one) for one in three]
            table[place] = [table[place][0], entry, table[place][2]] if column is None else column
            return tuple(table)

        sizes = ".* 200 users and 600 items, numbered from 0"
        finite = r"is not a finite number in \[-3.4e38, 3.4e38\]"
        cases = [
            (f"{name}: must be a path, or .users, items, values.", three[:2]),
            (f"{name}: must be a path, or .users, items, values.", (*three, three[0])),
            (f"{name}: must be a path, or .users, items, values.", ()),
            (f"{name}: must be a path, or .users, items, values.", np.zeros((3, 5))),
            (f"{name}: must be a path, or .users, items, values.", {(0, 2): 0.5}),
            (f"{name}: must be a path, or .users, items, values.", None),
            (f"{name}: must be a path, or .users, items, values.", 5),
            (f"{name}: 2 users and 3 items; they are pairs", other(0, None, [0, 5])),
            (f"{name}: 3 users and 2 items; they are pairs", other(1, None, [0, 5])),
            (f"{name}: 3 users and 0 items; they are pairs", other(1, None, [])),
            (f"{name}: 3 pairs and 2 values; a pair has one", other(2, None, [0.5, 1.0])),
            (f"{name}: 3 pairs and 4 values; a pair has one", other(2, None, [0.5, 1.0, 2.0, 3.0])),
            (f"{name}: 3 pairs and 0 values; a pair has one", other(2, None, [])),
            (f"{users}entry 1 is -1; 0 to 4294967294 are allowed", other(0, -1)),
            (f"{items}entry 1 is -7; 0 to 4294967294 are allowed", other(1, None, np.array([2, -7, 0], np.int8))),
            (f"{users}entry 1 is 4294967295; 0 to 4294967294 are allowed", other(0, 2**32 - 1)),
            (f"{items}entry 1 is 18446744073709551616; 0 to 4294967294 are allowed", other(1, 2**64)),
            (f"{name}: pair 1 is of user 200 and item 599;{sizes}", other(0, 200)),
            (f"{name}: pair 1 is of user 5 and item 600;{sizes}", other(1, 600)),
            (f"{name}: pair 1 is of user 4294967294 and item 599;{sizes}", other(0, 2**32 - 2)),
            (f"{name}, pair 1: value 'nan' {finite}", other(2, nan)),
            (f"{name}, pair 1: value 'inf' {finite}", other(2, inf)),
            (f"{name}, pair 1: value '-inf' {finite}", other(2, None, np.array([0.5, -inf, 2.0], np.float32))),
            (rf"{values}entry 1 is 1e\+300; -3.4e38 to 3.4e38 are allowed", other(2, 1e300)),
            (rf"{values}entry 1 is -1e\+39; -3.4e38 to 3.4e38 are allowed", other(2, -1e39)),
            (f"{name}: pair 2, of user 0 and item 2, stands already at 0; a pair has one value", ([0, 5, 0], [2, 599, 2], three[2])),
            (f"{name}: pair 1, of user 5 and item 0, stands already at 0; a pair has one value", ([5, 5, 0], [0, 0, 5], [1.0, 1.0, 1.0])),
            (rf"{users}is float64; whole numbers are needed.*astype\('int64'\)", other(0, 5.0)),
            (f"{users}is bool; whole numbers are needed", other(0, None, [True, False, True])),
            (f"{users}is <U[0-9]+; whole numbers are needed", other(0, None, ["0", "5", "199"])),
            (f"{items}is object; whole numbers are needed", other(1, None)),
            (f"{items}is datetime64", other(1, None, np.zeros(3, "datetime64[s]"))),
            (f"{items}is no array of numbers", other(1, [599])),
            (rf"{users}has shape \(3, 1\); 1 dimension", other(0, None, [[0], [5], [199]])),
            (rf"{users}has shape \(\); 1 dimension", other(0, None, 5)),
            (rf"{values}is <U[0-9]+ of shape \(3,\); numbers of one dimension are needed", other(2, "half")),
            (f"{values}is object", other(2, None)),
            (f"{values}is complex128", other(2, 1j)),
            (f"{values}is bool", other(2, None, [True, False, True])),
            (rf"{values}is float64 of shape \(3, 1\)", other(2, None, [[0.5], [1.0], [2.0]])),
            (f"{values}is no array of numbers", other(2, [0.5])),
            (rf"{values}is float64 of shape \(\)", other(2, None, 0.5)),
        ]
        for words, table in cases:
            for bad in (table, list(table)) if isinstance(table, tuple) else (table,):
                with self.subTest(words=words):
                    with self.assertRaisesRegex(quarry.InputError, words):
                        self.mine({**self.arrays, "teacher": bad})
        with self.assertRaisesRegex(quarry.ConfigError, "'teacher'.*pairs="):
            self.mine({"run": self.arrays["run"]})
        with self.assertRaisesRegex(quarry.ConfigError, name + " need users="):
            quarry.Miner(self.items, RECIPE, pairs={"teacher": three})
        self.assert_same(self.mine(self.arrays), self.wanted)  # none of these broke it

    @needs_torch
    def test_tensors(self):
        self.assert_same(self.mine({name: [torch.from_numpy(column) for column in columns] for name, columns in self.arrays.items()}), self.wanted)
        users, items, values = map(torch.from_numpy, self.arrays["teacher"])
        learnt = values.clone().requires_grad_()
        self.assert_same(self.mine({**self.arrays, "teacher": (users.int(), items.int(), learnt)}), self.wanted)
        for column in (values.to("meta"), values.bfloat16()):
            with self.assertRaisesRegex(quarry.InputError, r"pairs\['teacher'\]\[2\] \(values\)"):
                self.mine({**self.arrays, "teacher": (users, items, column)})

    @unittest.skipIf(pyarrow is None, "no pyarrow")
    def test_columns_of_arrow(self):
        def chunks(column):
            return pyarrow.chunked_array([column[:1000], column[1000:]])

        for make in (pyarrow.array, chunks):
            self.assert_same(self.mine({name: [make(column) for column in columns] for name, columns in self.arrays.items()}), self.wanted)
        users, items, values = ([column[0], None, column[2]] for column in self.arrays["teacher"])
        for bad, words in (((pyarrow.array(users), items[:1] * 3, [0.5] * 3), r"\[0\] \(users\): is float64; whole numbers"),
                           (([1, 2, 3], [1, 2, 3], pyarrow.array(values, pyarrow.float32())), ", pair 1: value 'nan'"),
                           (([1, 2, 3], [1, 2, 3], pyarrow.array(["a", "b", "c"])), r"\[2\] \(values\): is object")):
            with self.assertRaisesRegex(quarry.InputError, r"^pairs\['teacher'\]" + words):
                self.mine({**self.arrays, "teacher": bad})


if __name__ == "__main__":
    main()
