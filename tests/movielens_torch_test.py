#!/usr/bin/env python3
"""examples/movielens_torch on small made-up tables: its ranking and interval against others, what its negatives may be, the experiment in small,
and the committed figures against what stands in its README.

  tests/movielens_torch_test.py [PROGRAM]     PROGRAM is not used: the example takes the one in the package

Run it with a Python that has the packages quarry and torch; else it ends with 77, which means skipped."""
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

from python_package import main, or_skip

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
EXAMPLE = os.path.join(ROOT, "examples", "movielens_torch")
sys.path.insert(0, EXAMPLE)
sys.dont_write_bytecode = True
with or_skip("PACKAGES=torch tools/check_python makes a Python that has it"):
    import numpy as np
    import torch

    import experiment
    import movielens
    import train

from tiny_movielens import write_tables

RESULTS = os.path.join(ROOT, "bench", "results", "cpu")


def rows_of(folder, name):
    with open(os.path.join(folder, name), newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Example(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        torch.set_num_threads(1)
        cls.temporary = tempfile.TemporaryDirectory()
        cls.root = cls.temporary.name
        cls.folder = write_tables(os.path.join(cls.root, "movielens"))
        cls.data = movielens.MovieLens(cls.folder)
        cls.users = [row["user"] for row in rows_of(cls.folder, "users.csv")]
        cls.items = [row["item"] for row in rows_of(cls.folder, "catalogue.csv")]

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def pairs(self, positive, *splits):
        """(user, item) row numbers of the ratings of these splits, or of the positives among them."""
        rows = [dict(row, split="train") for row in rows_of(self.folder, "events.csv")] + rows_of(self.folder, "heldout.csv")
        return {(self.users.index(row["user"]), self.items.index(row["item"])) for row in rows
                if row["split"] in splits and (not positive or int(row["value"]) >= 4)}

    @staticmethod
    def true_pairs(table):
        return set(zip(*map(list, np.nonzero(table))))

    def test_splits(self):
        self.assertEqual(set(map(tuple, self.data.rows[:, :2].tolist())), self.pairs(True, "train"))
        self.assertEqual(len(self.data.rows), len(self.pairs(True, "train")))
        self.assertEqual(self.true_pairs(self.data.valid.positives), self.pairs(True, "valid"))
        self.assertEqual(self.true_pairs(self.data.test.positives), self.pairs(True, "test"))
        self.assertEqual(self.true_pairs(self.data.valid.seen), self.pairs(False, "train"))
        self.assertEqual(self.true_pairs(self.data.test.seen), self.pairs(False, "train", "valid"))

    def test_ranking_is_that_of_sorting_everything(self):
        random = np.random.default_rng(1)
        users = random.integers(-6, 7, (self.data.num_users, 3)).astype(np.float32)  # whole numbers: many equal scores
        items = random.integers(-6, 7, (self.data.num_items, 3)).astype(np.float32)
        positives = self.data.test.positives.copy()
        positives[:5] = False
        split = movielens.Split(positives, self.data.test.seen)
        got = split.ndcg10(users, items)
        self.assertTrue(np.isnan(got[:5]).all())
        self.assertEqual(int(split.users.sum()), int((~np.isnan(got)).sum()))
        different = 0
        for user in np.nonzero(split.users)[0]:
            scores = {item: sum(float(a) * float(b) for a, b in zip(users[user], items[item])) for item in range(len(items))
                      if not split.seen[user, item]}
            tenth = sorted(scores.values(), reverse=True)[9]
            if sum(score >= tenth for score in scores.values()) > 10:
                continue  # equal scores across the boundary: any of them may be among the ten
            ranked = sorted(scores, key=lambda item: (-scores[item], item))
            gain = sum(1 / math.log2(place + 2) for place, item in enumerate(ranked[:10]) if positives[user, item])
            ideal = sum(1 / math.log2(place + 2) for place in range(min(10, sum(positives[user, item] for item in scores))))
            self.assertAlmostEqual(got[user], gain / ideal, places=12)
            different += 0 < got[user] < 1
        self.assertGreater(different, 10)

    def test_interval(self):
        random = np.random.default_rng(2)
        arm, base = (experiment.Arm(name, train.Options()) for name in ("arm", "base"))
        of_user, of_seed = random.normal(0, 0.2, 300), random.normal(0, 0.03, 8)
        for seed in range(8):
            level = random.uniform(0, 1, 300)
            level[7] = np.nan
            base.by_user.append(level)
            arm.by_user.append(level + 0.05 + of_user + of_seed[seed])
        got = experiment.bootstrap(arm, base, 4000)
        difference = np.delete(np.array(arm.by_user) - np.array(base.by_user), 7, axis=1)
        self.assertAlmostEqual(got["gain"], difference.mean(), places=12)
        self.assertEqual((got["users"], got["seeds"]), (299, 8))
        error = math.sqrt(difference.mean(0).var() / 299 + difference.mean(1).var() / 8)  # of both, by formula
        for bound, z in (("low", -1.96), ("high", 1.96), ("lower_one_sided_95", -1.645)):
            self.assertAlmostEqual((got[bound] - got["gain"]) / error, z, delta=0.2)

    def test_negatives(self):
        model = train.Factors(self.data.num_users, self.data.num_items)
        rows = self.data.rows[:, :2]
        positive, later = self.pairs(True, "train"), self.pairs(True, "valid", "test")
        honest = train.mined(self.data, "dns", ("branch.dns.source.n=8",), 0)
        leaky = train.mined(self.data, "dns", ("branch.dns.source.n=8",), 0, events=[self.data.events, self.data.held_out])
        picks = [{(user, item) for (user, _), item in zip(rows.tolist(), negatives(model, epoch).tolist())}
                 for negatives, epoch in ((honest, 0), (honest, 1), (leaky, 0))]
        for picked in picks:
            self.assertFalse(picked & positive)
            self.assertGreater(len(picked), 1000)
        self.assertNotEqual(picks[0], picks[1])  # another epoch, other draws
        self.assertTrue(picks[0] & later)
        self.assertFalse(picks[2] & later)
        self.assertEqual(honest(model, 0).tolist(), train.mined(self.data, "dns", ("branch.dns.source.n=8",), 0)(model, 0).tolist())

    def test_frozen_set_is_the_best_ten(self):
        model = train.Factors(self.data.num_users, self.data.num_items)
        users, items = model.vectors()
        self.assertAlmostEqual(float(users[3] @ items[5]), model.score(model.users.weight[3], model.items.weight[5]).item(), places=5)
        trained = train.Trained(1, 0, users, items, 1, 0, 0)
        with tempfile.TemporaryDirectory() as folder:
            negatives = train.frozen(self.data, experiment.Sets(self.data, folder).mine("t", trained, experiment.TOP10, (), seed=0), 5)
            epochs = [negatives(model, epoch).tolist() for epoch in (0, 1)]
        self.assertNotEqual(*epochs)
        scores = users.astype(np.float64) @ items.astype(np.float64).T
        for user, item in self.pairs(True, "train"):
            scores[user, item] = -np.inf
        for picked in epochs:
            for (user, _), item in zip(self.data.rows[:, :2].tolist(), picked):
                self.assertGreaterEqual(scores[user, item], np.sort(scores[user])[-10] - 1e-5)

    def test_training_learns(self):
        options = train.Options("dns", (), rate=0.02, epochs=30)
        trained = train.train(self.data, options, train.mined(self.data, options.recipe, options.overrides, 0), 0)
        untrained = train.Factors(self.data.num_users, self.data.num_items).vectors()
        self.assertGreater(trained.valid, 1.5 * np.nanmean(self.data.valid.ndcg10(*untrained)))
        self.assertEqual(trained.valid, float(np.nanmean(self.data.valid.ndcg10(trained.users, trained.items))))  # the best epoch's vectors

    def test_experiment_in_small(self):
        out = os.path.join(self.root, "figures.json")
        command = [sys.executable, "-B", os.path.join(EXAMPLE, "experiment.py")]
        done = subprocess.run([*command, self.root, "--quick", "--out", out], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(out, encoding="utf-8") as file:
            result = json.load(file)
        self.check_figures(result, seeds=2, shown=1, trials=2, tuning_seeds=1)
        self.assertTrue(result["quick"])
        again = subprocess.run([*command, "--table", out], capture_output=True, text=True)
        self.assertTrue(done.stdout.endswith(again.stdout))
        self.assertIn(f"{result['arms']['mined']['mean']:.4f}", again.stdout)
        self.assertEqual(result["audits"]["honest"]["verdict"], "pass")
        self.assertEqual(result["audits"]["leaky"]["exit_code"], 8)

    def check_figures(self, result, *, seeds, shown, trials, tuning_seeds):
        for name in ("random", "mined"):
            tuning = result["tuning"][name]
            self.assertEqual(len(tuning), trials)  # the same for both
            self.assertEqual({len(trial["valid"]) for trial in tuning}, {tuning_seeds})
            best = max(tuning, key=lambda trial: sum(trial["valid"]))
            self.assertEqual(result["arms"][name]["options"], {key: best[key] for key in ("recipe", "overrides", "rate", "l2")})
        for name, arm in result["arms"].items():
            self.assertEqual([run["seed"] for run in arm["runs"]], list(range(seeds if name in ("random", "mined") else shown)))
            self.assertAlmostEqual(arm["mean"], sum(run["ndcg10"] for run in arm["runs"]) / len(arm["runs"]), places=12)
            self.assertFalse({run["seed"] for run in arm["runs"]} & set(result["tuning_seeds"]))
        self.assertEqual({run["held_out_share"] for run in result["arms"]["leaky"]["runs"]}, {0.0})
        gain = result["arms"]["mined"]["mean"] - result["arms"]["random"]["mean"]
        self.assertAlmostEqual(result["against_random"]["mined"]["gain"], gain, places=9)

    def test_committed_figures(self):
        with open(os.path.join(RESULTS, "training_movielens.json"), encoding="utf-8") as file:
            result = json.load(file)
        self.assertFalse(result["quick"])
        self.check_figures(result, seeds=10, shown=5, trials=12, tuning_seeds=2)
        with open(os.path.join(EXAMPLE, "README.md"), encoding="utf-8") as file:
            page = file.read()
        self.assertIn(experiment.table(result), page)
        for other in ("README.md", "CHANGELOG.md", os.path.join("bench", "README.md")):
            with open(os.path.join(ROOT, other), encoding="utf-8") as file:
                self.assertIn(f"{100 * result['against_random']['mined']['relative']:+.1f} %", file.read(), other)
        with open(os.path.join(RESULTS, "training_movielens_beyond.json"), encoding="utf-8") as file:
            beyond = json.load(file)["tuning"]
        for name, trials in beyond.items():
            for trial in trials:
                self.assertIn(f"{trial['mean']:.4f}", page, name)


if __name__ == "__main__":
    main()
