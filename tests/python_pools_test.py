#!/usr/bin/env python3
"""Negatives of the batch, of a queue and made of two items, by brute force in float64 and by Philox written again.

  tests/python_pools_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import json

from python_package import main, or_skip, run

with or_skip():
    import numpy as np

    import quarry

from python_world import COLUMNS, SHARED, TrainingWorld


class PoolsTest(TrainingWorld):
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

    # --- the named recipes of batches -------------------------------------------------------------
    def positives_by_the_named_rules(self):
        """Of each user, by the rules that named recipes share: purchase, like, rating>=4, click & dwell>=30."""
        kinds = {}
        for event in self.log:
            kinds.setdefault((int(event["user"]), int(event["item"])), []).append((event["kind"], float(event["value"] or "nan")))
        found = [set() for _ in self.users]
        for (user, item), events in kinds.items():
            names = {kind for kind, _ in events}
            if names & {"purchase", "like"} or any(kind == "rating" and value >= 4 for kind, value in events) or \
                    "click" in names and any(kind == "dwell" and value >= 30 for kind, value in events):
                found[user].add(item)
        return found

    def rows(self, count, seed):
        random = np.random.default_rng(seed)
        return random.integers(0, 200, count), [random.integers(0, 600, random.integers(1, 4)).tolist() for _ in range(count)]

    def allowed(self, positives, users, lists, row):
        """All items that the row may have, and those of them that are in the batch."""
        free = set(range(600)) - positives[users[row]] - set(lists[row])
        return free, free & {item for one in lists for item in one}

    def test_mixed_negative_sampling(self):
        positives = self.positives_by_the_named_rules()
        users, lists = self.rows(40, 11)
        sizes = ["k=132", "branch.in-batch.count=100", "branch.uniform.count=32"]
        miner = self.miner("mns", overrides=sizes)
        self.assertEqual(miner.branches, ["in-batch", "uniform"])
        got = miner.mine(users, lists)
        for r in range(len(users)):
            free, shared = self.allowed(positives, users, lists, r)
            own, drawn = (got.item[r][got.branch[r] == branch].tolist() for branch in (0, 1))
            self.assertEqual((sorted(own), len(drawn), len(set(drawn))), (sorted(shared), 32, 32))  # the whole batch, and no more for a small one
            self.assertTrue(set(drawn) <= free - shared)
            self.assertEqual(int(got.count[r]), len(shared) + 32)
        few = self.miner("mns", overrides=["k=17", "branch.in-batch.count=10", "branch.uniform.count=7"]).mine(users, lists)
        self.assertEqual((few.branch == 0).sum(axis=1).tolist(), [10] * 40)
        # Uniform draws are uniform: one user, whose rows differ by their keys alone.
        many = miner.mine([3] * 2000, [[r % 30] for r in range(2000)], keys=np.arange(2000))
        expected, counts = np.zeros(600), np.zeros(600)
        for r in range(2000):
            free = set(range(600)) - positives[3] - {r % 30}
            left = sorted(free - set(range(30)))
            expected[left] += 32 / len(left)
            counts[many.item[r][many.branch[r] == 1]] += 1
        there = expected > 0
        self.assertEqual(counts[~there].sum(), 0)
        chi = float(((counts - expected)[there] ** 2 / expected[there]).sum())  # without replacement it is less
        self.assertLess(chi, there.sum() + 6 * np.sqrt(2 * there.sum()))
        self.assertGreater(chi, there.sum() / 2)
        # As it is: more slots than the catalogue has items, which all come.
        whole = self.miner("mns").mine(users[:3], lists[:3])
        self.assertEqual(whole.k, 9216)
        for r in range(3):
            self.assertEqual(sorted(whole.item[r][:whole.count[r]].tolist()), sorted(self.allowed(positives, users, lists, r)[0]))

    def test_log_probabilities_of_the_mixture(self):
        positives = self.positives_by_the_named_rules()
        counts = np.array([sum(item in one for one in positives) for item in range(600)])
        users, lists = self.rows(40, 12)
        miner = self.miner("mns", overrides=["k=132", "branch.in-batch.count=100", "branch.uniform.count=32"])
        np.testing.assert_array_equal(miner.popularity, counts)
        got = miner.mine(users, lists)

        def wanted(item, batch=round(sum(map(len, lists)) * 39 / 40), uniform=32):
            return np.log((batch * counts[item] / counts.sum() + uniform / 600) / (batch + uniform))

        found = miner.mixed_logq(got)
        for r in range(40):
            for slot, item in enumerate(got.item[r].tolist()):
                if item < 0:
                    self.assertTrue(np.isnan(found[r, slot]))
                else:
                    self.assertAlmostEqual(found[r, slot], wanted(item), places=12)
        own = np.array([row[0] for row in lists])
        np.testing.assert_allclose(miner.mixed_logq(got, own), wanted(own), rtol=1e-12)
        np.testing.assert_allclose(miner.mixed_logq(got, own[:, None], batch=90), wanted(own, 90)[:, None], rtol=1e-12)
        # A branch of one source alone is its own mixture.
        shared = self.miner(SHARED % ('"batch"', '"top"'))
        share = shared.popularity[own] / shared.popularity.sum()
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(shared.mixed_logq(shared.mine(users, lists), own), np.log(share), rtol=1e-12)
        random = self.miner("random")
        np.testing.assert_allclose(random.mixed_logq(random.mine(users, lists)), -np.log(600), rtol=1e-12)
        hard = self.miner("naive")
        for call, words, kind in ((lambda: hard.mixed_logq(hard.mine(users)), "no branch.*mns", quarry.ConfigError),
                                  (lambda: miner.mixed_logq(got, own[:9]), "shape", quarry.InputError),
                                  (lambda: miner.mixed_logq(got, own * 0.5), "whole numbers", quarry.InputError),
                                  (lambda: miner.mixed_logq(got, own + 600), "600 items", quarry.InputError),
                                  (lambda: miner.mixed_logq(got, batch=0.5), "batch: 0.5", quarry.InputError)):
            with self.assertRaisesRegex(kind, words):
                call()
        silent = quarry.Miner(self.items, "mns", users=self.users, allow_inert=True,
                              overrides=["k=20", "branch.in-batch.count=10", "branch.uniform.count=10"])
        with self.assertRaisesRegex(quarry.ConfigError, "no event is positive"):
            silent.mixed_logq(silent.mine(users, lists))

    def test_a_branch_smaller_than_the_batch(self):
        """Draws counted: 20 slots of 300 positives and 40 uniform ones, so popular items are drawn as often as 20 of a row's slots make them."""
        random = np.random.default_rng(8)
        weight = np.where(np.arange(5000) < 500, 8, 1)  # rare enough that few are in a batch twice
        bought = np.repeat(np.arange(5000), weight)
        users = np.concatenate([np.arange(len(bought)), [len(bought)]])  # the last has no event
        miner = quarry.Miner(random.standard_normal((5000, 8), np.float32), "mns", users=random.standard_normal((len(users), 8), np.float32),
                             events={"user": users[:-1], "item": bought, "time": np.full(len(bought), 10**9)}, event_kind="purchase",
                             overrides=["k=60", "branch.in-batch.count=20", "branch.uniform.count=40"])
        np.testing.assert_array_equal(miner.popularity, weight)
        drawn = np.zeros(5000)
        for _ in range(20):
            got = miner.mine(np.full(300, len(bought)), random.choice(bought, 300), keys=random.integers(0, 2**62, 300))
            self.assertEqual(got.count.tolist(), [60] * 300)
            drawn += np.bincount(got.item.reshape(-1), minlength=5000)
        counted = np.log(drawn[:500].mean() / drawn[500:].mean())
        told = np.diff(miner.mixed_logq(got, np.tile([4000, 3], (300, 1))), axis=1)[0, 0]
        self.assertLess(abs(told - counted), 0.12, (told, counted))  # by 300 positives it would be a whole 1 more
        each = np.exp(miner.mixed_logq(got, np.arange(5000)[None].repeat(300, 0))[0])
        self.assertAlmostEqual(each.sum(), 1, places=9)
        self.assertLess(abs(60 * each[:500].mean() / (drawn[:500].mean() / 6000) - 1), 0.1)

    def test_positives_of_the_other_rows(self):
        miner = self.miner("mns", overrides=["k=1032", "branch.in-batch.count=1000", "branch.uniform.count=32"])
        share = miner.popularity / miner.popularity.sum()
        users, own = np.arange(40), np.arange(40)
        for several in ([[r, r + 40, r + 80] for r in range(40)], np.stack([own, own + 40, own + 80], 1)):  # 3 of each of 39 others
            got = miner.mine(users, several)
            np.testing.assert_allclose(miner.mixed_logq(got, own), np.log((117 * share[own] + 32 / 600) / 149), rtol=1e-12)
        for stale in (miner.mine(users, own, round=4), quarry.Negatives(**{**vars(got), "version": 7})):
            with self.assertWarnsRegex(quarry.StaleWarning, "negatives are of (round 4|version 7) and the Miner has"):
                miner.mixed_logq(stale, own)
        both = quarry.Negatives.concatenate([got, got])
        with self.assertRaisesRegex(quarry.ConfigError, "several calls of mine.*batch="):
            miner.mixed_logq(both)
        self.assertEqual(miner.mixed_logq(both, batch=39).shape, both.item.shape)

    def test_static_hard_and_in_batch_negatives(self):
        positives = self.positives_by_the_named_rules()
        users, lists = self.rows(90, 13)
        miner = self.miner("star")
        self.assertEqual((miner.k, miner.branches), (40, ["hard", "in-batch"]))
        got = miner.mine(users, lists)
        scores = self.users.astype(np.float64) @ self.items.astype(np.float64).T
        mixed = 0
        for r in range(90):
            free, shared = self.allowed(positives, users, lists, r)
            best = set(sorted(free, key=lambda item: (-scores[users[r], item], item))[:200])
            hard, own = (set(got.item[r][got.branch[r] == branch].tolist()) for branch in (0, 1))
            self.assertEqual((len(hard), len(own), int(got.count[r])), (20, 20, 40))
            self.assertTrue(hard <= best and own <= shared - hard)
            chance = [20 / 200 * (item in best) + 20 / len(shared) * (item in shared) for item in got.item[r].tolist()]
            np.testing.assert_allclose(got.logq[r], np.log(chance), atol=1e-4)
            mixed += len(own & best)
        self.assertGreater(mixed, 100)  # of both
        small = miner.mine([3, 4], [[5], [6]])  # which makes short rows, and no harder ones
        for r, (user, other) in enumerate(((3, 6), (4, 5))):
            self.assertEqual(small.item[r][small.branch[r] == 1].tolist(), [other] if other not in small.item[r][:20] and other not in positives[user] else [])
            self.assertEqual(int((small.branch[r] == 0).sum()), 20)
        self.assert_other(got, self.miner("star", round=1).mine(users, lists))

    def test_named_recipes_of_batches_are_told_from_others(self):
        self.assertLessEqual({"mns", "star", "ance"}, set(quarry.recipes()))
        listed = run("recipes").stdout
        together, batches = listed.split("by batches alone (quarry.Miner of Python, Miner::mine_batch):")
        batches, nowhere = batches.split("known, but not run")
        for name in ("mns", "star"):
            self.assertIn(f"\n{name} ", batches)
            self.assertNotIn(f"\n{name} ", together + nowhere)
            self.assertIn("#", run("recipes", "show", name).stdout.splitlines()[0])
            with open("shown.toml", "w", encoding="utf-8") as file:
                file.write(run("recipes", "show", name).stdout)
            users, lists = self.rows(30, 14)
            self.assert_same(self.miner("./shown.toml").mine(users, lists), self.miner(name).mine(users, lists))
            for verb, more in (("mine", ("--out", "never")), ("plan", ()), ("bench", ())):
                done = run(verb, "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", name, *more, ok=(2,))
                self.assertIn("which a run over a table does not have; mine by batches (quarry.Miner of Python, Miner::mine_batch)", done.stderr)
        facts = {one["name"]: one for one in json.loads(run("recipes", "--json").stdout)}
        self.assertEqual([facts[name]["runs"] for name in ("mns", "balanced", "bns")], [True, True, False])
        self.assertEqual([facts[name]["over_tables"] for name in ("mns", "balanced", "bns")], [False, True, False])

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


if __name__ == "__main__":
    main()
