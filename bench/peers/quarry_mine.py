"""The program quarry on the same inputs, as a user calls it; its set is read back for the comparison."""
import json
import resource
import subprocess
import sys

import numpy as np

import task

POSITIVES = '{ kind = "positives" }'
SEEN = POSITIVES + ', { kind = "exposed", classes = ["ambiguous", "aversion", "disinterest"] }'


def main():
    parser = task.arguments(__doc__)
    parser.add_argument("--quarry", default="quarry", help="the program")
    args = parser.parse_args()
    scratch = args.out.with_suffix(".set")
    recipe = "nv-perc"
    if args.exclude == "seen":
        text = subprocess.run([args.quarry, "recipes", "show", "nv-perc"], check=True, capture_output=True,
                              text=True).stdout
        assert text.count(POSITIVES) == 1, "recipe nv-perc is not what it was"
        recipe = args.out.with_suffix(".toml")
        recipe.write_text(text.replace(POSITIVES, SEEN))
    command = [args.quarry, "mine", "--no-audit", "--recipe", recipe, "--set", f"k={args.k}",
               "--items", args.inputs / "items.npy", "--users", args.inputs / "users.npy",
               "--events", args.inputs / "events.csv", "--rows-from", "users", "--threads", args.threads,
               "--device", "cuda:0" if args.device == "cuda" else "cpu",
               "--out", scratch, "--json"]
    seen = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if seen.returncode != 0:
        print(seen.stderr.strip(), file=sys.stderr)
        sys.exit(1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = json.loads(seen.stdout)["run"]
    manifest = json.loads((scratch / "manifest.json").read_text())
    shards = [scratch / shard["path"] for shard in manifest["shards"]]
    item = np.concatenate([np.load(shard / "item.npy") for shard in shards]).astype(np.int64)
    user = np.concatenate([np.load(shard / "user.npy") for shard in shards])
    out = np.full((int(np.load(args.inputs / "users.npy", mmap_mode="r").shape[0]), args.k), -1, dtype=np.int64)
    out[user] = np.where(item == 0xFFFFFFFF, -1, item)
    np.save(args.out.with_suffix(".npy"), out)
    seconds = run["seconds"]
    args.out.with_suffix(".json").write_text(json.dumps({
        "seconds": {"load": seconds["load"], "build": seconds["prepare"], "mine": seconds["mine"],
                    "mine_cpu": used.ru_utime + used.ru_stime},  # of the whole program: more than mining takes
        "peak_resident_bytes": run["memory"]["peak_resident_bytes"],
        "retriever": run["search"]["retriever"], "certified_rows": run["search"]["certified_rows"],
        "rows_listed": len(user), "versions": run["versions"]}))


if __name__ == "__main__":
    main()
