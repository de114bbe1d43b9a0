#!/usr/bin/env python3
"""Plans of a refresh: its rows to mine cut into shards, mined by processes that are doubled, missing, killed or too late, and joined. The
oracle is `quarry refresh` by one process on a copy of the store at the same place: every file of the two stores must be the same, but for
times, how searching was done, and command lines.

    tests/refresh_plan_test.py PROGRAM [--sets N] [--seed N]

QUARRY_TEST_SCALE above 1 tries more sets of random changes, and ends the join at more of its steps on disk. Standard library only."""
import argparse
import base64
import glob
import json
import os
import random
import shutil
import struct
import tempfile

from changing_world import AS_OF, CHANGES, RECIPES, World, add_events, add_items, move_vectors, read_npy, write_csv, write_npy
from cluster import ARRAY, BAD_DATA, FULL, GATE_FAILED, USAGE, Cluster, flip_byte, json_of, reseal_plan
from program import check, finish, manifest_of, quarry, read_csv, text_of

ROWS_PER_SHARD = 300


class Refreshed(World):
    """A world whose store has a version, and is refreshed from there."""

    def __init__(self, program, folder, recipe="nv-perc", users=150, items=600, seed=0, **chosen):
        super().__init__(folder, recipe)
        self.program = program
        self.chosen.update(chosen)
        quarry(program, "synth", "--out", folder, "--users", users, "--items", items, "--dim", 16, "--seed", seed)
        self.heldout = read_csv(self.path("heldout.csv"))
        self.store = self.path("store")
        self.cluster = Cluster(program, folder, [])

    def begin(self, ok=(0,)):
        return quarry(self.program, "mine", *self.mine(), "--store", self.store, "--model", "m", "--rows-per-shard", ROWS_PER_SHARD, ok=ok)

    def keep(self):
        shutil.rmtree(self.path("kept"), ignore_errors=True)
        shutil.copytree(self.store, self.path("kept"), symlinks=True)

    def put_back(self):
        shutil.rmtree(self.store)
        shutil.copytree(self.path("kept"), self.store, symlinks=True)

    def whole(self, parent, *more, ok=(0,)):
        """By one process, whose store is kept as `whole`; the store is put back."""
        self.keep()
        done = quarry(self.program, "refresh", f"{self.store}@{parent}", *self.news(), *more, "--json", ok=ok)
        shutil.rmtree(self.path("whole"), ignore_errors=True)
        os.rename(self.store, self.path("whole"))
        shutil.copytree(self.path("kept"), self.store, symlinks=True)
        return json_of(done.stdout) if done.returncode == 0 else done

    def plan(self, parent, shards, *more, name="plan.json", ok=(0,)):
        done = quarry(self.program, "shards", "plan", "--refresh", f"{self.store}@{parent}", *self.news(), "--shards", shards, "--probe-seconds",
                      0, "--out", self.path(name), *more, ok=ok)
        return json_of(text_of(self.path(name))) if done.returncode == 0 else done

    def mine_all(self, plan, name="plan.json"):
        running = [self.cluster.start(name, array=ARRAY[shard["id"] % 2], number=shard["id"]) for shard in plan["shards"]]
        for process in running:
            _, words = process.communicate()
            check(process.returncode == 0, f"a worker ended with {process.returncode}: {words}")

    def join(self, *more, name="plan.json", ok=(0,), env=None):
        done = quarry(self.program, "shards", "join", self.path(name), "--json", *more, ok=ok, env=env)
        return json_of(done.stdout) if done.returncode == 0 else done


def files_of(store):
    return {os.path.relpath(os.path.join(parent, name), store) for parent, _, names in os.walk(store) for name in names}


def depends_of(path):
    """Of the rows of a shard: what they stand on, without how deep was looked, and without the seal behind."""
    with open(path, "rb") as file:
        raw = file.read()[128:]
    numbers = struct.unpack(f"<{len(raw) // 8}Q", raw)
    return numbers[:-2:2]


def without_times(manifest):
    """What it tells but for when, by which command and with how much searching it was made."""
    kept = json.loads(json.dumps(manifest))
    del kept["created"]
    for key in ("command_line", "seconds", "search", "memory", "rows_per_second", "threads"):
        kept["run"].pop(key, None)
    for row in kept["store"]["basis"]["rows"]:
        check(set(row) == {"path", "bytes"}, f"an entry of rows' bases: {row}")
    for key in ("threads", "device", "host-memory"):
        kept["run"]["options"].pop(key, None)
    kept["run"]["certified_rows"] = manifest["run"]["search"]["certified_rows"]
    return kept


def same_stores(world, version, words, tagged=True):
    """File by file. tagged: the log of both says which tags were moved, as it need not where a writer was killed at that."""
    one, other = world.path("whole"), world.store
    check(files_of(one) == files_of(other), f"{words}: other files: {sorted(files_of(one) ^ files_of(other))[:5]}")
    rows = {row["path"] for row in manifest_of(one, version)["store"]["basis"]["rows"]}
    name = f"versions/v{version:020d}.json"
    for file in sorted(files_of(one) & files_of(other)):
        a, b = os.path.join(one, file), os.path.join(other, file)
        if file in rows:
            check(depends_of(a) == depends_of(b), f"{words}: {file} differs")
        elif file == name:
            x, y = without_times(manifest_of(one, version)), without_times(manifest_of(other, version))
            for key in sorted(set(x) | set(y)):
                if key != "run":
                    check(x.get(key) == y.get(key), f"{words}: {key} is {str(x.get(key))[:300]} and {str(y.get(key))[:300]}")
            for key in sorted(set(x["run"]) | set(y["run"])):
                check(x["run"].get(key) == y["run"].get(key), f"{words}: run.{key} is {x['run'].get(key)} and {y['run'].get(key)}")
        elif file == "log":
            said = []
            for store in (one, other):
                log = json_of(quarry(world.program, "log", store, "--json").stdout)["events"]
                said.append([{key: value for key, value in event.items() if key not in ("time", "xxh3_128", "blocks_xxh3_64")}
                             for event in log if tagged or event["event"] != "tag"])
            check(said[0] == said[1], f"{words}: the log says {said[0]} and {said[1]}")
        else:
            check(open(a, "rb").read() == open(b, "rb").read(), f"{words}: {file} differs")


def random_sets(program, folder, sets, seed):
    compared = mined = rows = empty = whole = 0
    for number in range(sets):
        chance = random.Random(seed * 7919 + number)
        world = Refreshed(program, os.path.join(folder, f"w{number}"), sorted(RECIPES)[(number + seed) % len(RECIPES)], seed=number % 5,
                          **({"--host-memory": "256K"} if number % 2 else {}))  # several stretches of rows
        if world.begin(ok=(0, USAGE)).returncode == USAGE:
            shutil.rmtree(world.folder)  # the recipe needs tables that this world does not have
            continue
        parent = 1
        for step in range(2):
            changes = [chance.choice(CHANGES)] + ([chance.choice(CHANGES)] if chance.random() < 0.3 else [])
            for change in changes:
                change(world, chance, world.heldout)
            words = f"set {number} step {step} {world.recipe}: {', '.join(c.__name__ for c in changes)}"
            old = world.path("old-items.npy")
            more = ["--parent-items", old] if os.path.exists(old) and chance.random() < 0.7 else []
            by_one = world.whole(parent, *more, ok=(0, BAD_DATA))
            if not isinstance(by_one, dict):  # the file named is not the parent's: both say so
                check("--parent-items" in world.plan(parent, 3, *more, ok=(BAD_DATA,)).stderr, f"{words}: a wrong --parent-items")
                more = []
                by_one = world.whole(parent)
            shards = chance.choice([1, 2, 3, 5])
            plan = world.plan(parent, shards, *more)
            sizes = [shard["rows"] for shard in plan["shards"]]
            check(len(sizes) == min(shards, sum(sizes)) and max(sizes, default=0) - min(sizes, default=0) <= 1, f"{words}: shards of {sizes} rows")
            world.mine_all(plan)
            joined = world.join("--clean")
            check(sum(sizes) == (0 if by_one["was_there"] else by_one["rows_mined"]), f"{words}: {sizes} rows are planned, {by_one['rows_mined']} mined")
            for key in ("version", "was_there", "content_hash") + (() if by_one["was_there"] else ("rows_mined", "rows_taken", "parent")):
                check(joined[key] == by_one[key], f"{words}: {key} is {joined[key]} and {by_one[key]}")
            check(not os.path.exists(world.path("plan.shards")), f"{words}: --clean left something")
            same_stores(world, joined["version"], words)
            check(quarry(program, "verify", world.store, ok=(0, BAD_DATA)).returncode == 0, f"{words}: the store is not whole")
            if not by_one["was_there"]:
                compared, mined, rows = compared + 1, mined + by_one["rows_mined"], rows + by_one["rows"]
                empty += by_one["rows_mined"] == 0
                whole += bool(by_one["obstacles"])
            parent = joined["version"]
            if os.path.exists(old):
                os.remove(old)
        shutil.rmtree(world.folder)
    print(f"{compared} refreshes by shards are those of one process, file by file: {mined:,} of {rows:,} rows mined, {whole} of them whole, "
          f"{empty} without a row")
    check(compared >= sets and mined < 0.8 * rows, "too few refreshes were compared, or hardly a row was taken over")


def killed(program, folder):
    """A join ended at each of its steps on disk: the store is whole, without the version or with it, and the next join makes it so; or one
    process does, which counts nothing twice that half a join has counted."""
    world = Refreshed(program, os.path.join(folder, "k"), **{"--host-memory": "256K"})
    world.begin()
    add_events(world, random.Random(5), world.heldout)
    world.whole(1)
    plan = world.plan(1, 3)
    world.mine_all(plan)
    step, ends, there, every = 0, 0, 0, 3 if FULL else 20
    while True:  # the first steps and the last, about the commit, one by one
        step += 1 if step < 8 else every
        world.put_back()
        done = world.join(ok=(0, -9), env={"QUARRY_CRASH_AT": f"{step}{'+' if step % 2 else ''}"})
        if isinstance(done, dict) and every == 1:
            break
        if isinstance(done, dict):
            step, every = step - every, 1
            continue
        ends += 1
        check(quarry(program, "verify", world.store, ok=(0, BAD_DATA)).returncode == 0, f"step {step}: not whole when killed")
        version = os.path.exists(os.path.join(world.store, "versions", f"v{2:020d}.json"))
        there += version
        if step % 3 == 0:
            said = json_of(quarry(program, "refresh", f"{world.store}@1", *world.news(), "--json").stdout)
        else:
            said = world.join("--clean") if step % 3 == 1 and version else world.join()
            if not os.path.exists(world.path("plan.shards")):
                world.mine_all(plan)
        check(said["version"] == 2 and said["was_there"] == version, f"step {step}: the next one says {said['version']}, {said['was_there']}")
        same_stores(world, 2, f"step {step}", tagged=not version)
    print(f"a join killed at {ends} steps, {there} of them behind its commit: the store whole, and the next one went on")
    check(ends > 25 and there > 2, f"hardly a step was found to be killed at: {ends}, {there}")


def moved(program, folder):
    """The store gets a version, loses the parent, or is another one, between plan and join."""
    world = Refreshed(program, os.path.join(folder, "m"))
    world.begin()
    add_events(world, random.Random(6), world.heldout)
    first = world.path("first")
    shutil.copytree(world.store, first, symlinks=True)

    def back():
        shutil.rmtree(world.store)
        shutil.copytree(first, world.store, symlinks=True)

    by_one = world.whole(1)
    plan = world.plan(1, 2)
    check(world.plan(1, 2, name="twice.json")["plan_hash"] == plan["plan_hash"], "a plan made twice differs")
    world.mine_all(plan)
    quarry(program, "refresh", f"{world.store}@1", "--seed", 99)  # another head
    before = files_of(world.store)
    said = world.join(ok=(BAD_DATA,)).stderr
    check("newest version is 2, and was 1" in said and "plan anew" in said, f"a head that moved: {said}")
    check(files_of(world.store) == before, "a join onto another head wrote something")
    shutil.rmtree(world.cluster.output("plan.json", 1))
    said = world.cluster.mine("plan.json", 1, ok=(BAD_DATA,))
    check("newest version is 2" in said, f"a worker after the head moved: {said}")
    again = world.plan("latest", 2, name="again.json")
    check(again["work"]["refresh"]["parent"] == 2 and again["plan_hash"] != plan["plan_hash"], "planned anew from the new head")
    # From the parent beside the new head, as a refresh may: both say what they do not know of it.
    quarry(program, "refresh", f"{world.store}@2", "--more-events", write_other(world))
    beside = world.whole(1)
    plan = world.plan(1, 2, name="beside.json")
    world.mine_all(plan, "beside.json")
    check(world.join(name="beside.json")["version"] == beside["version"] == 4, "beside the head")
    check("other.csv" in str(manifest_of(world.store, 4)["run"]["warnings"]), "a log that is not read is not told")
    same_stores(world, 4, "beside the head")
    # The same version by one process, meanwhile: it is found, and again when its parent is gone.
    back()
    world.plan(1, 2)
    world.mine_all(json_of(text_of(world.path("plan.json"))))
    quarry(program, "refresh", f"{world.store}@1", *world.news())
    check(world.plan(1, 2, name="there.json")["shards"] == [], "a shard of what is a version already")
    before = files_of(world.store)
    for words in ("made by one process meanwhile", "and its parent pruned"):
        joined = world.join()
        check(joined["was_there"] and (joined["version"], joined["content_hash"]) == (2, by_one["content_hash"]), f"{words}: {joined}")
        late = world.join(name="there.json")
        check(late["was_there"] and late["version"] == 2, f"{words}, planned afterwards: {late}")
        check(files_of(world.store) == before, f"{words}: something was written")
        quarry(program, "prune", world.store, "--keep", 1)
        before = files_of(world.store)
    again = world.plan(2, 3, name="nothing.json")
    check(again["shards"] == [] and again["work"]["refresh"]["rows_mined"] == 0, "nothing is new, and a shard is planned")
    check(world.cluster.missing("nothing.json") == "" and world.cluster.status("nothing.json")["complete"], "a plan without shards")
    check("quarry shards join" in world.cluster.mine("nothing.json", 0, ok=(USAGE,)), "a shard of a plan without shards")
    check(world.join(name="nothing.json")["was_there"], "a plan without shards is joined")
    # The parent was pruned, or is another store's.
    back()
    quarry(program, "refresh", f"{world.store}@1", "--seed", 5)
    world.plan(1, 2, name="gone.json")
    quarry(program, "prune", world.store, "--keep", 1)
    check("is gone" in world.cluster.mine("gone.json", 0, ok=(BAD_DATA,)), "a parent that is gone")
    back()
    world.plan(1, 2, name="other.json")
    shutil.rmtree(world.store)
    quarry(program, "mine", *world.inputs(), "--recipe", world.recipe, "--seed", 8, "--store", world.store)
    check("another store" in world.cluster.mine("other.json", 0, ok=(BAD_DATA,)), "another store at the place")
    print("stores that moved on, lost the parent or are others are told")


def write_other(world):
    write_csv(world.path("other.csv"), [{"user": 5, "item": 9, "time": AS_OF - 3, "kind": "dislike", "value": ""}])
    return world.path("other.csv")


def some_rows_each(program, folder):
    """What a refresh can have beside rows that are mined and taken: vectors that cannot be scored, users and items that are new, slices of the
    items, an approximate index, another model, a policy, tags and words."""
    world = Refreshed(program, os.path.join(folder, "o"), recipe="balanced", **{"--host-memory": "256K"})  # stretches of searches, too
    for table, bad in (("items", (7, 300)), ("users", (3, 4, 90))):
        numbers, shape = read_npy(world.path(table + ".npy"))
        for row in bad:
            numbers[row * shape[1]] = float("nan")
        write_npy(world.path(table + ".npy"), numbers, shape)
    world.chosen.update({"--bad-rows": "drop", "--unknown-ids": "drop"})
    world.begin()
    quarry(program, "policy", world.store, "--set", "latest_needs=approval")
    chance = random.Random(12)
    for number, (shards, more, change) in enumerate([
            (4, [], add_events), (3, ["--item-slices", 2], add_events), (2, ["--model", "other", "--set", "k=3"], move_vectors),
            (5, ["--new-snapshot"], add_items)]):
        change(world, chance, world.heldout)
        words = f"{change.__name__} {' '.join(map(str, more))}"
        by_one = world.whole(number + 1, *(flag for flag in more if flag not in ("--item-slices", 2)), "--tag", "night", "--note", "by shards")
        plan = world.plan(number + 1, shards, *more)
        if "--item-slices" in more:
            for search in range(2 * len(plan["shards"])):
                world.cluster.mine("plan.json", search, what="--search")
        world.mine_all(plan)
        joined = world.join("--tag", "night", "--note", "by shards", "--clean")
        check((joined["version"], joined["content_hash"]) == (by_one["version"], by_one["content_hash"]), words)
        same_stores(world, joined["version"], words)
        manifest = manifest_of(world.store, joined["version"])
        check(manifest["run"]["dropped"]["bad_rows"] > 0 and manifest["store"]["note"] == "by shards", f"{words}: {manifest['run']['dropped']}")
    index = ["--retriever", "IVF4,Flat", "--nprobe", 2]
    check("--index-cache" in world.plan(1, 2, *index, ok=(USAGE,)).stderr, "an index of each worker's own")
    index += ["--index-cache", world.path("index.faiss")]
    by_one = world.whole(1, *index)
    world.mine_all(world.plan(1, 2, *index))
    joined = world.join()
    check(joined["content_hash"] == by_one["content_hash"] and joined["rows_taken"] == 0, "an approximate index")
    print("bad vectors, slices, another model, a new snapshot, a policy and an approximate index: as by one process")


def edited_plans(world, plan):
    """One row less to mine: refused as edited, as of shards that do not follow from it, and, where all that is put right, because the row does
    not stand on what it stood on."""
    edited = json_of(text_of(world.path("plan.json")))
    refresh = edited["work"]["refresh"]
    bits = [byte >> b & 1 for byte in base64.b64decode(refresh["to_mine"]) for b in range(8)]
    marked = [row for row, bit in enumerate(bits) if bit]
    check([(s["first_row"], s["end_row"], s["rows"]) for s in plan["shards"]] == cut(marked, len(plan["shards"])), "how the rows are cut")
    bits[marked.pop(0)] = 0
    refresh["to_mine"] = base64.b64encode(bytes(sum(bits[at + b] << b for b in range(8)) for at in range(0, len(bits), 8))).decode()
    file = world.path("edited.json")
    with open(file, "w", encoding="utf-8") as out:
        json.dump(edited, out)
    check("was edited" in world.join(name="edited.json", ok=(BAD_DATA,)).stderr, "an edited plan")
    reseal_plan(file, edited)
    check("not the one that its hash stands for" in world.join(name="edited.json", ok=(BAD_DATA,)).stderr, "a plan of other rows")
    for shard, (first, end, rows) in zip(edited["shards"], cut(marked, len(plan["shards"]))):
        shard.update(first_row=first, end_row=end, rows=rows)
    reseal_plan(file, edited)
    world.mine_all(edited, "edited.json")
    said = world.join(name="edited.json", ok=(BAD_DATA,)).stderr
    check("stands on something else" in said, f"a row that is to be mined is taken over: {said}")
    for rows in (2**64 - 1, 2**64 - 7, 2**63, len(bits) + 8):
        for text in ("", refresh["to_mine"]):
            edited["run"]["rows"]["in_all"] = rows
            edited["work"]["refresh"] = {**refresh, "to_mine": text}
            edited["shards"] = []
            reseal_plan(file, edited)
            said = quarry(world.program, "shards", "status", file, ok=(BAD_DATA,)).stderr
            check(f"edited.json: its rows to mine are not {rows}" in said, f"a plan of {rows} rows, {len(text)} digits: {said}")


def cut(marked, shards):
    """First row, end and number of marked rows of each shard."""
    spans = []
    for s in range(shards):
        rows = marked[s * len(marked) // shards:(s + 1) * len(marked) // shards]
        spans.append((rows[0], rows[-1] + 1, len(rows)))
    return spans


def damaged(program, folder):
    """Shards that are damaged, missing, of another plan, and plans that were edited; wrong use."""
    world = Refreshed(program, os.path.join(folder, "d"))
    world.begin()
    add_events(world, random.Random(7), world.heldout)
    by_one = world.whole(1)
    plan = world.plan(1, 3)
    world.mine_all(plan)
    before = files_of(world.store)
    flip_byte(glob.glob(os.path.join(world.cluster.output("plan.json", 1), "s*", "score.npy"))[0], 140)
    said = world.join(ok=(GATE_FAILED,)).stderr
    check("score.npy" in said and "damaged: 1" in said, f"join of a damaged shard: {said}")
    check("mined again" in world.cluster.mine("plan.json", 1), "a damaged shard")
    place, other = world.cluster.output("plan.json", 0), world.cluster.output("plan.json", 2)
    os.rename(place, world.path("aside"))
    shutil.copytree(other, place)
    check("of another plan, or another shard" in world.join(ok=(BAD_DATA,)).stderr, "a shard in another's place")
    shutil.rmtree(place)
    check("missing: 0" in world.join(ok=(GATE_FAILED,)).stderr, "a shard that is missing")
    os.rename(world.path("aside"), place)
    check(files_of(world.store) == before, "a join that was refused wrote something")
    edited_plans(world, plan)
    check(not any(file.startswith("versions") for file in files_of(world.store) - before), "a join of a forged plan made a version")
    for flags, word in ((["--out", world.path("set")], "--out"), (["--store", world.path("kept")], "take it out"), (["--model", "x"], "--model"),
                        (["--parent", "1"], "--parent")):
        check(word in world.join(*flags, ok=(USAGE,)).stderr, f"join {flags}")
    for flags, word in ((["--rows-per-shard", 7], "--rows-per-shard"), (["--shard", "0/2"], "--shard"), (["--snapshot", world.store], "--snapshot")):
        check(word in world.plan(1, 2, *flags, name="no.json", ok=(USAGE,)).stderr, f"plan {flags}")
    check("no version 9" in world.plan(9, 2, name="no.json", ok=(BAD_DATA,)).stderr, "a version that is not there")
    odd = os.path.join(os.fsencode(world.folder), b"odd-\xff")
    shutil.copytree(os.fsencode(world.store), odd, symlinks=True)
    for flags, out in (([os.fsdecode(odd)], "no.json"), ([world.store], os.path.join(os.fsdecode(odd), "..", "odd-\udcfe.json"))):
        done = quarry(program, "shards", "plan", "--refresh", *flags, *world.news(), "--probe-seconds", 0, "--out", world.path(out), ok=(USAGE,))
        check("not UTF-8" in done.stderr and not os.path.exists(world.path(out)), f"a path that is not UTF-8: {done.stderr}")
    shutil.rmtree(odd)
    done = quarry(program, "shards", "plan", *world.mine(), "--model", "x", "--out", world.path("no.json"), ok=(USAGE,))
    check("--refresh" in done.stderr and not os.path.exists(world.path("no.json")), f"--model of a mine: {done.stderr}")
    joined = world.join("--store", world.store)
    check(joined["content_hash"] == by_one["content_hash"] and joined["version"] == 2, "joined in the end")
    same_stores(world, 2, "joined in the end")
    check(world.join()["was_there"], "joined twice")
    print("damaged, missing, foreign shards, edited plans and wrong use are told")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--sets", type=int, default=8 * int(float(os.environ.get("QUARRY_TEST_SCALE", "1"))))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    program = os.path.abspath(arguments.program)
    with tempfile.TemporaryDirectory() as folder:
        random_sets(program, folder, arguments.sets, arguments.seed)
        killed(program, folder)
        moved(program, folder)
        some_rows_each(program, folder)
        damaged(program, folder)
    finish()


if __name__ == "__main__":
    main()
