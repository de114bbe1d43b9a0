#!/usr/bin/env python3
"""quarry.torch: whole batches of a set, the losses against their formulas in float64, a collate function that mines, and the loop of the guide.

  tests/python_torch_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import collections
import dataclasses
import os
import subprocess
import sys

from python_package import main, or_skip, run

with or_skip():
    import numpy as np

    import quarry

from python_world import COLUMNS, SHARED, TrainingWorld, needs_torch, torch


class TorchTest(TrainingWorld):
    def test_without_torch(self):
        done = subprocess.run([sys.executable, "-c", "import sys; sys.modules['torch'] = None\ntry:\n    import quarry.torch\n"
                               "except ImportError as error:\n    print(error)"], capture_output=True, text=True)
        self.assertIn("pip install torch", done.stdout, done.stderr)

    @needs_torch
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

    @needs_torch
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

    @needs_torch
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

    @needs_torch
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

    @needs_torch
    def test_negatives_as_tensors(self):
        miner = self.miner("nv-sample")
        wanted = miner.mine(*self.batch, times=[1_600_000_000] * 150)
        same = wanted.to_torch()
        fields = [field.name for field in dataclasses.fields(wanted) if field.name not in ("version", "round", "positives")]
        self.assertEqual(sorted(fields), sorted(COLUMNS))
        for name in fields:  # one memory, both ways
            column, tensor = getattr(wanted, name), getattr(same, name)
            self.assertIsInstance(tensor, torch.Tensor, name)
            self.assertEqual((tensor.data_ptr(), tuple(tensor.shape), str(tensor.dtype)), (column.ctypes.data, column.shape, f"torch.{column.dtype}"), name)
            self.assertEqual(getattr(same.to_numpy(), name).ctypes.data, tensor.data_ptr())
            self.assertEqual(tensor.device.type, "cpu")
        self.assertIs(same.to_torch().item, same.item)
        wanted.item[0, 0] = 7
        self.assertEqual(int(same.item[0, 0]), 7)
        users, positives = (torch.from_numpy(part) for part in self.batch)
        got = miner.mine(users, positives, times=[1_600_000_000] * 150, out="torch")
        self.assertIsInstance(got.item, torch.Tensor)
        wanted = miner.mine(users, positives, times=[1_600_000_000] * 150)  # what a batch came as decides nothing
        self.assertIsInstance(wanted.item, np.ndarray)
        self.assert_same(got.to_numpy(), wanted)
        self.assertEqual((len(got), got.k, got.version, got.round, repr(got), got.content_hash()),
                         (len(wanted), wanted.k, wanted.version, wanted.round, repr(wanted), wanted.content_hash()))
        self.assertIsInstance(got.gap, torch.Tensor)
        np.testing.assert_array_equal(got.gap.numpy(), wanted.gap)
        self.assertEqual(got.count.long().sum().item(), int(wanted.count.sum()))
        both = quarry.Negatives.concatenate([got, got])
        self.assertIsInstance(both.item, torch.Tensor)
        np.testing.assert_array_equal(both.key.numpy(), np.concatenate([wanted.key, wanted.key]))
        for vectors in (False, True):
            a, b = (miner.synthesize(one, positives, vectors=vectors) for one in (got, wanted))
            for name in ("positive", "coefficient", "vector"):
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        mixed = self.miner("mns", overrides=["k=20", "branch.in-batch.count=10", "branch.uniform.count=10"])
        tensors = mixed.mine(users, positives, out="torch")
        np.testing.assert_array_equal(mixed.mixed_logq(tensors, positives), mixed.mixed_logq(mixed.mine(*self.batch), self.batch[1]))
        score = (self.items[np.maximum(wanted.item, 0)] * self.users[self.batch[0]][:, None]).sum(axis=2)
        of_tensors, of_arrays = (quarry.torch.sampled_softmax_loss(torch.zeros(150), torch.from_numpy(score), logq=one.logq, count=one.count)
                                 for one in (got, wanted))
        self.assertEqual(float(of_tensors), float(of_arrays))
        with miner.prefetch([self.batch] * 3, out="torch") as ahead:
            for _, negatives in ahead:
                self.assertIsInstance(negatives.item, torch.Tensor)
        batch = quarry.torch.MiningCollate(miner, users="u", positives="i", out="torch")([{"u": 3, "i": 4}, {"u": 5, "i": 6}])
        np.testing.assert_array_equal(batch["negative_item"].numpy(), miner.mine([3, 5], [4, 6]).item)
        self.assertEqual(batch["negative_count"].dtype, torch.int64)
        empty = miner.mine([], out="torch")
        self.assertEqual(tuple(empty.item.shape), (0, miner.k))
        with self.assertRaisesRegex(quarry.ConfigError, "out: 'jax' is not one of numpy, torch"):
            miner.mine(*self.batch, out="jax")

    def test_tensors_without_torch(self):
        code = "import sys; sys.modules['torch'] = None\nimport numpy as np, quarry\nitems = np.eye(9, dtype=np.float32)\n" \
            "miner = quarry.Miner(items, 'random', users=items, allow_inert=True)\ntry:\n    miner.mine([1], out='torch')\n" \
            "except ImportError as error:\n    print(error.name, error)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertRegex(done.stdout, "^torch Negatives as tensors.*pip install torch", done.stderr)

    @needs_torch
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


if __name__ == "__main__":
    main()
