#!/usr/bin/env python3
"""Trains a matrix factorisation on MovieLens-100k in PyTorch, with negatives that Quarry mines anew in every epoch.

  train.py DATA [--recipe dns] [--set branch.dns.source.n=4] [--seed 0] [--epochs 100] [--save FOLDER]

DATA is a folder for the data, fetched where it is empty. --recipe random gives the baseline: uniform negatives by the same code. Prints NDCG@10 on
validation as it goes and on test at the end, of the epoch that was best on validation."""
from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from typing import Any, Callable

import numpy as np
import torch

import quarry
import quarry.torch
from movielens import MovieLens, fetch

DIM = 64
BATCH = 2048


class Factors(torch.nn.Module):
    """A user tower and an item tower that are one table each. The item's last number is its bias, which the user's constant 1 multiplies, so that
    scores are inner products: what a Miner with metric "ip" computes."""

    def __init__(self, num_users: int, num_items: int, dim: int = DIM) -> None:
        super().__init__()
        self.users = torch.nn.Embedding(num_users, dim - 1)
        self.items = torch.nn.Embedding(num_items, dim)
        torch.nn.init.normal_(self.users.weight, std=0.1)
        torch.nn.init.normal_(self.items.weight, std=0.1)
        with torch.no_grad():
            self.items.weight[:, -1] = 0

    def score(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        return (users * items[..., :-1]).sum(-1) + items[..., -1]

    @torch.no_grad()
    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """(users, items), float32 [rows, dim]: copies, as of now."""
        ones = torch.ones(len(self.users.weight), 1)
        return torch.cat([self.users.weight, ones], 1).numpy(), self.items.weight.detach().clone().numpy()


@dataclasses.dataclass(frozen=True)
class Options:
    """How to train; the miner's side is a recipe with its overrides."""

    recipe: str = "dns"
    overrides: tuple[str, ...] = ()
    rate: float = 0.005  #: of Adam
    l2: float = 0.003  #: times the mean squared length of the vectors in a batch
    epochs: int = 100  #: at most
    every: int = 2  #: epochs between validations
    patience: int = 5  #: validations without a better one, behind which training ends


Negatives = Callable[[Factors, int], torch.Tensor]  # of a model and an epoch: int64 [rows], one per training row, -1: none


def mined(data: MovieLens, recipe: str, overrides: tuple[str, ...], seed: int, events: Any = None) -> Negatives:
    """One negative per row and epoch, of the model at the beginning of the epoch."""
    miner: quarry.Miner | None = None

    def negatives(model: Factors, epoch: int) -> torch.Tensor:
        nonlocal miner
        users, items = model.vectors()
        if miner is None:
            miner = quarry.Miner(items, recipe, users=users, events=events or data.events, item_ids=data.item_ids, user_ids=data.user_ids,
                                 seed=seed, threads=1, overrides=["k=1", "metric=ip", *overrides])
        else:
            miner.update_items(items, users=users)
        return torch.from_numpy(miner.mine(data.rows[:, 0], data.rows[:, 1], times=data.rows[:, 2], round=epoch).item[:, 0])
    return negatives


def frozen(data: MovieLens, path: str, seed: int) -> Negatives:
    """One negative per row and epoch, of those in a set that was mined once: rows of the set are found by user and positive."""
    table = quarry.torch.NegativeDataset(path, n=1, epoch_seed=seed)
    everything = table.batch(np.arange(len(table)))
    place = {pair: row for row, pair in enumerate(zip(everything["user"].tolist(), everything["positive"].tolist()))}
    order = np.array([place[user, item] for user, item in data.rows[:, :2].tolist()])

    def negatives(_model: Factors, epoch: int) -> torch.Tensor:
        table.set_epoch(epoch)
        return table.batch(order)["item"][:, 0]
    return negatives


@dataclasses.dataclass
class Trained:
    """The best epoch on validation."""

    epoch: int
    valid: float  #: mean NDCG@10 on validation
    users: np.ndarray
    items: np.ndarray
    epochs: int  #: how many were trained
    seconds: float
    mining_seconds: float


def train(data: MovieLens, options: Options, negatives: Negatives, seed: int, say: Callable[[str], None] = lambda _: None) -> Trained:
    """BPR: each positive above one negative, -log sigmoid of the difference of their scores."""
    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    model = Factors(data.num_users, data.num_items)
    adam = torch.optim.Adam(model.parameters(), lr=options.rate, fused=True)
    rows = torch.from_numpy(data.rows)
    best: Trained | None = None
    begin, mining = time.perf_counter(), 0.0
    for epoch in range(options.epochs):
        started = time.perf_counter()
        picked = negatives(model, epoch)
        mining += time.perf_counter() - started
        order = torch.from_numpy(generator.permutation(len(rows)))
        order = order[picked[order] >= 0]  # rows without a negative are left out
        for batch in order.split(BATCH):
            user = model.users(rows[batch, 0])
            items = model.items(torch.stack([rows[batch, 1], picked[batch]], 1))
            scores = model.score(user[:, None, :], items)
            loss = torch.nn.functional.softplus(scores[:, 1] - scores[:, 0]).mean()
            loss = loss + options.l2 * (user.square().sum() + items.square().sum()) / len(batch)
            adam.zero_grad()
            loss.backward()
            adam.step()
        if (epoch + 1) % options.every == 0 or epoch + 1 == options.epochs:
            users, items = model.vectors()
            valid = float(np.nanmean(data.valid.ndcg10(users, items)))
            say(f"epoch {epoch + 1}: NDCG@10 on validation {valid:.4f}")
            if best is None or valid > best.valid:
                best = Trained(epoch + 1, valid, users, items, 0, 0.0, 0.0)
            elif epoch + 1 - best.epoch >= options.patience * options.every:
                break
    assert best is not None
    best.epochs, best.seconds, best.mining_seconds = epoch + 1, time.perf_counter() - begin, mining
    return best


def save(trained: Trained, folder: str) -> None:
    """items.npy and users.npy, which `quarry mine` takes."""
    os.makedirs(folder, exist_ok=True)
    np.save(os.path.join(folder, "users.npy"), trained.users)
    np.save(os.path.join(folder, "items.npy"), trained.items)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="folder for the data")
    parser.add_argument("--recipe", default="dns", help="name, or path of a .toml")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override of the recipe; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    for name in ("rate", "l2"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Options, name))
    parser.add_argument("--epochs", type=int, default=Options.epochs)
    parser.add_argument("--save", metavar="FOLDER", help="write the vectors there")
    args = parser.parse_args()
    if args.epochs < 1:
        parser.error(f"--epochs {args.epochs}: one or more")
    torch.set_num_threads(1)
    data = MovieLens(fetch(args.data))
    options = Options(args.recipe, tuple(args.set), args.rate, args.l2, args.epochs)
    trained = train(data, options, mined(data, options.recipe, options.overrides, args.seed), args.seed, print)
    test = float(np.nanmean(data.test.ndcg10(trained.users, trained.items)))
    print(f"epoch {trained.epoch} of {trained.epochs}: NDCG@10 {trained.valid:.4f} on validation, {test:.4f} on test; "
          f"{trained.seconds:.1f} s, of which mining {trained.mining_seconds:.1f}")
    if args.save:
        save(trained, args.save)
    return 0


if __name__ == "__main__":
    sys.exit(main())
