#!/usr/bin/env python3
"""A Miner inside a training loop, whose items, events and round change while it mines: each batch is that of a fresh Miner.

  tests/python_updates_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import copy
import csv
import gc
import os
import pickle
import sys
import threading
import time

from python_package import main, or_skip, resident

with or_skip():
    import numpy as np

    import quarry

from python_world import BY_STEP, CURRICULUM, TrainingWorld


class UpdatesTest(TrainingWorld):
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
                            (r"values: entry 0 is -1e\+300; -3.4e38 to", lambda: miner.update_events([1], [2], [3], "like", [-1e300])),
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

    def test_a_curriculum_by_step(self):
        """Rounds share tables and, mostly, the index; each is that of a Miner made with it, mined ahead too."""
        tables = [("ip", self.items, {}), ("cosine", self.items.astype(np.float16), {}), ("l2", self.items, {"retriever": "exact-int8"})]
        if self.has_faiss():
            tables += [("ip", self.items, {"retriever": "Flat"}), ("ip", self.items, {"retriever": "HNSW16,Flat"}),
                       ("ip", self.items, {"retriever": "HNSW16,Flat", "overrides": ["branch.hard.source.pool=30"]})]  # as deep in every round
        for metric, items, more in tables:
            with self.subTest(metric=metric, more=more):
                recipe, seen = BY_STEP % metric, []
                miner = self.miner(recipe, items=items, **more)
                steps = [*range(0, 24, 3), 3, 21, 0]
                users, positives = self.batch
                with miner.prefetch(steps, arguments=lambda step: {"users": users, "positives": positives, "round": step}) as ahead:
                    for step, got in ahead:
                        self.assert_same(got, self.miner(recipe, items=items, round=step, **more).mine(*self.batch))
                        seen.append(got)
                self.assert_other(seen[0], seen[3])
                miner.update_items(self.later[0].astype(items.dtype))
                for step in (7, 8):
                    miner.set_round(step)
                    self.assert_same(miner.mine(*self.batch), self.miner(recipe, items=self.later[0].astype(items.dtype), round=step, **more).mine(*self.batch))

    def test_threads_of_several_rounds(self):
        for recipe in ("nv-sample", CURRICULUM, BY_STEP % "cosine"):
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


if __name__ == "__main__":
    main()
