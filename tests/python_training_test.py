#!/usr/bin/env python3
"""quarry.Miner inside a training loop: tables that change while it mines, batches mined ahead, rounds, in-batch and queue negatives, and the
losses of quarry.torch, each against a fresh Miner or NumPy by brute force.

  tests/python_training_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package
(tools/check_python makes one); else it ends with 77, which means skipped."""
import collections
import copy
import csv
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

try:
    import numpy as np

    import quarry
except ImportError as error:
    print(f"python_training_test: skipped, {sys.executable} lacks the package: {error}")
    sys.exit(77)
try:
    import torch

    import quarry.torch
except ImportError:
    torch = None

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
program = ""


def run(*arguments, ok=(0,)):
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode not in ok:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stderr}")
    return done


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class TrainingTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.old = os.getcwd()
        os.chdir(cls.folder.name)
        run("synth", "--users", 200, "--items", 600, "--dim", 24, "--out", "data")
        cls.items, cls.users = np.load("data/items.npy"), np.load("data/users.npy")
        cls.tables = {"events": "data/events.csv", "catalogue": "data/catalogue.csv"}
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
    def tearDownClass(cls):
        os.chdir(cls.old)
        cls.folder.cleanup()

    def miner(self, recipe="balanced", **more):
        return quarry.Miner(**{"items": self.items, "users": self.users, "recipe": recipe, "seed": 5, **self.tables, **more})

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

    # --- items that change ------------------------------------------------------------------------
    def test_after_an_update_it_is_a_fresh_miner(self):
        for recipe in ("balanced", "nv-perc", "random", "dns-mn", "exposure"):
            with self.subTest(recipe=recipe):
                miner = self.miner(recipe)
                before = miner.mine(*self.batch, k=3)
                self.assertEqual((before.version, miner.version), (0, 0))
                self.assertEqual(miner.update_items(self.later[0]), 1)
                self.assert_same(miner.mine(*self.batch), self.miner(recipe, items=self.later[0]).mine(*self.batch))
                self.assertEqual(miner.update_items(self.later[1], users=self.later_users, version=40), 40)
                fresh = self.miner(recipe, items=self.later[1], users=self.later_users)
                after = miner.mine(*self.batch)
                self.assert_same(after, fresh.mine(*self.batch))
                self.assert_same(miner.mine(*self.batch, k=3), fresh.mine(*self.batch, k=3))
                self.assertEqual((after.version, miner.version, miner.items_address), (40, 40, self.later[1].ctypes.data))
                miner.update_items(users=self.users)
                self.assertEqual(miner.version, 40)  # of the items
                self.assert_same(miner.mine(*self.batch), self.miner(recipe, items=self.later[1]).mine(*self.batch))
        self.assertIsNone(quarry.Negatives.concatenate([before, miner.mine(*self.batch, k=3)]).version)

    def test_tables_may_grow(self):
        more = np.concatenate([self.items, self.later[0][:50]])
        miner = self.miner("random")
        miner.update_items(more)
        self.assertEqual(miner.num_items, 650)
        wanted = self.miner("random", items=more).mine(*self.batch)
        self.assert_same(miner.mine(*self.batch), wanted)
        self.assertGreater(int(wanted.item.max()), 600)
        ids = [f"i{i}" for i in range(650)]
        tables = {"events": None, "catalogue": None, "allow_inert": True}
        named = self.miner("naive", item_ids=ids[:600], **tables)
        with self.assertRaisesRegex(quarry.InputError, "600 ids for 650 rows"):
            named.update_items(more)
        named.update_items(more, item_ids=ids)
        self.assert_same(named.mine(*self.batch), self.miner("naive", items=more, item_ids=ids, **tables).mine(*self.batch))

    def test_an_update_that_fails_changes_nothing(self):
        miner = self.miner()
        wanted = miner.mine(*self.batch)
        bad = self.later[0].copy()
        bad[7, 3] = np.nan
        for words, call in (("599 rows, where the Miner has 600", lambda: miner.update_items(self.items[:599].copy())),
                            ("items", lambda: miner.update_items(bad)),
                            ("users: have 8 columns", lambda: miner.update_items(users=self.users[:, :8].copy())),
                            ("neither items nor users", lambda: miner.update_items()),
                            ("version: -1", lambda: miner.update_items(self.later[0], version=-1)),
                            ("is float64", lambda: miner.update_items(self.later[0].astype(float))),
                            ("no events are given", lambda: miner.update_events()),
                            ("times: are not given", lambda: miner.update_events([1], [2], kinds="like")),
                            ("kinds: none", lambda: miner.update_events([1], [2], [3])),
                            ("kinds: 2 texts for 1", lambda: miner.update_events([1], [2], [3], ["like", "view"])),
                            ("items: has 2 entries", lambda: miner.update_events([1], [2, 3], [3], "like")),
                            ("event 1 is of user 200", lambda: miner.update_events([1, 200], [2, 3], [3, 4], "like")),
                            ("event 0", lambda: miner.update_events([1], [2], [2**60], "like")),
                            ("values: entry 0 is infinite", lambda: miner.update_events([1], [2], [3], "like", [np.inf])),
                            ("missing.csv", lambda: miner.update_events(files="missing.csv"))):
            with self.subTest(words=words):
                with self.assertRaisesRegex(quarry.Error, words):
                    call()
                self.assert_same(miner.mine(*self.batch), wanted)
        failed = miner.update_items(bad, wait=False)
        with self.assertRaises(quarry.InputError):
            failed.result()
        self.assertEqual(miner.version, 0)

    def test_updates_beside_batches_lose_none(self):
        for retriever in ("auto", "IVF8,Flat")[:2 if self.has_faiss() else 1]:
            with self.subTest(retriever=retriever):
                self.update_beside_batches(retriever)

    def update_beside_batches(self, retriever):
        fresh = [self.miner("nv-perc", items=items, retriever=retriever).mine(*self.batch) for items in (self.items, *self.later)]
        miner = self.miner("nv-perc", retriever=retriever)
        mined, ended, failures = [[], []], threading.Event(), []

        def work(own):
            try:
                while not ended.is_set():
                    own.append(miner.mine(*self.batch))
                own.append(miner.mine(*self.batch))
            except BaseException as error:  # noqa: B902 (told below)
                failures.append(error)
        threads = [threading.Thread(target=work, args=(own,)) for own in mined]
        for thread in threads:
            thread.start()
        pending = []
        for number, items in enumerate(self.later):
            update = miner.update_items(items, wait=number % 2 == 0)
            pending.append(update)
            time.sleep(0.03)
        self.assertEqual([one if isinstance(one, int) else one.result(timeout=60) for one in pending], [1, 2, 3, 4, 5, 6])
        time.sleep(0.05)
        ended.set()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        for own in mined:
            versions = [negatives.version for negatives in own]
            self.assertEqual(versions, sorted(versions))
            self.assertEqual(versions[-1], 6)
            for negatives in own:  # each with one table, whole
                self.assert_same(negatives, fresh[negatives.version])
        self.assertGreater(len({negatives.version for own in mined for negatives in own}), 1)

    def test_prefetch_beside_updates_loses_and_repeats_none(self):
        for retriever in ("auto", "IVF8,Flat")[:2 if self.has_faiss() else 1]:
            with self.subTest(retriever=retriever):
                miner = self.miner("nv-sample", retriever=retriever)
                fresh = [self.miner("nv-sample", items=items, retriever=retriever) for items in (self.items, *self.later)]
                batches = [{"users": (np.arange(40) + step) % 200, "positives": (np.arange(40) + 3 * step) % 600,
                            "keys": np.arange(40, dtype=np.uint64) + 40 * step} for step in range(400)]
                updates, got = [], []
                for step, (batch, negatives) in enumerate(miner.prefetch(iter(batches), 3)):
                    got.append((batch, negatives))
                    if step % 40 == 0 and len(updates) < 6:
                        updates.append(miner.update_items(self.later[len(updates)], wait=False))
                    if step % 40 == 30:
                        updates[-1].result(timeout=60)
                self.assertEqual([update.result() for update in updates], [1, 2, 3, 4, 5, 6])
                self.assertEqual(len(got), 400)
                versions = [negatives.version for _, negatives in got]
                self.assertEqual((versions, sorted(set(versions))), (sorted(versions), list(range(7))))
                for (batch, negatives), wanted in zip(got, batches):
                    self.assertIs(batch, wanted)
                    np.testing.assert_array_equal(negatives.key, wanted["keys"])
                    self.assert_same(negatives, fresh[negatives.version].mine(**wanted))

    def test_tables_of_files_stay_until_they_are_updated(self):
        """Another checkpoint under the same name is none of update_events' business, nor of a round's."""
        for recipe in ("nv-perc", CURRICULUM):
            with self.subTest(recipe=recipe[:10]):
                np.save("now_items.npy", self.items), np.save("now_users.npy", self.users)
                miner = self.miner(recipe, items="now_items.npy", users="now_users.npy")
                for name, table in (("items", self.later[0]), ("users", self.later_users)):
                    np.save(f"next_{name}.npy", table)
                    os.rename(f"next_{name}.npy", f"now_{name}.npy")
                miner.update_events([3], [17], [5], "view")
                wanted = self.miner(recipe)
                wanted.update_events([3], [17], [5], "view")
                self.assert_same(miner.mine(*self.batch), wanted.mine(*self.batch))
                self.assert_same(miner.mine(*self.batch, round=7), wanted.mine(*self.batch, round=7))
                self.assertEqual(miner.update_items("now_items.npy", users="now_users.npy"), 1)
                wanted.update_items(self.later[0], users=self.later_users)
                self.assert_same(miner.mine(*self.batch), wanted.mine(*self.batch))

    def test_an_update_prepares_what_batches_ask_for(self):
        """Else the first of them would wait, as for an index to be built."""
        miner = self.miner("nv-sample")
        for k in (2, 3):
            miner.mine(*self.batch, k=k)
        miner.update_items(self.later[0])
        self.assertEqual(miner._miner.num_miners, 3)
        fresh = self.miner("nv-sample", items=self.later[0])
        for k in (2, 3, None):
            self.assert_same(miner.mine(*self.batch, k=k), fresh.mine(*self.batch, k=k))
        self.assertEqual(miner._miner.num_miners, 3)
        miner.mine(*self.batch, k=2)
        for wanted in (4, 1):  # as used since the last update: each k, then none but the recipe's
            miner.mine(*self.batch, k=5) if wanted == 4 else None
            miner.update_items(self.later[1])
            self.assertEqual(miner._miner.num_miners, wanted)
        scheduled = self.miner(CURRICULUM)
        for number in (2, 5):  # of each batch, as in the loop of the guide; the Miner's stays 0
            scheduled.mine(*self.batch, round=number)
        scheduled.update_items(self.later[0])
        self.assertEqual(scheduled._miner.num_miners, 2)
        self.assert_same(scheduled.mine(*self.batch, round=5), self.miner(CURRICULUM, round=5, items=self.later[0]).mine(*self.batch))
        self.assertEqual(scheduled._miner.num_miners, 2)

    def test_miners_of_many_sizes_are_let_go(self):
        miner = self.miner("random")
        wanted = miner.mine(*self.batch, k=1)
        for k in range(1, 31):
            self.assertEqual(miner.mine(*self.batch, k=k).k, k)
        self.assertEqual(miner._miner.num_miners, 16)
        self.assert_same(miner.mine(*self.batch, k=1), wanted)

    def test_versions_that_are_stale(self):
        miner = self.miner("random")
        miner.update_items(self.later[0], version=3)
        self.assertEqual(miner.mine(*self.batch, version=3).version, 3)
        for version in (2, 4):
            with self.assertRaisesRegex(quarry.StaleError, f"version {version}, the Miner's items are of version 3"):
                miner.mine(*self.batch, version=version)
        with self.assertWarnsRegex(quarry.StaleWarning, "version 4 was mined with items of version 3"):
            mined = miner.mine(*self.batch, version=4, stale="warn")
        self.assert_same(mined, miner.mine(*self.batch))
        self.assertEqual((mined.version, miner.stale_batches), (3, 1))
        for bad in ({"stale": "maybe"}, {"version": "3"}, {"version": True}):
            with self.assertRaises(quarry.ConfigError):
                miner.mine(*self.batch, **bad)

    def test_former_tables_are_let_go(self):
        first = self.items.copy()
        free = sys.getrefcount(first)
        miner = self.miner("random", items=first)
        self.assertGreater(sys.getrefcount(first), free)
        miner.update_items(self.later[0])
        gc.collect()
        self.assertEqual(sys.getrefcount(first), free)
        for turn in range(60):
            miner.update_items(self.later[turn % 6], users=self.later_users)
            if turn == 20:
                before = resident()
        self.assertLess(resident() - before, 4 << 20)

    # --- events that come -------------------------------------------------------------------------
    def test_later_events(self):
        random = np.random.default_rng(8)
        n, end = 500, max(int(event["time"]) for event in self.log)
        users, items = random.integers(0, 200, n), random.integers(0, 600, n)
        times = random.integers(end - 10_000_000, end + 1000, n)
        kinds = random.choice(["like", "view", "dislike", "skip", "never_named"], n).tolist()
        values = np.where(random.random(n) < 0.5, random.random(n) * 5, np.nan).astype(np.float32)
        header = list(self.log[0])
        with open("longer.csv", "w", newline="") as file:
            table = csv.DictWriter(file, header)
            table.writeheader()
            table.writerows(self.log)
            new = [{**dict.fromkeys(header, ""), "user": u, "item": i, "time": t, "kind": kind, "value": "" if np.isnan(v) else repr(float(v))}
                   for u, i, t, kind, v in zip(users, items, times, kinds, values)]
            table.writerows(new)
        for name, rows in (("part.csv", new), ("rest.csv", new[300:])):
            with open(name, "w", newline="") as file:
                table = csv.DictWriter(file, header)
                table.writeheader()
                table.writerows(rows)
        for recipe in ("balanced", "exposure", "nv-perc"):
            for as_of in (None, end - 5_000_000):
                with self.subTest(recipe=recipe, as_of=as_of):
                    wanted = self.miner(recipe, events="longer.csv", as_of=as_of)
                    by_array, by_file, by_both = (self.miner(recipe, as_of=as_of) for _ in range(3))
                    old = by_array.mine(*self.batch)
                    by_array.update_events(users, items, times, kinds, values)
                    by_file.update_events(files="part.csv")
                    by_both.update_events(users[:100], items[:100], times[:100], kinds[:100], values[:100], wait=False)
                    by_both.update_items(self.items)
                    by_both.update_events(users[100:300], items[100:300], times[100:300], kinds[100:300], values[100:300], files="rest.csv")
                    answer = wanted.mine(*self.batch)
                    for miner in (by_array, by_file, by_both):
                        self.assert_same(miner.mine(*self.batch), answer)
                        self.assertEqual(miner.as_of, wanted.as_of)
                    self.assertEqual((by_array.version, by_both.version), (0, 1))
                    if recipe != "nv-perc":  # there few events decide anything
                        self.assert_other(old, answer)
        fixed = self.miner("random", events=None, user_ids=[f"u{i}" for i in range(200)], event_kind="like", allow_inert=True)
        fixed.update_events([3, 3], [17, 18], [5, 6])
        with open("one.csv", "w") as file:
            file.write("user,item,time\nu3,17,5\nu3,18,6\n")
        self.assert_same(fixed.mine(*self.batch), self.miner("random", events="one.csv", user_ids=[f"u{i}" for i in range(200)],
                                                             event_kind="like").mine(*self.batch))
        with self.assertRaisesRegex(quarry.InputError, "of the kind 'like'"):
            fixed.update_events([3], [17], [5], "view")

    # --- rounds -----------------------------------------------------------------------------------
    def test_rounds_are_those_of_a_new_miner(self):
        for recipe in ("balanced", "simans", CURRICULUM):
            with self.subTest(recipe=recipe[:10]):
                miner, results = self.miner(recipe), []
                for number in (0, 2, 9, 0, 30):
                    fresh = self.miner(recipe, round=number)
                    wanted = fresh.mine(*self.batch)
                    results.append(wanted)
                    self.assert_same(miner.mine(*self.batch, round=number), wanted)
                    miner.set_round(number)
                    self.assertEqual((miner.round, miner.k, fresh.k), (number, fresh.k, wanted.k))
                    got = miner.mine(*self.batch)
                    self.assert_same(got, wanted)
                    self.assertEqual(got.round, number)
                    self.assert_same(miner.mine(*self.batch, k=2), fresh.mine(*self.batch, k=2))
                self.assert_other(results[0], results[2])
                miner.update_items(self.later[0])
                self.assert_same(miner.mine(*self.batch), self.miner(recipe, round=30, items=self.later[0]).mine(*self.batch))
        with self.assertRaises(quarry.ConfigError):
            miner.set_round(-1)

    def test_threads_of_several_rounds(self):
        for recipe in ("nv-sample", CURRICULUM):
            miner, failures = self.miner(recipe, threads=1), []
            wanted = {number: self.miner(recipe, round=number).mine(*self.batch) for number in (1, 6)}

            def work(number):
                try:
                    for _ in range(40):
                        self.assert_same(miner.mine(*self.batch, round=number), wanted[number])
                except BaseException as error:  # noqa: B902 (told below)
                    failures.append(error)
            threads = [threading.Thread(target=work, args=(number,)) for number in wanted]
            for thread in threads:
                thread.start()
            for number in (3, 6, 8):
                miner.set_round(number)
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])

    def test_the_recipe_stays_when_its_file_changes(self):
        with open("r.toml", "w") as file:
            file.write(CURRICULUM)
        miner, other = self.miner("r.toml"), self.miner(CURRICULUM, round=5)
        with open("r.toml", "w") as file:
            file.write("nonsense")
        self.assert_same(miner.mine(*self.batch, round=5), other.mine(*self.batch))
        with open("unnamed.toml", "w") as file:
            file.write(CURRICULUM.replace('name = "curriculum"\n', "", 1))
        miner = self.miner("./unnamed.toml")
        miner.update_events([3], [17], [5], "view")
        self.assertIn("recipe 'unnamed'", repr(miner))

    def test_a_miner_is_not_pickled(self):
        for call in (pickle.dumps, copy.deepcopy):
            with self.assertRaisesRegex(TypeError, "Make one in each process"):
                call(self.miner("random"))

    # --- prefetch ---------------------------------------------------------------------------------
    def test_prefetch_keeps_order(self):
        miner = self.miner("nv-sample")
        batches = [{"users": self.batch[0][i:i + 30], "positives": self.batch[1][i:i + 30], "round": i % 3} for i in range(0, 120, 5)]
        for depth in (1, 2, 7, 100):
            seen = 0
            for (batch, got), wanted in zip(miner.prefetch(batches, depth), batches, strict=True):
                self.assertIs(batch, wanted)
                self.assert_same(got, miner.mine(**batch))
                seen += 1
            self.assertEqual(seen, len(batches))
        pairs = [(batch["users"], batch["positives"]) for batch in batches]
        for number, (batch, got) in enumerate(miner.prefetch(pairs, k=2, times=np.full(30, 1_600_000_000))):
            self.assert_same(got, miner.mine(*pairs[number], k=2, times=np.full(30, 1_600_000_000)))
        for number, (batch, got) in enumerate(miner.prefetch(range(9), arguments=lambda step: {**batches[step], "round": 4})):
            self.assertEqual(batch, number)
            self.assert_same(got, miner.mine(**{**batches[number], "round": 4}))
        self.assertEqual(list(miner.prefetch([])), [])
        for depth in (0, 1025, True, 2.0):
            with self.assertRaises(quarry.ConfigError):
                miner.prefetch([], depth)

    def test_prefetch_raises_where_it_is_due(self):
        miner = self.miner("nv-perc")

        def until(bad, batch):
            for step in range(10):
                if step == bad and batch is None:
                    raise ZeroDivisionError
                yield batch if step == bad else self.batch
        for kind, batch in ((ZeroDivisionError, None), (quarry.InputError, (self.batch[0], self.batch[1] + 600)), (quarry.InputError, 7)):
            for depth in (1, 3, 20):
                ahead, done = miner.prefetch(until(4, batch), depth), 0
                with self.assertRaises(kind):
                    for _ in ahead:
                        done += 1
                self.assertEqual(done, 4)
                self.assertEqual(list(ahead), [])  # it has ended
        for _ in miner.prefetch(self.batch for _ in range(1000)):
            break  # what is ahead is dropped
        with miner.prefetch(self.batch for _ in range(1000)) as ahead:
            next(ahead)
        self.assertEqual(list(ahead), [])
        gc.collect()
        time.sleep(0.3)
        self.assertEqual([thread.name for thread in threading.enumerate() if "prefetch" in thread.name], [])

    def test_prefetch_serves_several_threads(self):
        miner = self.miner("nv-perc", threads=1)
        batches = [((np.arange(5) + step) % 200, (np.arange(5) * 7 + step) % 600) for step in range(300)]
        ahead, taken, failures = miner.prefetch(iter(batches), 4), [], []

        def take():
            try:
                for batch, negatives in ahead:
                    taken.append((batch, negatives))
            except BaseException as error:  # noqa: B902 (told below)
                failures.append(error)
        threads = [threading.Thread(target=take) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        place = {id(batch): step for step, batch in enumerate(batches)}
        self.assertEqual(sorted(place[id(batch)] for batch, _ in taken), list(range(300)))
        for batch, negatives in taken:
            self.assert_same(negatives, miner.mine(*batch))

    def test_prefetch_closed_by_another_thread_ends(self):
        miner = self.miner("nv-perc", threads=1)
        users = np.arange(60_000) % 200
        for pause in (0.0, 0.05, 0.2):
            released = []

            class Batches:
                def __iter__(self):
                    while True:
                        yield {"users": users, "keys": np.arange(60_000)}

                def __del__(self):
                    released.append(True)
            source = Batches()
            ahead, ended = miner.prefetch(source, 2), []

            def consume():
                try:
                    for _ in ahead:
                        pass
                    ended.append(None)
                except BaseException as error:  # noqa: B902 (told below)
                    ended.append(error)
            thread = threading.Thread(target=consume)
            thread.start()
            time.sleep(pause)
            begin = time.monotonic()
            ahead.close()
            thread.join(timeout=60)
            self.assertEqual(ended, [None])
            self.assertLess(time.monotonic() - begin, 30)
            del source
            gc.collect()
            self.assertEqual(released, [True])  # workers of a DataLoader end with it, though `ahead` is there

    def test_prefetch_names_what_mine_does_not_take(self):
        miner = self.miner("nv-perc")
        with self.assertRaisesRegex(quarry.InputError, r"a batch: has 'user', which mine\(\) does not take; it takes users, positives, .*arguments="):
            next(miner.prefetch([{"user": [1], "item": [2]}]))
        with self.assertRaisesRegex(quarry.InputError, "has 'rounds'"):
            miner.prefetch([self.batch], rounds=3)

    def test_prefetch_keeps_the_queue_of_a_checkpoint(self):
        """What was mined ahead and not trained on is mined again behind a restart, alike."""
        recipe = SHARED % ('{ kind = "queue", depth = 30 }', '"top"')
        batches = [((np.arange(8) + 9 * step) % 200, (np.arange(8) * 7 + 31 * step) % 600) for step in range(24)]
        straight = [self.miner(recipe)]
        wanted = [straight[0].mine(*batch) for batch in batches]
        miner = self.miner(recipe)
        with miner.prefetch(batches, 5) as ahead:
            for stop, (_, negatives) in enumerate(ahead):
                self.assert_same(negatives, wanted[stop])
                if stop == 10:
                    break
            time.sleep(0.3)
            kept = ahead.queue
        self.assertEqual(len(kept[0]), 31)
        resumed = self.miner(recipe)
        resumed.queue = kept
        for step, (_, negatives) in enumerate(resumed.prefetch(batches[11:], 5), 11):
            self.assert_same(negatives, wanted[step])
        plain = self.miner("nv-perc")
        self.assertEqual(plain.prefetch([]).queue[0].tolist(), [0])

    def test_prefetch_mines_while_the_caller_works(self):
        miner = self.miner("nv-perc", threads=1)
        started = []

        def batches():
            for step in range(6):
                started.append(step)
                yield self.batch
        ahead = miner.prefetch(batches(), 2)
        next(ahead)
        self.assertEqual(started, [0, 1, 2])
        time.sleep(1.0)  # both are mined by now, without anybody asking
        begin = time.monotonic()
        next(ahead), next(ahead)
        together = time.monotonic() - begin
        begin = time.monotonic()
        miner.mine(*self.batch), miner.mine(*self.batch)
        self.assertLess(together, 0.5 * (time.monotonic() - begin) + 0.002)
        ahead.close()

    def test_interrupts(self):
        code = """
import sys, time, numpy as np, quarry
random = np.random.default_rng(1)
what = sys.argv[1]
if what == "update":
    items = random.standard_normal((60000, 64), np.float32)
    miner = quarry.Miner(items[:20000].copy(), "naive", threads=1, allow_inert=True, retriever="IVF1024,Flat")
    miner.update_items(items[20000:40000].copy(), wait=False).result()
    print("ready", flush=True)
    try:
        for number in range(2, 1000):
            miner.update_items(items[:20000].copy(), version=number)
    except KeyboardInterrupt:
        version = miner.version
        time.sleep(4)  # the one that was ended does not come later
        print("interrupted", 0 if miner.version == version else "but changed")
        miner.update_items(items[40000:].copy(), version=5000)
        print("usable" if miner.version == 5000 else "unusable")
elif what == "build":
    items = random.standard_normal((200000, 96), np.float32)
    print("ready", flush=True)
    start = time.monotonic()
    try:
        quarry.Miner(items, "naive", threads=1, allow_inert=True, retriever="HNSW64,Flat")
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - start)
        quarry.Miner(items[:500], "naive", threads=1, allow_inert=True, retriever="HNSW64,Flat")
        print("usable")
else:
    items, queries = (random.standard_normal((n, 128), np.float32) for n in (40000, 3000))
    miner = quarry.Miner(items, "naive", threads=1, allow_inert=True)
    batches = ({"queries": queries, "keys": np.arange(3000) + 3000 * step} for step in range(1000))
    print("ready", flush=True)
    try:
        for _ in miner.prefetch(batches):
            pass
    except KeyboardInterrupt:
        print("interrupted", 0)
        miner.mine(queries=queries[:3], keys=np.arange(3))
        print("usable")
"""
        for what in ("prefetch", "build", "update")[:3 if self.has_faiss() else 1]:
            with self.subTest(what=what):
                child = subprocess.Popen([sys.executable, "-c", code, what], stdout=subprocess.PIPE, text=True)
                self.assertEqual(child.stdout.readline(), "ready\n")
                time.sleep(1.5)
                child.send_signal(signal.SIGINT)
                begin = time.monotonic()
                words = child.communicate(timeout=300)[0].split()
                self.assertEqual((words[0], words[2:], child.returncode), ("interrupted", ["usable"], 0))
                self.assertLess(time.monotonic() - begin, 90)  # building it whole takes several minutes

    # --- candidates of the batch ------------------------------------------------------------------
    def brute(self, row, query, pool, k):
        """The k best of the pool that are no positive of the user or row, by float64."""
        user, own = row
        allowed = [item for item in pool if item not in self.positives[user] and item not in own]
        scores = {item: float(query.astype(np.float64) @ self.items[item].astype(np.float64)) for item in allowed}
        return sorted(allowed, key=lambda item: (-scores[item], item))[:k]

    def test_hard_in_batch(self):
        miner = self.miner(SHARED % ('"batch"', '"top"'))
        random = np.random.default_rng(4)
        users = random.integers(0, 200, 90)
        lists = [random.integers(0, 600, random.integers(0, 4)).tolist() for _ in users]
        got = miner.mine(users, lists)
        pool = sorted({item for row in lists for item in row})
        for r, row in enumerate(zip(users, lists)):
            wanted = self.brute(row, self.users[users[r]], pool, 4)
            self.assertEqual(got.item[r][:got.count[r]].tolist(), wanted)
            self.assertEqual(got.raw_rank[r, 0], 1 + sum(  # of all candidates, positives too
                float(self.users[users[r]].astype(np.float64) @ self.items[i].astype(np.float64)) >
                float(self.users[users[r]].astype(np.float64) @ self.items[wanted[0]].astype(np.float64)) for i in pool))
        self.assertTrue(np.isnan(got.logq).all())
        order = random.permutation(len(users))  # rows come out alike wherever they stand
        mixed = miner.mine(users[order], [lists[r] for r in order])
        for name in COLUMNS:
            np.testing.assert_array_equal(getattr(mixed, name), getattr(got, name)[order], name)
        self.assert_other(miner.mine(users[:45], lists[:45]), quarry.Negatives(**{name: getattr(got, name)[:45] for name in COLUMNS}))
        alone = miner.mine([3], [[5]])
        self.assertEqual((alone.count.tolist(), {quarry.FILL_CODES[code] for code in alone.fill[0]}), ([0], {"exhausted"}))
        self.assertEqual(miner.mine([3, 4]).count.tolist(), [0, 0])
        queries = random.standard_normal((90, 24), np.float32)
        by_query = miner.mine(users, lists, queries=queries)
        for r, row in enumerate(zip(users, lists)):
            self.assertEqual(by_query.item[r][:by_query.count[r]].tolist(), self.brute(row, queries[r], pool, 4))

    def test_batches_of_many_tiles(self):
        """A pool is that of the whole batch, however many tiles it takes, and for any number of threads."""
        random = np.random.default_rng(6)
        users, positives = random.integers(0, 200, 9000), random.integers(0, 600, 9000)
        one, two = (self.miner(SHARED % ('"batch"', '"top"'), threads=threads).mine(users, positives) for threads in (1, 2))
        self.assert_same(one, two)
        pool = sorted(set(positives.tolist()))
        for r in list(range(0, 9000, 211)) + [8999]:
            self.assertEqual(one.item[r].tolist(), self.brute((users[r], [positives[r]]), self.users[users[r]], pool, 4))

    def test_sampled_in_batch(self):
        random = np.random.default_rng(7)
        users, positives = np.zeros(3000, np.int64), np.arange(3000) % 60
        keys = np.arange(3000)
        uniform = self.miner(SHARED % ('"batch"', '"sample"')).mine(users, positives, keys=keys)
        allowed = [[item for item in range(60) if item not in self.positives[0] and item != own] for own in positives]
        counts, expected = np.zeros(60), np.zeros(60)
        for r in range(3000):
            picks = uniform.item[r].tolist()
            self.assertTrue(len(set(picks)) == 4 and set(picks) <= set(allowed[r]))
            np.testing.assert_allclose(uniform.logq[r], np.log(4 / len(allowed[r])), rtol=1e-5)
            counts[picks] += 1
            expected[allowed[r]] += 4 / len(allowed[r])
        there = expected > 0
        chi = float(((counts - expected)[there] ** 2 / expected[there]).sum())
        self.assertLess(chi, there.sum() + 6 * np.sqrt(2 * there.sum()))  # without replacement it is less
        self.assertGreater(chi, there.sum() / 3)
        weighted = self.miner(SHARED % ('"batch"', '{ kind = "sample", weight = { kind = "softmax", tau = 0.5 } }')).mine(
            users[:60], positives[:60], keys=keys[:60])
        scores = self.items[:60].astype(np.float64) @ self.users[0].astype(np.float64) / 0.5
        for r in range(60):
            total = np.log(np.exp(scores[allowed[r]]).sum())
            np.testing.assert_allclose(weighted.logq[r], np.log(4) + scores[weighted.item[r]] - total, atol=2e-4)
        self.assert_other(uniform, self.miner(SHARED % ('"batch"', '"sample"'), seed=6).mine(users, positives, keys=keys))
        del random

    def test_queue(self):
        recipe = SHARED % ('{ kind = "queue", depth = 25 }', '"top"')
        miner, queue = self.miner(recipe), []
        random = np.random.default_rng(9)
        for step, size in enumerate((10, 10, 3, 40, 1, 7)):
            users = random.integers(0, 200, size)
            lists = [random.integers(0, 600, random.integers(0, 3)).tolist() for _ in users]
            order = random.permutation(size)
            got = miner.mine(users[order], [lists[r] for r in order])
            pool = sorted({item for row in queue[-25:] for item in row})
            for place, r in enumerate(order):
                self.assertEqual(got.item[place][:got.count[place]].tolist(), self.brute((users[r], lists[r]), self.users[users[r]], pool, 4))
            keys = got.key[np.argsort(order)]
            queue += [sorted(lists[r]) for r in sorted(range(size), key=lambda r: (int(keys[r]), sorted(lists[r])))]
            with self.assertRaises(quarry.InputError):  # what was not mined is not in the queue
                miner.mine([0], [600])
            offsets, items = miner.queue
            held = [items[a:b].tolist() for a, b in zip(offsets[:-1], offsets[1:])]
            self.assertEqual(held, queue[-25:], step)
        resumed = self.miner(recipe)
        resumed.queue = miner.queue
        self.assert_same(resumed.mine(*self.batch), miner.mine(*self.batch))
        miner.queue = None
        self.assertEqual(miner.mine([1], [2]).count.tolist(), [0])
        for bad in ((np.array([0, 1]), np.array([600])), (np.array([0, 2]), np.array([5])), 7):
            with self.assertRaises(quarry.InputError):
                miner.queue = bad
        both = self.miner(recipe.replace("share = 1", "share = 0.5") + '[[branch]]\nname = "batch"\nshare = 0.5\nsource = "batch"\n')
        both.queue = (np.array([0, 3]), np.array([10, 20, 30]))
        mixed = both.mine([5, 6], [[40], [50]])
        self.assertEqual(both.branches, ["shared", "batch"])
        self.assertTrue(set(mixed.item[mixed.branch == 0].tolist()) <= {10, 20, 30})
        self.assertTrue(set(mixed.item[mixed.branch == 1].tolist()) <= {40, 50})
        self.assertGreater(int(mixed.count.sum()), 4)

    def test_synthetic_negatives(self):
        """Against Philox4x32-10 as Salmon et al. define it, in Python's numbers."""
        def philox(key, counter):
            for _ in range(10):
                high = [0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]]
                counter = [(high[1] >> 32) ^ counter[1] ^ key[0], high[1] % 2**32, (high[0] >> 32) ^ counter[3] ^ key[1], high[0] % 2**32]
                key = [(key[0] + 0x9E3779B9) % 2**32, (key[1] + 0xBB67AE85) % 2**32]
            return counter
        self.assertEqual(philox([0, 0], [0, 0, 0, 0]), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])  # the paper's known answer
        for items in (self.items, self.items.astype(np.float16)):
            miner = self.miner("nv-sample", items=items, round=3)
            lists = [[(7 * r + j) % 600 for j in range(r % 4)] for r in range(60)]
            mined = miner.mine(np.arange(60), lists, k=5)
            got = miner.synthesize(mined, lists, vectors=True)
            table, seen = items.astype(np.float64), []
            for r, row in enumerate(lists):
                for slot, item in enumerate(mined.item[r].tolist()):
                    if item < 0 or not row:
                        self.assertEqual(int(got.positive[r, slot]), -1)
                        self.assertTrue(np.isnan(got.coefficient[r, slot]) and np.isnan(got.vector[r, slot]).all())
                        continue
                    key = int(mined.key[r])
                    z = philox([5, 3], [key % 2**32, key >> 32, item, 240])
                    positive, share = row[((z[2] << 32 | z[3]) * len(row)) >> 64], (z[0] >> 8) / 2**24
                    self.assertEqual((int(got.positive[r, slot]), float(got.coefficient[r, slot])), (positive, share))
                    np.testing.assert_allclose(got.vector[r, slot], share * table[positive] + (1 - share) * table[item], rtol=1e-5, atol=1e-5)
                    seen.append(share)
            self.assertGreater(len(seen), 150)
            self.assertLess(abs(np.mean(seen) - 0.5), 5 * np.sqrt(1 / 12 / len(seen)))
        part = miner.synthesize(miner.mine(np.arange(60)[20:30], lists[20:30], k=5), lists[20:30])
        np.testing.assert_array_equal(part.coefficient, got.coefficient[20:30])
        self.assertIsNone(part.vector)
        miner.update_items(self.later[0].astype(np.float16))
        miner.synthesize(mined, lists)
        with self.assertRaises(quarry.StaleError):
            miner.synthesize(mined, lists, vectors=True)
        with self.assertRaisesRegex(quarry.InputError, "is of 59 rows"):
            miner.synthesize(mined, lists[:59])
        with self.assertRaises(quarry.ConfigError):
            miner.synthesize(quarry.Negatives.concatenate([mined, miner.mine(np.arange(60), lists, k=5, round=9)]), lists * 2)

    def test_forked_processes_are_told(self):
        code = """
import os, numpy as np, quarry
items = np.random.default_rng(1).standard_normal((500, 8), np.float32)
miner = quarry.Miner(items, "naive", allow_inert=True)
miner.update_items(items + 1, wait=False).result()
batch = {"queries": items[:5], "keys": np.arange(5)}
ahead = miner.prefetch([batch] * 9)
next(ahead)
if os.fork() == 0:
    told = 0
    for call in (lambda: miner.update_items(items), lambda: miner.update_items(items, wait=False), lambda: next(ahead), lambda: miner.set_round(2),
                 lambda: next(miner.prefetch([batch]))):
        try:
            call()
        except quarry.ForkError:
            told += 1
    os._exit(told)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.stdout, "5\n", done.stderr)

    def test_runs_over_tables_have_no_batches(self):
        for kind in ('"batch"', '{ kind = "queue", depth = 9 }'):
            with open("shared.toml", "w") as file:
                file.write(SHARED % (kind, '"top"'))
            for verb in ("mine", "plan"):
                done = run(verb, "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe",
                           "shared.toml", *(["--out", "never"] if verb == "mine" else []), ok=(2,))
                self.assertIn("which a run over a table does not have", done.stderr)
        for source, words in (('{ kind = "queue" }', "depth"), ('{ kind = "queue", depth = 0 }', "depth"),
                              ('{ kind = "batch", depth = 3 }', "depth"), ('{ kind = "batch", pool = 2 }', "pool = 2")):
            with self.assertRaisesRegex(quarry.ConfigError, words):
                self.miner(SHARED % (source, '"top"'))

    def test_threads_wait_asleep(self):
        code = "import os, quarry; print(os.environ.get('OMP_WAIT_POLICY'), 'quarry.Miner' in repr(quarry.Miner))"
        for given, policy in ((None, "PASSIVE"), ("active", "ACTIVE")):
            environment = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
            environment.update({"OMP_DISPLAY_ENV": "true"} if given is None else {"OMP_DISPLAY_ENV": "true", "OMP_WAIT_POLICY": given})
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
            self.assertEqual(done.stdout.split()[0], str(given))
            self.assertIn(f"OMP_WAIT_POLICY = '{policy}'", done.stderr.upper())

    # --- words ------------------------------------------------------------------------------------
    def test_messages_name_arguments(self):
        with open("odd.csv", "w") as file:
            file.write("who,item,time,kind\n1,2,3,like\n")
        recipe = SHARED % ('"topk"', '"top"')
        for words, call in ((r"event_columns=\{'user': COLUMN\}", lambda: self.miner(events="odd.csv")),
                            (r"item_lists=\{'shown': FILE\}", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "allow_list", list = "shown" }]'))),
                            (r"features=\{'text': FILE\}", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "similarity", max = 0.5, table = "text" }]'))),
                            (r"catalogue= a table", lambda: self.miner(recipe.replace(
                                '["positives"]', '["positives", { kind = "group", column = "nowhere" }]')))):
            with self.subTest(words=words):
                with self.assertRaisesRegex(quarry.Error, words) as caught:
                    call()
                self.assertNotIn("--", str(caught.exception))
        said = quarry._errors.in_words_of_python
        self.assertEqual(said("--retriever: \"X\" is none; --out stays, --as-of too"), "retriever: \"X\" is none; --out stays, as_of= too")

    def test_what_things_say_of_themselves(self):
        miner = self.miner("nv-perc", seed=77)
        self.assertRegex(repr(miner), r"<quarry.Miner of 600 items of 24 numbers and 200 users, recipe 'nv-perc', k 4, .* seed 77, round 0>")
        self.assertRegex(repr(miner.mine(*self.batch)), r"<quarry.Negatives of 150 rows, k 4, .* filled, version 0, round 0>")
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "nv-perc", "--out", "set_r")
        whole = quarry.open("set_r")
        self.assertRegex(repr(whole), rf"<quarry.NegativeSet '.*set_r': {len(whole)} rows, k 4, 1 shards, content [0-9a-f]{{32}}>")
        self.assertRegex(repr(whole[3:9]), r"<quarry.Rows: 6 rows of row_key, .*")

    def test_without_torch(self):
        done = subprocess.run([sys.executable, "-c", "import sys; sys.modules['torch'] = None\ntry:\n    import quarry.torch\n"
                               "except ImportError as error:\n    print(error)"], capture_output=True, text=True)
        self.assertIn("pip install torch", done.stdout, done.stderr)

    # --- torch ------------------------------------------------------------------------------------
    @unittest.skipIf(torch is None, "no torch")
    def test_whole_batches_of_a_set(self):
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--catalogue", "data/catalogue.csv",
            "--recipe", "balanced", "--rows-per-shard", 60, "--out", "set_t")
        for n in (1, 3, 8, None):
            data = quarry.torch.NegativeDataset("set_t", n=n, epoch_seed=4)
            data.set_epoch(2)
            rows = np.random.default_rng(1).permutation(len(data))[:300].tolist() + [-1, 0]
            singles = [data[row] for row in rows]
            wanted = torch.utils.data.default_collate(singles)
            for got in (torch.utils.data.default_collate(data.__getitems__(rows)), data.batch(rows)):
                self.assertEqual(list(got), list(wanted))
                for name, column in wanted.items():
                    self.assertEqual(got[name].dtype, column.dtype)
                    np.testing.assert_array_equal(got[name].numpy(), column.numpy(), name)
            for name, column in data.__getitems__(rows)[5].items():
                np.testing.assert_array_equal(column.numpy(), singles[5][name].numpy())
        data, whole = quarry.torch.NegativeDataset("set_t", n=3, epoch_seed=4), quarry.open("set_t")
        data.set_epoch(2)

        def mix(x):
            x = (x + 0x9E3779B97F4A7C15) % 2**64
            x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) % 2**64
            x = ((x ^ x >> 27) * 0x94D049BB133111EB) % 2**64
            return x ^ x >> 31
        for row, got in zip(rows, data.__getitems__(rows)):  # what the choice of earlier releases was
            one = whole[row]
            state = mix(mix(mix(0 ^ 4) ^ 2) ^ int(one["row_key"]))
            slots = list(range(int(one["count"])))
            if len(slots) > 3:
                slots = sorted(sorted(slots, key=lambda slot: mix(state ^ mix(slot + 1)))[:3])
            self.assertEqual(got["item"].tolist(), one["item"][slots].tolist() + [-1] * (3 - len(slots)))
            self.assertEqual(int(got["count"]), len(slots))
            positives = one["positives"].tolist()
            self.assertEqual(int(got["positive"]), positives[mix(state) % len(positives)] if positives else -1)
        with self.assertRaises(IndexError):
            data[len(data)]
        with self.assertRaises(IndexError):
            data.__getitems__([0, len(data)])
        for wrong in (np.ones(len(data), bool), [True, False], [1.5, 2.0], np.array([[1], [2]])):  # never rows 1 and 0 in their place
            with self.assertRaises(quarry.InputError):
                data.batch(wrong)
        with self.assertRaises(TypeError):
            data[1.5]
        with self.assertRaisesRegex(quarry.InputError, "users: is bool"):
            self.miner("nv-perc").mine([True, False])
        self.assertEqual(data.batch(torch.tensor([3, 1]))["row"].tolist(), [3, 1])

    @unittest.skipIf(torch is None, "no torch")
    def test_losses(self):
        """Against the formulas in float64, with NumPy."""
        random = np.random.default_rng(2)
        rows, n = 40, 6
        positive, negative, logq = random.normal(size=rows), random.normal(size=(rows, n)), np.log(random.random((rows, n)))
        count, own = random.integers(0, n + 1, rows), np.log(random.random(rows))
        logq[3, 1], logq[5, 0] = np.nan, -np.inf
        for tau in (1.0, 0.2):
            for corrected in (False, True):
                wanted = []
                for r in range(rows):
                    used = [j for j in range(count[r]) if not (corrected and np.isneginf(logq[r, j]))]
                    shift = [logq[r, j] if corrected and not np.isnan(logq[r, j]) else 0.0 for j in used]
                    s = positive[r] / tau - (own[r] if corrected else 0.0)
                    wanted.append(-np.log(np.exp(s) / (np.exp(s) + sum(np.exp(negative[r, j] / tau - q) for j, q in zip(used, shift)))))
                given = np.where(np.arange(n) < count[:, None], negative, np.nan)  # as in a set: NaN in empty slots
                a, b = torch.tensor(positive, requires_grad=True), torch.tensor(given, requires_grad=True)
                more = {"logq": torch.tensor(np.where(np.arange(n) < count[:, None], logq, np.nan)), "positive_logq": torch.tensor(own)}
                call = {"count": torch.tensor(count), "temperature": tau, **(more if corrected else {})}
                each = quarry.torch.sampled_softmax_loss(a, b, reduction="none", **call)
                np.testing.assert_allclose(each.detach().numpy(), wanted, rtol=1e-10, atol=1e-12)
                total = quarry.torch.sampled_softmax_loss(a, b, **call)
                np.testing.assert_allclose(total.item(), np.mean(wanted), rtol=1e-10)
                total.backward()
                self.assertTrue(np.isfinite(a.grad.numpy()).all() and np.isfinite(b.grad.numpy()).all())
                single = quarry.torch.sampled_softmax_loss(torch.tensor(positive, dtype=torch.float32), torch.tensor(given, dtype=torch.float32),
                                                           reduction="sum", **call)
                np.testing.assert_allclose(float(single), np.sum(wanted), rtol=1e-4)
        mined = self.miner("nv-sample").mine(*self.batch)  # as its columns are
        user, score = torch.zeros(150), torch.from_numpy(mined.score).nan_to_num()
        wanted = np.log1p((np.exp(score.numpy().astype(np.float64) - np.nan_to_num(mined.logq)) * (mined.item >= 0)).sum(1))
        for count in (mined.count, torch.from_numpy(mined.count)):
            loss = quarry.torch.sampled_softmax_loss(user, score, logq=mined.logq, count=count, reduction="none")
            np.testing.assert_allclose(loss.numpy(), wanted, rtol=1e-5)
        for bad in ({"logq": torch.zeros(2, 2)}, {"count": torch.zeros(3)}, {"temperature": 0}, {"temperature": torch.ones(2)}, {"reduction": "max"}, {"positive_logq": torch.zeros(1)}):
            with self.assertRaises(quarry.InputError):
                quarry.torch.sampled_softmax_loss(a, b, **bad)
        p = random.random((3, 4)) * 0.02
        np.testing.assert_allclose(quarry.in_batch_logq(p, 50), np.log(1 - (1 - p) ** 50), rtol=1e-9)
        np.testing.assert_allclose(quarry.in_batch_logq(1e-12, 1000), np.log(1e-9), rtol=1e-9)  # where 1 - (1 - p)^B loses its digits
        np.testing.assert_allclose(quarry.mixed_logq(p, 30, 70, 200), np.log(0.3 * p + 0.7 / 200), rtol=1e-12)
        self.assertEqual((quarry.in_batch_logq([0.0, 1.0], 3).tolist(), quarry.mixed_logq(0.0, 1, 0, 5).tolist()), ([-np.inf, 0.0], -np.inf))
        for bad in (lambda: quarry.in_batch_logq([0.5, 1.5], 3), lambda: quarry.in_batch_logq(0.5, 0), lambda: quarry.mixed_logq(0.5, 0, 0, 9),
                    lambda: quarry.in_batch_logq(np.nan, 2), lambda: quarry.in_batch_logq("a", 2)):
            with self.assertRaises(quarry.InputError):
                bad()

    @unittest.skipIf(torch is None, "no torch")
    def test_inclusion_weights_estimate_without_bias(self):
        """Sums over what was picked, weighted, are on average the sum over all candidates."""
        recipe = SHARED % ('"batch"', '{ kind = "sample", weight = { kind = "softmax", tau = 2.0 } }')
        items = np.arange(40, 80)
        allowed = np.array([item for item in items if item not in self.positives[0]])
        rows = 4000
        positives = np.where(np.arange(rows) < 40, items[np.arange(rows) % 40], -1)  # rows of the other kind leave nothing out
        got = self.miner(recipe).mine(np.zeros(rows, np.int64), positives, keys=np.arange(rows))
        item, kappa = got.item[40:], got.kappa[40:, 0]
        phi = self.items @ self.users[0] / 2.0
        weight = quarry.torch.inclusion_weights(torch.tensor(phi[item], dtype=torch.float64), torch.tensor(kappa)).numpy()
        q = 1 - np.exp(-np.exp(phi[item].astype(np.float64) - kappa[:, None].astype(np.float64)))
        np.testing.assert_allclose(weight, 1 / q, rtol=1e-6)
        value = phi + np.cos(np.arange(600))
        estimates = (value[item] * weight).sum(1)
        error = estimates.std() / np.sqrt(len(estimates))
        self.assertLess(abs(estimates.mean() - value[allowed].sum()), 5 * error)
        alike = (value[item] * len(allowed) / 4).sum(1)
        self.assertGreater(abs(alike.mean() - value[allowed].sum()), 5 * alike.std() / np.sqrt(len(alike)))  # with equal weights it is not
        self.assertEqual(quarry.torch.inclusion_weights(torch.zeros(1, 3), torch.tensor([np.nan])).tolist(), [[1.0, 1.0, 1.0]])
        logits = torch.zeros(2, 3, requires_grad=True)
        quarry.torch.inclusion_weights(logits, torch.tensor([np.nan, 0.5])).sum().backward()
        self.assertTrue(torch.isfinite(logits.grad).all() and (logits.grad[0] == 0).all() and (logits.grad[1] < 0).all())
        with self.assertRaises(quarry.InputError):
            quarry.torch.inclusion_weights(torch.zeros(2, 3), torch.zeros(3))

    @unittest.skipIf(torch is None, "no torch")
    def test_a_collate_function_that_mines(self):
        miner = self.miner("nv-sample")
        rows = [{"u": int(u), "i": int(i), "label": float(i)} for u, i in zip(*self.batch)]
        loader = torch.utils.data.DataLoader(rows, batch_size=40, collate_fn=quarry.torch.MiningCollate(miner, users="u", positives="i", k=3))
        begin = 0
        for batch in loader:
            wanted = miner.mine(self.batch[0][begin:begin + 40], self.batch[1][begin:begin + 40], k=3)
            begin += len(wanted)
            self.assertEqual(batch["label"].tolist(), [row["label"] for row in rows[begin - len(wanted):begin]])
            for name in ("item", "score", "logq", "branch", "count", "kappa"):
                np.testing.assert_array_equal(batch[f"negative_{name}"].numpy(), getattr(wanted, name))
        self.assertEqual(begin, 150)
        for words, more in (("no column 'user'", {}), ("already", {"users": "u", "positives": "i", "prefix": "", "collate":
                                                                    lambda rows: {"u": torch.tensor([0]), "i": torch.tensor([1]), "item": 1}})):
            with self.assertRaisesRegex(quarry.InputError, words):
                quarry.torch.MiningCollate(miner, **more)(rows)
        other = quarry.torch.MiningCollate(miner, users="u", positives="i", collate=lambda rows: collections.UserDict(
            torch.utils.data.default_collate(rows)))(rows[:40])  # as tokenizers give
        np.testing.assert_array_equal(other["negative_item"].numpy(), miner.mine(self.batch[0][:40], self.batch[1][:40]).item)
        forked = torch.utils.data.DataLoader(rows, batch_size=9, num_workers=1, collate_fn=quarry.torch.MiningCollate(miner, users="u", positives="i"))
        with self.assertRaisesRegex(quarry.InputError, "num_workers=0"):
            next(iter(forked))

    @unittest.skipIf(torch is None, "no torch")
    def test_the_loop_of_the_guide(self):
        with open(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "python.md"), encoding="utf-8") as file:
            code = file.read().split("\n## In a training loop\n")[1].split("```python\n")[1].split("```")[0]

        class Model:
            items, users = (torch.nn.Embedding.from_pretrained(torch.from_numpy(table)) for table in (self.items, self.users))
        miner, seen = self.miner("nv-sample"), []
        batches = [{"user": self.batch[0], "item": (self.batch[1] + step) % 600} for step in range(5)]
        exec(code, {"miner": miner, "batches": batches, "epoch": 4, "model": Model, "torch": torch,
                    "train": lambda batch, items: seen.append((batch, items))})
        self.assertEqual([batch for batch, _ in seen], batches)
        for batch, items in seen:
            np.testing.assert_array_equal(items.numpy(), miner.mine(batch["user"], batch["item"], round=4).item)
        self.assertEqual(miner.update_items(self.items, version=9), 9)  # behind that of the loop

    # --- a long run -------------------------------------------------------------------------------
    def test_ten_thousand_batches_leak_nothing(self):
        miner, sizes = self.miner(SHARED % ('{ kind = "queue", depth = 300 }', '"top"')), []
        batches = ((self.batch[0][:64], (self.batch[1][:64] + step) % 600) for step in range(10_000))
        for step, _ in enumerate(miner.prefetch(batches)):
            if step % 100 == 0:
                miner.update_items(self.later[step // 100 % 6], wait=False)
            if step in (3000, 9999):
                gc.collect()
                sizes.append(resident())
        self.assertLess(sizes[1] - sizes[0], 4 << 20, sizes)


if __name__ == "__main__":
    warnings.simplefilter("error", quarry.StaleWarning)
    program = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") and os.path.exists(sys.argv[1]) else quarry.program()
    unittest.main(verbosity=2)
