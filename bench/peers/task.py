"""What every peer is given (vectors, ceilings, exclusions) and what it hands back (ids, seconds, memory)."""
import argparse
import csv
import json
import pathlib
import sys
import time

import numpy as np

NOT_INSTALLED = 77
RATIO = 0.95  # of recipe nv-perc: a negative scores below this share of each positive's score
POSITIVE_KINDS = ("purchase", "like")  # those of quarry synth that recipe nv-perc counts as positive


def arguments(description):
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--inputs", type=pathlib.Path, required=True, help="folder that quarry synth wrote")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="ids go to OUT.npy, measurements to OUT.json")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--exclude", choices=("positives", "seen"), default="positives",
                        help="what is never a negative: the user's positives, or all that the user has events with")
    return parser


def skip(why):
    """Ends this process as one that cannot run here."""
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(NOT_INSTALLED)


def read_events(path, num_users, exclude):
    """(user, item) pairs, sorted and distinct: [positives, excluded], each as keys user * 2^32 + item."""
    positives, excluded = [], []
    with open(path, newline="", encoding="utf-8") as file:
        for event in csv.DictReader(file):
            key = int(event["user"]) << 32 | int(event["item"])
            if event["kind"] in POSITIVE_KINDS:
                positives.append(key)
            if exclude == "seen" or event["kind"] in POSITIVE_KINDS:
                excluded.append(key)
    pairs = [np.unique(np.array(keys, dtype=np.int64)) for keys in (positives, excluded)]
    assert all(len(p) == 0 or p[-1] >> 32 < num_users for p in pairs)
    return pairs


class Task:
    """One row per user, in the users' order. Pairs are int64 keys user * 2^32 + item in ascending order."""

    def __init__(self, args):
        start = time.perf_counter()
        self.args, self.k = args, args.k
        # Peers want the vectors in memory; a mapped file would move reading into what is timed.
        self.items = np.load(args.inputs / "items.npy")
        self.users = np.load(args.inputs / "users.npy")
        self.num_items, self.dim = self.items.shape
        self.num_rows = len(self.users)
        self.positives, self.excluded = read_events(args.inputs / "events.csv", self.num_rows, args.exclude)
        self.seconds = {"load": time.perf_counter() - start}
        self.facts = {}

    def excluded_of(self, begin, end):
        """Sorted keys of rows [begin, end), with the row counted from `begin`."""
        low, high = np.searchsorted(self.excluded, [begin << 32, end << 32])
        return self.excluded[low:high] - (begin << 32)

    def clock(self, name):
        return _Clock(self.seconds, name)

    def finish(self, ids, **versions):
        """`ids` [rows, k] int, -1 where there is none. What they are worth is checked elsewhere."""
        np.save(self.args.out.with_suffix(".npy"), np.asarray(ids, dtype=np.int64))
        self.args.out.with_suffix(".json").write_text(json.dumps(
            {"seconds": self.seconds, "peak_resident_bytes": peak_resident(), "versions": versions, **self.facts}))


class _Clock:
    def __init__(self, seconds, name):
        self.seconds, self.name = seconds, name

    def __enter__(self):
        self.start, self.cpu = time.perf_counter(), time.process_time()

    def __exit__(self, *_):
        self.seconds[self.name] = time.perf_counter() - self.start
        if self.name == "mine":
            self.seconds["mine_cpu"] = time.process_time() - self.cpu  # of all threads


def peak_resident():
    """Of this program alone: getrusage would count what the parent held when it forked."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:"))


def normalised(rows):
    """Rows of length 1: the recipe's metric is the cosine."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ceilings(users, items, positives, num_rows):
    """[rows] below what score an item is a negative: the least positive's score less 5 % of its size."""
    ceiling = np.full(num_rows, np.inf, dtype=np.float32)  # no positives, no ceiling
    row, item = positives >> 32, positives & 0xFFFFFFFF
    for low in range(0, len(row), 1 << 18):  # in pieces: the gathered vectors can be larger than the tables
        part = slice(low, low + (1 << 18))
        np.minimum.at(ceiling, row[part], np.einsum("ij,ij->i", users[row[part]], items[item[part]]))
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(ceiling), ceiling, ceiling - np.float32(1 - RATIO) * np.abs(ceiling))


def first_allowed(scores, ids, ceiling, excluded, k):
    """The first k of each row's candidates [rows, n], best first, that the masks leave; -1 where there are fewer."""
    keep = (scores < ceiling[:, None]) & (ids >= 0)
    row, column = np.nonzero(keep)
    if len(excluded):
        keys = row << 32 | ids[row, column]
        at = np.minimum(np.searchsorted(excluded, keys), len(excluded) - 1)
        keep[row, column] = excluded[at] != keys
    place = np.cumsum(keep, axis=1, dtype=np.int32)
    row, column = np.nonzero(keep & (place <= k))
    out = np.full((len(ids), k), -1, dtype=np.int64)
    out[row, place[row, column] - 1] = ids[row, column]
    return out


def first_allowed_torch(torch, scores, ids, ceiling, excluded, k):
    """first_allowed on tensors of any device."""
    keep = (scores < ceiling[:, None]) & (ids >= 0)
    if len(excluded):
        rows = torch.arange(len(ids), device=ids.device)[:, None]
        keys = rows << 32 | ids
        at = torch.searchsorted(excluded, keys).clamp_(max=len(excluded) - 1)
        keep &= excluded[at] != keys
    place = torch.cumsum(keep, dim=1)
    row, column = torch.nonzero(keep & (place <= k), as_tuple=True)
    out = torch.full((len(ids), k), -1, dtype=torch.int64, device=ids.device)
    out[row, place[row, column] - 1] = ids[row, column]
    return out


def even_parts(num_rows, at_most):
    """[(begin, end)] of parts that differ by one row: a short last part would run at another speed."""
    count = max(1, -(-num_rows // at_most))
    edges = [num_rows * i // count for i in range(count + 1)]
    return list(zip(edges, edges[1:]))


def excluded_of_rows(excluded, rows):
    """Sorted keys of the named rows, which ascend, with each row's place in `rows` for its number."""
    low, high = np.searchsorted(excluded, rows << 32), np.searchsorted(excluded, (rows + 1) << 32)
    count = high - low
    first = np.repeat(low - (np.cumsum(count) - count), count)
    place = np.repeat(np.arange(len(rows)), count)
    return (excluded[first + np.arange(count.sum())] & 0xFFFFFFFF) | place << 32


def best_start(work, users, ceiling, find, deepest, batch):
    """The first depth with which fetch_and_filter is fastest on a sample of the rows."""
    rows = np.unique(np.linspace(0, work.num_rows - 1, min(work.num_rows, 512), dtype=np.int64))
    starts = sorted({min(start, deepest) for start in (125, 250, 500, 1000, 2000, 4000, 8000)})
    seconds = {}
    fetch_and_filter(work, users, ceiling, find, starts[0], starts[0], batch, rows)  # wakes threads, touches memory
    for start in starts:
        begun = time.perf_counter()
        fetch_and_filter(work, users, ceiling, find, start, deepest, batch, rows)
        seconds[start] = time.perf_counter() - begun
    work.facts["seconds_by_start"] = seconds
    return min(starts, key=seconds.get)


def fetch_and_filter(work, users, ceiling, find, fetch, deepest, batch, only=None):
    """(ids [rows, k], [[candidates, rows], ...]): `fetch` candidates for each row (or of those of `only`), then four
    times as many, up to `deepest`, for the rows that are short. find(users, fetch, ceiling, excluded, k) gives ids of
    one batch."""
    out = np.full((work.num_rows, work.k), -1, dtype=np.int64)
    fetch, open_rows, rounds = min(fetch, deepest), np.arange(work.num_rows) if only is None else only, []
    while len(open_rows):
        rounds.append([int(fetch), len(open_rows)])
        # 2^22 candidates at once: 48 MB of scores and ids.
        for begin, end in even_parts(len(open_rows), min(batch, max(1, (1 << 22) // fetch))):
            rows = open_rows[begin:end]
            out[rows] = find(users[rows], fetch, ceiling[rows], excluded_of_rows(work.excluded, rows), work.k)
        if fetch == deepest:
            break
        open_rows = open_rows[(out[open_rows] < 0).any(axis=1)]
        fetch = min(fetch * 4, deepest)
    return out, rounds
