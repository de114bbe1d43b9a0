#!/usr/bin/env python3
"""Are mined negatives better than tuned random ones? MovieLens-100k, an honest protocol, one command:

  experiment.py DATA [--out FILE]           DATA: folder for the data, fetched where it is empty
  experiment.py DATA --beyond [--out FILE]  trials beyond the grids, on validation alone
  experiment.py DATA --quick                in small, to see that it runs: its figures mean nothing
  experiment.py --table FILE                what a run wrote, as a table

Both arms get as many trials, seeds and epochs to be tuned in, on validation alone; each run ends with the epoch that is best on validation; test is
looked at once per run. Then the same data show what must go wrong: negatives from a frozen top 10 alone, and a mask that knew the test set, which
looks far better and which the audit refuses. Needs the packages quarry and torch."""
from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch

import quarry
from movielens import MovieLens, fetch
from train import BATCH, DIM, Options, Trained, frozen, mined, save, train

RECIPES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "recipes")
TOP100, TOP10 = (os.path.join(RECIPES, name) for name in ("top100.toml", "top10.toml"))
GRIDS = {  # of the same length: random gets a finer grid of rate and l2, mined ones a choice of recipe
    "random": [Options("random", (), rate, l2) for rate in (0.002, 0.004, 0.008, 0.016) for l2 in (0.005, 0.01, 0.02)],
    "mined": [Options(recipe, overrides, rate, l2)
              for recipe, overrides in (("dns", ("branch.dns.source.n=4",)), ("dns", ("branch.dns.source.n=8",)), (TOP100, ()))
              for rate in (0.004, 0.008) for l2 in (0.01, 0.02)],
}
BEYOND = {  # around what GRIDS chose, at whose edge it stands: --beyond, to see on validation whether a wider grid would have mattered
    "random": [Options("random", (), rate, l2, epochs=150) for rate, l2 in ((0.001, 0.007), (0.001, 0.01), (0.002, 0.007), (0.002, 0.014))],
    "mined": [Options("dns", ("branch.dns.source.n=8",), rate, l2, epochs=150)
              for rate, l2 in ((0.002, 0.02), (0.002, 0.03), (0.004, 0.03), (0.004, 0.04))],
}
TUNING_SEEDS = (1001, 1002)  # none of those that are reported


def described(options: Options) -> dict:
    recipe = os.path.basename(options.recipe)
    return {"recipe": recipe, "overrides": list(options.overrides), "rate": options.rate, "l2": options.l2}


def name_of(options: Options) -> str:
    return " ".join([os.path.basename(options.recipe).removesuffix(".toml"), *(text.rsplit(".", 1)[-1] for text in options.overrides)])


def tune(data: MovieLens, grid: list[Options], seeds: tuple[int, ...]) -> tuple[Options, list[dict]]:
    """The trial with the best mean over seeds on validation, and all of them."""
    trials = []
    for options in grid:
        runs = [train(data, options, mined(data, options.recipe, options.overrides, seed), seed) for seed in seeds]
        valid = [run.valid for run in runs]
        trials.append({**described(options), "valid": valid, "best_epoch": [run.epoch for run in runs], "mean": float(np.mean(valid))})
        print(f"  {name_of(options)} rate {options.rate} l2 {options.l2}: {trials[-1]['mean']:.4f}, best epochs {trials[-1]['best_epoch']}",
              flush=True)
    return grid[int(np.argmax([trial["mean"] for trial in trials]))], trials


class Watched:
    """Negatives, and the share of the last epoch's that are held-out positives. Training does not see it."""

    def __init__(self, data: MovieLens, negatives) -> None:
        self._data, self._negatives = data, negatives
        self.held_out = 0.0

    def __call__(self, model, epoch):
        picked = self._negatives(model, epoch)
        filled = picked.numpy() >= 0
        users, items = self._data.rows[filled, 0], picked.numpy()[filled]
        later = self._data.valid.positives[users, items] | self._data.test.positives[users, items]
        self.held_out = float(later.mean()) if len(later) else 0.0
        return picked


@dataclasses.dataclass
class Arm:
    """Runs of one kind, one for each seed."""

    name: str
    options: Options
    runs: list[dict] = dataclasses.field(default_factory=list)
    by_user: list[np.ndarray] = dataclasses.field(default_factory=list)  #: NDCG@10 on test of each user

    def add(self, data: MovieLens, seed: int, negatives) -> Trained:
        watched = Watched(data, negatives)
        trained = train(data, self.options, watched, seed)
        scores = data.test.ndcg10(trained.users, trained.items)
        self.by_user.append(scores)
        self.runs.append({"seed": seed, "ndcg10": float(np.nanmean(scores)), "valid": trained.valid, "best_epoch": trained.epoch,
                          "epochs": trained.epochs, "held_out_share": watched.held_out, "seconds": round(trained.seconds, 2),
                          "mining_seconds": round(trained.mining_seconds, 2)})
        print(f"  {self.name}, seed {seed}: {self.runs[-1]['ndcg10']:.4f} (validation {trained.valid:.4f}, epoch {trained.epoch})", flush=True)
        return trained

    def result(self) -> dict:
        values = [run["ndcg10"] for run in self.runs]
        return {"options": described(self.options), "mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
                "runs": self.runs}


def bootstrap(arm: Arm, base: Arm, resamples: int, seed: int = 1) -> dict:
    """Percentile interval of the mean difference, paired: users and seeds are drawn anew, each with replacement, and independently of each other."""
    both = min(len(arm.by_user), len(base.by_user))
    difference = np.array(arm.by_user[:both]) - np.array(base.by_user[:both])
    difference = difference[:, ~np.isnan(difference).any(0)]
    seeds, users = difference.shape
    generator = np.random.default_rng(seed)
    means = np.empty(resamples)
    for n in range(resamples):
        of_seeds = generator.integers(0, seeds, seeds)
        of_users = generator.integers(0, users, users)
        means[n] = difference[of_seeds].mean(0)[of_users].mean()
    reference = float(np.nanmean(np.array(base.by_user[:both])))
    low, high = (float(np.quantile(means, q)) for q in (0.025, 0.975))
    return {"gain": float(difference.mean()), "relative": float(difference.mean()) / reference, "low": low, "high": high,
            "lower_one_sided_95": float(np.quantile(means, 0.05)), "users": users, "seeds": seeds, "resamples": resamples, "bootstrap_seed": seed}


class Sets:
    """Sets on disk by the program, of one row per training row, as a team would hand them on."""

    def __init__(self, data: MovieLens, folder: str) -> None:
        self.data, self.folder = data, folder
        self.rows = os.path.join(folder, "rows.csv")
        with open(data.events, newline="", encoding="utf-8") as source, open(self.rows, "w", newline="", encoding="utf-8") as out:
            rows = csv.writer(out, lineterminator="\n")
            rows.writerow(["user", "item", "time"])
            rows.writerows([row["user"], row["item"], row["time"]] for row in csv.DictReader(source) if float(row["value"]) >= 4)

    def mine(self, name: str, trained: Trained, recipe: str, overrides: tuple[str, ...], *, seed: int, knows_the_future: bool = False) -> str:
        model, out = (os.path.join(self.folder, f"{what}_{name}") for what in ("model", "set"))
        save(trained, model)
        sets = [text for override in ("metric=ip", *overrides) for text in ("--set", override)]
        more = ["--more-events", self.data.held_out] if knows_the_future else []
        self.run("mine", "--items", f"{model}/items.npy", "--users", f"{model}/users.npy", "--item-ids", self.data.item_ids, "--user-ids",
                 self.data.user_ids, "--rows", self.rows, "--events", self.data.events, *more, "--recipe", recipe, *sets, "--seed", seed,
                 "--threads", 1, "--out", out)
        return out

    def audit(self, path: str) -> dict:
        code, text = self.run("audit", path, "--held-out", self.data.held_out, "--threads", 1, "--json", fine=(0, 8))
        report = json.loads(text)
        gates = {gate["id"]: gate for gate in report["gates"]}
        return {"exit_code": code, "verdict": report["verdict"], "failed": [name for name, gate in gates.items() if gate["status"] == "fail"],
                "future_mask_p": gates["leak.future_mask"]["value"]}

    @staticmethod
    def run(*arguments, fine=(0,)) -> tuple[int, str]:
        done = subprocess.run([quarry.program(), *map(str, arguments)], capture_output=True, text=True)
        if done.returncode not in fine:
            sys.exit(f"quarry {' '.join(map(str, arguments))}\nexit {done.returncode}\n{done.stderr}")
        return done.returncode, done.stdout


def experiment(args: argparse.Namespace, data: MovieLens, folder: str) -> dict:
    grids, tuning_seeds = GRIDS, TUNING_SEEDS
    if args.quick:
        grids = {name: [dataclasses.replace(options, epochs=4, every=1) for options in (grid[5], grid[6])] for name, grid in GRIDS.items()}
        tuning_seeds = TUNING_SEEDS[:1]
    chosen, tuning = {}, {}
    for name, grid in grids.items():
        print(f"tuning {name}: {len(grid)} trials x {len(tuning_seeds)} seeds, on validation", flush=True)
        chosen[name], tuning[name] = tune(data, grid, tuning_seeds)
        print(f"  chosen: {name_of(chosen[name])}, rate {chosen[name].rate}, l2 {chosen[name].l2}", flush=True)

    print("test, once per run", flush=True)
    options = chosen["mined"]
    arms = {"random": Arm("random", chosen["random"]), "mined": Arm("mined", options),
            "top10": Arm("frozen top 10 alone", dataclasses.replace(options, recipe=TOP10, overrides=())),
            "leaky": Arm("mask that knew the test set", options)}
    sets = Sets(data, folder)
    teacher = None
    for seed in range(args.seeds):
        at_random = arms["random"].add(data, seed, mined(data, chosen["random"].recipe, chosen["random"].overrides, seed))
        teacher = teacher or at_random
        arms["mined"].add(data, seed, mined(data, options.recipe, options.overrides, seed))
        if seed < args.shown_seeds:
            top10 = sets.mine(f"top10_{seed}", at_random, TOP10, (), seed=seed)
            arms["top10"].add(data, seed, frozen(data, top10, seed))
            arms["leaky"].add(data, seed, mined(data, options.recipe, options.overrides, seed, events=[data.events, data.held_out]))
    audits = {name: sets.audit(sets.mine(name, teacher, options.recipe, ("k=4", *options.overrides), seed=0, knows_the_future=name == "leaky"))
              for name in ("honest", "leaky")}

    popularity = np.ones((data.num_users, 1), np.float32), data.popularity()[:, None]
    return {"tuning": tuning, "popularity": float(np.nanmean(data.test.ndcg10(*popularity))),
            "arms": {name: arm.result() for name, arm in arms.items()},
            "against_random": {name: bootstrap(arms[name], arms["random"], args.resamples) for name in ("mined", "top10", "leaky")},
            "audits": audits}


def table(result: dict) -> str:
    random = result["arms"]["random"]["mean"]
    lines = ["| negatives | NDCG@10 on test | sd over seeds | against random | 95 % interval of the difference | held-out positives among negatives |",
             "|---|---|---|---|---|---|",
             f"| none: items by popularity | {result['popularity']:.4f} | | {result['popularity'] / random - 1:+.1%} | | |"]
    for name, words in (("random", "random, tuned"), ("mined", "mined, tuned"), ("top10", "frozen top 10 alone"),
                        ("leaky", "mined, the mask knew the test set")):
        arm, against = result["arms"][name], result["against_random"].get(name)
        share = np.mean([run["held_out_share"] for run in arm["runs"]])
        sd = "" if arm["sd"] is None else f"{arm['sd']:.4f}"
        lines.append(f"| {words} ({arm['options']['recipe'].removesuffix('.toml')}) x {len(arm['runs'])} seeds | {arm['mean']:.4f} | {sd} | " +
                     (f"{against['relative']:+.1%} | {against['low']:+.4f} to {against['high']:+.4f}" if against else "|") + f" | {share:.1%} |")
    for name, audit in result["audits"].items():
        lines += [""] if name == "honest" else []
        lines.append(f"Audit of the {name} set: {audit['verdict']}, exit code {audit['exit_code']}"
                     + (f", by {', '.join(audit['failed'])}" if audit["failed"] else "")
                     + f"; P(as few held-out items by chance) = {audit['future_mask_p']:.2g}.")
    gain = result["against_random"]["mined"]
    words = "are better than" if gain["low"] > 0 else "are worse than" if gain["high"] < 0 else "cannot be told from"
    lines += ["", f"Mined negatives {words} tuned random ones here: {gain['relative']:+.1%}, lower 95 % bound {gain['low']:+.4f} "
                  f"({gain['users']} users x {gain['seeds']} seeds, {gain['resamples']:,} resamples)."]
    return "\n".join(lines)


def write_json(path: str, result: dict) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--out", metavar="FILE", help="write the figures there, as JSON")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--shown-seeds", type=int, default=5, help="of what must go wrong")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--beyond", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--table", metavar="FILE")
    args = parser.parse_args()
    if args.table:
        with open(args.table, encoding="utf-8") as file:
            print(table(json.load(file)))
        return 0
    if not args.data:
        parser.error("DATA is needed: a folder for the data, which may be empty")
    if args.quick:
        args.seeds, args.shown_seeds, args.resamples = 2, 1, 500
    if args.seeds < 2 or not 1 <= args.shown_seeds <= args.seeds:
        parser.error(f"--seeds {args.seeds} --shown-seeds {args.shown_seeds}: two seeds or more, of which one or more are shown")
    torch.set_num_threads(1)
    data = MovieLens(fetch(args.data))
    begin = time.perf_counter()
    if args.beyond:
        beyond = {name: tune(data, grid, TUNING_SEEDS)[1] for name, grid in BEYOND.items()}
        if args.out:
            write_json(args.out, {"what": "trials beyond the grids of experiment.py, on validation alone", "tuning_seeds": list(TUNING_SEEDS),
                                  "tuning": beyond})
        return 0
    with tempfile.TemporaryDirectory() as folder:
        figures = experiment(args, data, folder)
    result = {"what": "MovieLens-100k: BPR matrix factorisation, one negative per positive and epoch, full ranking, epoch chosen on validation",
              "command": " ".join(["experiment.py", "DATA", *sys.argv[2:]]), "quick": args.quick, "dim": DIM, "batch": BATCH,
              "epochs": Options.epochs, "patience_validations": Options.patience, "epochs_between_validations": Options.every,
              "tuning_seeds": list(TUNING_SEEDS), "users_tested": int(data.test.users.sum()), "training_rows": len(data.rows),
              "items": data.num_items, "torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version(),
              "threads": 1, "load": os.getloadavg()[0], "seconds": round(time.perf_counter() - begin), **figures}
    if args.out:
        write_json(args.out, result)
    print("\n" + table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
