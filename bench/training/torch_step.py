"""What mining costs beside a training step by torch on the same processors: `bench/training/run --torch`.

Two-tower models (embeddings of users and items, an MLP each, Adam) are trained on batches with mined negatives. A round measures, in turns, the
step alone (negatives that are there), mining in the step, and mining ahead by Miner.prefetch, for each number of torch's threads and of the
miner's; the rounds after it in the other order. Of each the milliseconds of a step are all time over all steps, but for the first, which warm
up; shares are taken within a round, of a step alone before and behind it, so that a busy machine slows both.

Positives are `trained`, of ranks 1 to 1,000 of the user's items, each factor as frequent, as those of a model that has learned something, or
`random`, as at its beginning: half of all items then score above a positive, which is the most work that there can be.
"""
import itertools
import statistics
import time

import numpy as np

#: Hidden layers of both towers.
MODELS = {"small": (512,), "medium": (512, 512), "large": (1024, 512), "huge": (2048, 1024)}
WARM_UP = 3


class Model:
    """The step, of negatives [rows, k] given as item numbers, -1 where there is none."""

    def __init__(self, torch, hidden, items, users):
        self.torch = torch
        torch.manual_seed(1)
        self.tables = [torch.nn.Embedding.from_pretrained(torch.from_numpy(table.copy()), freeze=False, sparse=True) for table in (users, items)]
        self.towers = [self._tower(items.shape[1], hidden) for _ in self.tables]
        self.dense = torch.optim.Adam([parameter for tower in self.towers for parameter in tower.parameters()], 1e-3)
        self.sparse = torch.optim.SparseAdam([table.weight for table in self.tables], 1e-3)

    def _tower(self, dim, hidden):
        sizes, layers = (dim, *hidden, dim), []
        for width, following in zip(sizes, sizes[1:]):
            layers += [self.torch.nn.Linear(width, following), self.torch.nn.ReLU()]
        return self.torch.nn.Sequential(*layers[:-1])

    def step(self, batch, negatives):
        torch = self.torch
        item = torch.from_numpy(negatives)
        user = self.towers[0](self.tables[0](torch.from_numpy(batch["users"])))
        positive = self.towers[1](self.tables[1](torch.from_numpy(batch["positives"])))
        negative = self.towers[1](self.tables[1](item.clamp(min=0)))
        scores = torch.einsum("bd,bnd->bn", user, negative).masked_fill(item < 0, -torch.inf)
        scores = torch.cat([(user * positive).sum(1, keepdim=True), scores], 1)
        loss = torch.nn.functional.cross_entropy(scores, torch.zeros(len(scores), dtype=torch.int64))
        self.dense.zero_grad(), self.sparse.zero_grad()
        loss.backward()
        self.dense.step(), self.sparse.step()


def steps_of(loop, steps):
    """Milliseconds of a step, by the wall and of all threads of the process."""
    begin = 0.0, 0.0
    for number, _ in enumerate(itertools.islice(loop, WARM_UP + steps)):
        if number == WARM_UP - 1:
            begin = time.perf_counter(), time.process_time()
    end = time.perf_counter(), time.process_time()
    return {"ms": (end[0] - begin[0]) * 1e3 / steps, "cpu_ms": (end[1] - begin[1]) * 1e3 / steps}


def positives_of(random, batch_users, items, users, world):
    if world == "random":
        return random.integers(0, len(items), len(batch_users))
    most = min(1000, len(items) // 2)
    scores = users[batch_users] @ (items / np.linalg.norm(items, axis=1, keepdims=True)).T  # ranks by cosine, the recipe's metric
    best = np.argsort(-scores, axis=1)[:, :most]
    return best[np.arange(len(best)), (most ** random.random(len(best))).astype(np.int64) - 1]


def spread(values):
    return {"median": round(statistics.median(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


class Combination:
    """Torch's threads and the miner's."""

    def __init__(self, torch_threads, miner):
        self.torch_threads, self.miner = torch_threads, miner
        self.in_step, self.ahead = [], []
        self.in_step_extra, self.ahead_extra = [], []  # beside the step alone of the same round


def measure(args, quarry, items, users, path):
    """The part of the document that this measures."""
    import torch

    random = np.random.default_rng(1)
    threads = [int(text) for text in args.grid_threads.split(",")]
    miners = {count: quarry.Miner(items, args.recipe, users=users, events=path, overrides=args.set, threads=count) for count in threads}
    k = miners[threads[0]].k
    batches = []
    for _ in range(16):
        batch_users = random.integers(0, args.users, args.rows)
        batches.append({"users": batch_users, "positives": positives_of(random, batch_users, items, users, args.positives),
                        "negatives": random.integers(0, args.items, (args.rows, k))})

    def mined(miner, batch):
        return miner.mine(batch["users"], batch["positives"])

    alone = {count: [steps_of((mined(miner, batch) for batch in itertools.cycle(batches)), args.steps) for _ in range(args.rounds)]
             for count, miner in miners.items()}
    document = {"torch": torch.__version__, "k": k, "rounds": args.rounds, "steps_of_a_round": args.steps,
                "mine_alone": {str(count): {"ms": spread([one["ms"] for one in measured]), "cpu_ms": spread([one["cpu_ms"] for one in measured])}
                               for count, measured in alone.items()}, "models": []}
    for name in filter(None, args.models.split(",")):
        model = Model(torch, MODELS[name], items, users)
        document["models"].append({"model": name, "hidden": MODELS[name], **_model(args, torch, model, miners, threads, batches, mined)})
    return document


def _model(args, torch, model, miners, threads, batches, mined):
    combinations = [Combination(count, miner) for count in threads for miner in threads]
    steps_alone = {count: [] for count in threads}
    endless = lambda: itertools.cycle(batches)  # noqa: E731

    def alone():
        return steps_of((model.step(batch, batch["negatives"]) for batch in endless()), args.steps)

    def in_step(miner):
        return steps_of((model.step(batch, mined(miner, batch).item) for batch in endless()), args.steps)

    def ahead(miner):
        with miner.prefetch(endless(), args.depth, arguments=lambda batch: (batch["users"], batch["positives"])) as batches_ahead:
            return steps_of((model.step(batch, negatives.item) for batch, negatives in batches_ahead), args.steps)

    for number in range(args.rounds):
        for combination in combinations if number % 2 == 0 else reversed(combinations):
            torch.set_num_threads(combination.torch_threads)
            miner = miners[combination.miner]
            before = alone()
            kinds = [("ahead", ahead), ("in_step", in_step)]
            measured = {kind: work(miner) for kind, work in (kinds if number % 2 == 0 else reversed(kinds))}
            behind = alone()
            step = (before["ms"] + behind["ms"]) / 2
            steps_alone[combination.torch_threads] += [before, behind]
            for kind, (all_of, extra) in {"in_step": (combination.in_step, combination.in_step_extra),
                                          "ahead": (combination.ahead, combination.ahead_extra)}.items():
                all_of.append(measured[kind])
                extra.append((measured[kind]["ms"] - step, (measured[kind]["ms"] - step) / step))
    result = []
    for combination in combinations:
        own = steps_alone[combination.torch_threads]
        entry = {"torch_threads": combination.torch_threads, "miner_threads": combination.miner,
                 "step_ms": spread([one["ms"] for one in own]), "step_cpu_ms": spread([one["cpu_ms"] for one in own])}
        for kind, all_of, extra in (("mined_in_step", combination.in_step, combination.in_step_extra),
                                    ("mined_ahead", combination.ahead, combination.ahead_extra)):
            entry[kind] = {"ms": spread([one["ms"] for one in all_of]), "cpu_ms": spread([one["cpu_ms"] for one in all_of]),
                           "extra_ms": spread([ms for ms, _ in extra]), "share": spread([share for _, share in extra])}
        result.append(entry)
    return {"combinations": result}


def table(document):
    """Markdown."""
    lines = ["| step | torch's threads | miner's threads | step alone, ms | mined in it | mined ahead | share |", "|---|---|---|---|---|---|---|"]
    for model in document["models"]:
        for entry in model["combinations"]:
            share = entry["mined_ahead"]["share"]
            lines.append(f"| {model['model']} | {entry['torch_threads']} | {entry['miner_threads']} | {entry['step_ms']['median']:.0f} | "
                         f"{entry['mined_in_step']['ms']['median']:.0f} | {entry['mined_ahead']['ms']['median']:.0f} | {100 * share['median']:.1f} % "
                         f"({100 * share['min']:.1f} to {100 * share['max']:.1f}) |")
    return "\n".join(lines)
