"""Mines on a Ray cluster: python mine.py, or ray job submit --working-dir . -- python mine.py. Call it again after a failure.

Inputs and the plan lie on storage that all nodes see; the package `quarry` is installed on each (`pip install ".[ray]"`)."""
import os
import sys

import quarry
import quarry.ray

DATA = os.environ.get("QUARRY_DATA", ".")


def main() -> int:
    path = os.path.join(DATA, "plan.json")
    if os.path.exists(path):
        plan = quarry.ray.Plan.read(path)  # goes on from the shards that are there
    else:
        plan = quarry.ray.plan(path, shards="auto", items=f"{DATA}/items.npy", users=f"{DATA}/users.npy", events=f"{DATA}/events.csv",
                               catalogue=f"{DATA}/catalogue.csv", recipe="balanced")
    try:
        run = quarry.ray.mine(plan, retries=3, stall_timeout=600)  # longer than the longest shard
    except quarry.ray.StallError:
        return 75  # it has said which actors and resources; run it again
    print(run.report())
    print(quarry.ray.join(plan, store=f"{DATA}/negatives", clean=True)["content_hash"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
