#!/usr/bin/env python3
"""Negatives of the batch, of a queue and made of two items, by brute force in float64 and by Philox written again.

  tests/python_pools_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
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
