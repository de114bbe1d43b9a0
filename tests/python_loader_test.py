#!/usr/bin/env python3
"""Two processes of torch.distributed (gloo) with DataLoaders of two workers each train on one negative set, stop in the middle of an epoch,
twice, and go on in new processes: every row is trained on once per epoch, in the order of a training that never stopped.

  tests/python_loader_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package and torch (tools/check_python makes one); else it ends with 77, which means skipped."""
import json
import subprocess
import sys

from python_package import SharedFolder, main, or_skip, run

with or_skip("PACKAGES=torch tools/check_python makes a Python that has it"):
    import numpy as np
    import torch

    import quarry
    import quarry.torch

WORLD, BATCH = 2, 7
RANK = """
import json, os, sys, torch, quarry.torch
rank, stage = int(sys.argv[1]), json.loads(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method="file://" + os.path.abspath(stage["meet"]), rank=rank, world_size=2)
data = quarry.torch.NegativeDataset("set", n=3, epoch_seed=11)
sampler = quarry.torch.EpochSampler(data)  # rank and world are those of the group
loader = torch.utils.data.DataLoader(data, batch_size=7, sampler=sampler, num_workers=2, persistent_workers=stage["persistent"],
                                     multiprocessing_context=stage["start"])
first, done, log = stage["epoch"], 0, []
if stage["states"] is not None:
    state = stage["states"][rank]
    sampler.load_state_dict(state)
    first, done = state["epoch"], state["rows_done"]
for epoch in range(first, stage["last"] + 1):
    sampler.set_epoch(epoch)
    steps = 0
    for batch in loader:
        log.append({"epoch": epoch, **{name: batch[name].tolist() for name in ("row", "positive", "item")}})
        done += len(batch["row"])
        steps += 1
        if epoch == stage["last"] and steps == stage["stop"][rank]:
            break
    else:
        done = 0
state = sampler.state_dict(done)
states = [None, None]
torch.distributed.all_gather_object(states, state)
rows = torch.bincount(torch.tensor([row for batch in log for row in batch["row"]]), minlength=len(data))
torch.distributed.all_reduce(rows)
with open(stage["out"] + str(rank), "w") as file:
    json.dump({"log": log, "states": states, "rows": rows.tolist()}, file)
torch.distributed.destroy_process_group()
"""


class LoaderTest(SharedFolder):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        run("synth", "--users", 90, "--items", 300, "--dim", 8, "--out", "data")
        run("mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events", "data/events.csv", "--recipe", "nv-perc",
            "--rows-per-shard", 50, "--out", "set")
        cls.rows = len(quarry.open("set"))

    def stage(self, name, **more):
        """The logs of both ranks, and the states for the next stage."""
        stage = {"meet": f"meet_{name}", "out": f"log_{name}_", "persistent": False, "start": "fork", "states": None, "epoch": 1,
                 "last": 1, "stop": [10**9, 10**9], **more}
        ranks = [subprocess.Popen([sys.executable, "-c", RANK, str(rank), json.dumps(stage)], stderr=subprocess.PIPE, text=True)
                 for rank in range(WORLD)]
        errors = [rank.communicate(timeout=240)[1] for rank in ranks]
        self.assertEqual([rank.returncode for rank in ranks], [0, 0], "\n".join(errors))
        results = []
        for rank in range(WORLD):
            with open(f"log_{name}_{rank}") as file:
                results.append(json.load(file))
        self.assertEqual(results[0]["states"], results[1]["states"])
        self.assertEqual(results[0]["rows"], results[1]["rows"])  # summed over the group
        return [result["log"] for result in results], results[0]["states"], results[0]["rows"]

    def test_every_row_once_though_it_stops_in_the_middle(self):
        self.assertEqual(self.rows % WORLD, 1, "ranks of unequal shares are wanted")
        first, states, counted = self.stage("first", stop=[3, 8])
        self.assertEqual([state["rows_done"] for state in states], [3 * BATCH, 8 * BATCH])
        self.assertEqual(sum(counted), 11 * BATCH)
        second, states, _ = self.stage("second", stop=[5, 1], states=states, start="spawn")
        self.assertEqual([state["rows_done"] for state in states], [8 * BATCH, 9 * BATCH])
        third, states, _ = self.stage("third", states=states, last=2, persistent=True)
        self.assertEqual([(state["epoch"], state["rows_done"]) for state in states], [(2, 0), (2, 0)])
        data, orders = quarry.torch.NegativeDataset("set", n=3, epoch_seed=11), []
        for epoch in (1, 2):
            trained = [[batch for log in (first, second, third) for batch in log[rank] if batch["epoch"] == epoch] for rank in range(WORLD)]
            rows = [[row for batch in own for row in batch["row"]] for own in trained]
            self.assertEqual(sorted(rows[0] + rows[1]), list(range(self.rows)))  # each once
            data.set_epoch(epoch)
            for rank in range(WORLD):  # the order, and each row's negatives, of a training that never stopped
                self.assertEqual(rows[rank], list(quarry.torch.EpochSampler(data, rank=rank, world=WORLD)))
                for batch in trained[rank]:
                    for row, positive, items in zip(batch["row"], batch["positive"], batch["item"]):
                        self.assertEqual((positive, items), (int(data[row]["positive"]), data[row]["item"].tolist()))
            orders.append(rows[0])
        self.assertNotEqual(*orders)
        whole = quarry.open("set")
        item, count = np.asarray(whole.column("item")).astype(np.int64), np.asarray(whole.column("count"))
        for batch in third[0]:
            for row, items in zip(batch["row"], batch["item"]):
                there = [one for one in items if one >= 0]
                self.assertEqual(len(set(there)), min(3, int(count[row])))
                self.assertTrue(set(there) <= set(item[row][:count[row]].tolist()))


if __name__ == "__main__":
    main()
