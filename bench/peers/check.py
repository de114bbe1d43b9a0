"""Judges the ids of a peer: against another's, and against inputs and rules alone, in double precision."""
import numpy as np

import task

ROUNDING = 1e-5  # fp32 scores of unit vectors, in whatever order they were summed, differ by less


class Judge:
    def __init__(self, inputs, exclude):
        self.items = np.load(inputs / "items.npy", mmap_mode="r")
        self.users = np.load(inputs / "users.npy", mmap_mode="r")
        self.num_users = len(self.users)
        self.positives, self.excluded = task.read_events(inputs / "events.csv", self.num_users, exclude)
        row, item = self.positives >> 32, self.positives & 0xFFFFFFFF
        self.rows = np.unique(row)  # a user without a positive teaches nothing, and Quarry makes no row of him
        lowest = np.full(self.num_users, np.inf)
        np.minimum.at(lowest, row, self.scores(row, item))
        with np.errstate(invalid="ignore"):
            self.ceiling = np.where(np.isinf(lowest), lowest, lowest - (1 - task.RATIO) * np.abs(lowest))

    def scores(self, row, item):
        out = np.empty(len(row))
        for low in range(0, len(row), 1 << 16):
            part = slice(low, low + (1 << 16))
            a, b = self.users[row[part]].astype(np.float64), self.items[item[part]].astype(np.float64)
            out[part] = np.einsum("ij,ij->i", a, b) / np.sqrt(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b))
        return out

    def exact(self, rows, k):
        """Scores [len(rows), k] of the right negatives by brute force, -inf where there are fewer."""
        users = task.normalised(self.users[rows].astype(np.float64))
        best = np.full((len(rows), k), -np.inf)
        place = {int(row): at for at, row in enumerate(rows)}
        pairs = [(place[int(key >> 32)], int(key & 0xFFFFFFFF)) for key in self.excluded if int(key >> 32) in place]
        out_row, out_item = (np.array(side, dtype=np.int64) for side in (zip(*pairs) if pairs else ((), ())))
        for low in range(0, len(self.items), 1 << 14):
            tile = task.normalised(self.items[low:low + (1 << 14)].astype(np.float64))
            scores = users @ tile.T
            scores[scores >= self.ceiling[rows, None]] = -np.inf
            here = (out_item >= low) & (out_item < low + len(tile))
            scores[out_row[here], out_item[here] - low] = -np.inf
            best = np.sort(np.concatenate([best, scores], axis=1), axis=1)[:, :-k - 1:-1]
        return best

    def against_brute_force(self, ids, sample):
        """What is wrong in rows spread evenly over all. Equal scores may come from other items: copies tie."""
        rows = self.rows[np.unique(np.linspace(0, len(self.rows) - 1, min(sample, len(self.rows))).astype(np.int64))]
        right = self.exact(rows, ids.shape[1])
        row, column = np.nonzero(ids[rows] >= 0)
        found = np.full(right.shape, -np.inf)
        found[row, column] = self.scores(rows[row], ids[rows[row], column])
        found = -np.sort(-found, axis=1)
        with np.errstate(invalid="ignore"):
            wrong = ~((np.abs(found - right) <= ROUNDING) | (found == right))
        return {"rows": len(rows), "rows_wrong": int(wrong.any(axis=1).sum())}

    def judge(self, ids, reference):
        """Counts over all rows; `ids` and `reference`, the exact ones, have a line for every user."""
        filled = ids[self.rows] >= 0
        at, column = np.nonzero(filled)
        row = self.rows[at]
        key = row << 32 | ids[row, column]
        at, place = np.nonzero(reference[self.rows] >= 0)
        wanted = self.rows[at] << 32 | reference[self.rows[at], place]
        above = self.scores(row, ids[row, column]) >= self.ceiling[row] + ROUNDING
        return {
            "rows_full": float(filled.all(axis=1).mean()),
            "slots_filled": float(filled.mean()),
            "negatives_equal": float(np.isin(wanted, key).mean()),
            "positives_taught": int(np.isin(key, self.positives).sum()),
            "excluded_left_in": int(np.isin(key, self.excluded).sum()),
            "above_ceiling": int(above.sum()),
            "repeated_in_row": int(len(key) - len(np.unique(key))),
        }
