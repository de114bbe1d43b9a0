#!/usr/bin/env python3
"""Sets that are read: rows and columns are those of the files, versions of a store, and training data in the order of an epoch.

  tests/python_sets_test.py [PROGRAM]     PROGRAM: what to compare with; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import json
import pickle
import shutil

from python_package import main, or_skip, run

with or_skip():
    import numpy as np

    import quarry

from python_world import MinedWorld, needs_torch, torch


class SetsTest(MinedWorld):
    recipes = ("balanced", "simans")

    def test_sets_are_mapped(self):
        self.mine("balanced", "set_shards", "--rows-per-shard", 100)
        whole, parts = quarry.open("set_balanced"), quarry.open("set_shards", verify=True)
        self.assertGreater(len(parts.shards), 3)
        self.assertIsInstance(whole.column("item"), np.memmap)
        self.assertFalse(whole[10:20].item.flags.writeable or not np.shares_memory(whole[10:20].item, whole.shards[0]["item"]))
        for choice in (slice(None), slice(90, 310), slice(100, 200), slice(-5, None), slice(5, 5), slice(400, 20, -7), [3, 250, 99, 100, -1],
                       np.arange(len(whole)) % 50 == 1, []):
            a, b = whole[choice], parts[choice]
            for name in a:
                np.testing.assert_array_equal(a[name], b[name], name)
            self.assertEqual(int(a.positive_offset[-1]), len(a.positive))
        index = np.array([3, 250, 99])
        np.testing.assert_array_equal(parts[index].item, np.load(f"set_balanced/{whole.manifest['shards'][0]['path']}/item.npy")[index])
        np.testing.assert_array_equal(parts[250]["positives"], whole[:].positives(250))
        self.assertEqual(parts[-1]["row_key"], whole.column("row_key")[-1])
        self.assertEqual(parts.content_hash, whole.content_hash)
        self.assertEqual(quarry.FILL_CODES, tuple(whole.fill_codes))
        few = parts[[300, 7]]
        for row, index in enumerate((300, 7)):
            np.testing.assert_array_equal(few.positives(row), parts[index]["positives"])
            np.testing.assert_array_equal(few.positives(row - 2), parts[index]["positives"])
        for bad in (len(whole), -len(whole) - 1):
            with self.assertRaises(IndexError):
                parts[bad]
            with self.assertRaises(IndexError):
                parts[[0, bad]]
        for bad in (2.9, "item"):
            with self.assertRaisesRegex(quarry.InputError, "whole numbers"):
                parts[bad]
        with self.assertRaises(IndexError):
            few.positives(2)
        with self.assertRaisesRegex(quarry.InputError, "no column 'items'"):
            whole.column("items")
        again = pickle.loads(pickle.dumps(parts))
        np.testing.assert_array_equal(again.column("score"), parts.column("score"))
        shutil.copytree("set_balanced", "set_broken")
        path = f"set_broken/{whole.manifest['shards'][0]['path']}/score.npy"
        with open(path, "r+b") as file:
            file.seek(200)
            file.write(b"\x55")
        quarry.open("set_broken")
        with self.assertRaisesRegex(quarry.InputError, "score.npy"):
            quarry.open("set_broken", verify=True)

    def test_versions_of_a_store(self):
        flags = ["mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "nv-perc", "--store",
                 "store"]
        run(*flags, "--tag", "first")
        run(*flags, "--set", "k=3")
        self.assertEqual([quarry.open(f"store{name}").k for name in ("@first", "@1", "@2", "@latest", "")], [4, 4, 3, 3, 3])
        pickled = pickle.dumps(quarry.open("store"))
        run(*flags, "--set", "k=2")
        self.assertEqual((pickle.loads(pickled).k, quarry.open("store").k), (3, 2))
        with self.assertRaisesRegex(quarry.InputError, "second"):
            quarry.open("store@second")

    @needs_torch
    def test_training_data(self):
        data = quarry.torch.NegativeDataset("set_simans", n=4, epoch_seed=9)
        seen, batches = [], {}
        for rank in range(2):
            sampler = quarry.torch.EpochSampler(data, rank=rank, world=2)
            sampler.set_epoch(2)
            loader = torch.utils.data.DataLoader(data, batch_size=16, sampler=sampler, num_workers=2)
            batches[rank] = [batch["row"].tolist() for batch in loader]
            seen += sum(batches[rank], [])
            resumed = quarry.torch.EpochSampler(data, rank=rank, world=2)
            data.set_epoch(0)
            resumed.load_state_dict(json.loads(json.dumps({**sampler.state_dict(48), "epoch": 2})))
            rest = [batch["row"].tolist() for batch in torch.utils.data.DataLoader(data, batch_size=16, sampler=resumed, num_workers=2)]
            self.assertEqual(rest, batches[rank][3:])
            again = [batch["row"].tolist() for batch in torch.utils.data.DataLoader(data, batch_size=16, sampler=resumed)]
            self.assertEqual(again, batches[rank])  # behind a resumed pass a whole one
            resumed.load_state_dict(sampler.state_dict(48) | {"epoch": 2})
            resumed.set_epoch(2)  # as a loop over epochs does that begins at the state's
            self.assertEqual(len(resumed), len(sampler) - 48)
            resumed.set_epoch(3)
            self.assertEqual(len(resumed), len(sampler))
            data.set_epoch(2)
            self.assertEqual(sampler.state_dict(10**6)["rows_done"], len(sampler))
        self.assertEqual(sorted(seen), list(range(len(data))))
        self.assertNotEqual(seen, sorted(seen))
        whole, picked = quarry.open("set_simans"), np.zeros(15)
        for row in range(0, 400):
            data.set_epoch(row % 5)
            one, all_of_it = data[row], whole[row]
            chosen = one["item"].tolist()[:int(one["count"])]
            self.assertEqual(len(set(chosen)), min(4, int(all_of_it["count"])))
            places = [all_of_it["item"].tolist().index(item) for item in chosen]
            self.assertEqual(places, sorted(places))
            np.testing.assert_array_equal(one["score"].numpy()[:len(chosen)], all_of_it["score"][places])
            self.assertIn(int(one["positive"]), all_of_it["positives"].tolist())
            if all_of_it["count"] == 15:
                picked[places] += 1
        self.assertGreater(picked.min() / picked.sum(), 0.04)  # of 1/15 each, more than five standard deviations below
        data.set_epoch(1)
        first = [data[row]["item"].tolist() for row in range(100)]
        data.set_epoch(2)
        self.assertNotEqual([data[row]["item"].tolist() for row in range(100)], first)
        loader = iter(torch.utils.data.DataLoader(data, batch_size=100, num_workers=1, persistent_workers=True))
        self.assertEqual(next(loader)["item"].tolist(), [data[row]["item"].tolist() for row in range(100)])
        for kind, call in ((quarry.ConfigError, lambda: quarry.torch.NegativeDataset("set_simans", n=16)),
                           (quarry.InputError, lambda: quarry.torch.EpochSampler(data, rank=0, world=3).load_state_dict(sampler.state_dict(0)))):
            with self.assertRaises(kind):
                call()


if __name__ == "__main__":
    main()
