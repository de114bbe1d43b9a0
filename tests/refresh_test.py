#!/usr/bin/env python3
"""quarry refresh against quarry mine: after random changes of events, items, attributes, vectors, lists and recipes, the
version that a refresh adds must be the one that mining every row with the same snapshot gives, shard by shard.

    tests/refresh_test.py QUARRY [--sets N] [--seed N]

Also: killed at steps of its writing it goes on; a parent that is damaged, or was replaced under it, gives no row. Prints
how many rows were mined. Standard library only. Longer than other files because every way of changing a world is tried on one.
"""
import argparse
import array
import json
import os
import random
import shutil
import struct
import tempfile

from changing_world import AS_OF, CHANGES, DAY, RECIPES, World, add_events, read_npy, write_csv, write_npy
from program import check, finish, manifest_of, quarry, read_csv, rows_of, shards_of

def compare(program, world, store, parent, refreshed, words):
    """Mines everything into a store of its own and compares."""
    whole = world.path("whole")
    shutil.rmtree(whole, ignore_errors=True)
    quarry(program, "mine", *world.mine(), "--snapshot", f"{store}@{parent}", "--store", whole, "--model", "m",
           "--rows-per-shard", "700")
    mine, by_mine = shards_of(whole, 1), manifest_of(whole, 1)
    ours, by_refresh = shards_of(store, refreshed), manifest_of(store, refreshed)
    check(mine == ours, f"{words}: shards differ")
    check(by_mine["content_hash"] == by_refresh["content_hash"], f"{words}: content hashes differ")
    for key in ("fill", "strata", "rows", "events"):
        check(by_mine["run"][key] == by_refresh["run"][key], f"{words}: what the manifests say of {key} differs")
    picked = [[branch["picked"] for branch in m["run"]["branches"]] for m in (by_mine, by_refresh)]
    check(picked[0] == picked[1], f"{words}: picks by branch differ")


def random_sets(program, folder, sets, seed):
    totals = {"rows": 0, "mined": 0, "whole": 0}
    for number in range(sets):
        chance = random.Random(seed * 100003 + number)
        name = sorted(RECIPES)[number % len(RECIPES)]
        known = quarry(program, "recipes", "show", name, ok=(0, 2)).returncode == 0
        world = World(os.path.join(folder, f"w{number}"), name if known else "balanced")
        quarry(program, "synth", "--out", world.folder, "--users", "150", "--items", "600", "--dim", "16",
               "--seed", str(number % 5))
        heldout = read_csv(world.path("heldout.csv"))
        store = world.path("store")
        if quarry(program, "mine", *world.mine(), "--store", store, "--model", "m", "--rows-per-shard", "700",
                  ok=(0, 2)).returncode == 2:
            shutil.rmtree(world.folder)  # the recipe needs tables that this world does not have
            continue
        parent = 1
        for step in range(chance.choice([1, 2])):
            changes = [chance.choice(CHANGES)] + ([chance.choice(CHANGES)] if chance.random() < 0.3 else [])
            for change in changes:
                change(world, chance, heldout)
            words = f"set {number} step {step} {world.recipe}: {', '.join(c.__name__ for c in changes)}"
            flags = world.news()
            old = world.path("old-items.npy")
            if os.path.exists(old) and chance.random() < 0.7:
                flags += ["--parent-items", old]
            dry = json.loads(quarry(program, "refresh", f"{store}@{parent}", *flags, "--dry-run", "--json",
                                    ok=(0, 3)).stdout or "null")
            done = quarry(program, "refresh", f"{store}@{parent}", *flags, "--json", ok=(0, 3))
            if done.returncode == 3:  # the file named is not the parent's: said, and then left out
                check("--parent-items" in done.stderr, f"{words}: {done.stderr}")
                at = flags.index("--parent-items")
                del flags[at:at + 2]
                dry = None
                done = quarry(program, "refresh", f"{store}@{parent}", *flags, "--json")
            said = json.loads(done.stdout)
            if said["was_there"]:
                continue
            if dry is not None:
                check((dry["rows_mined"], dry["rows_taken"]) == (said["rows_mined"], said["rows_taken"]),
                      f"{words}: --dry-run said otherwise")
            totals["rows"] += said["rows"]
            totals["mined"] += said["rows_mined"]
            totals["whole"] += 1 if said["obstacles"] else 0
            compare(program, world, store, parent, said["version"], words)
            totals["compared"] = totals.get("compared", 0) + 1
            parent = said["version"]
            if os.path.exists(old):
                os.remove(old)
        shutil.rmtree(world.folder)
    print(f"{totals.get('compared', 0)} refreshes equal mining everything: {totals['mined']:,} of {totals['rows']:,} "
          f"rows mined, {totals['whole']} of them whole")
    check(totals.get("compared", 0) >= sets * 0.7, "too few refreshes were compared")
    check(totals["mined"] < 0.8 * totals["rows"], "hardly a row was taken over")


def killed(program, folder):
    """A refresh ended at each of its steps, then given again."""
    world = World(os.path.join(folder, "k"), "nv-perc")
    quarry(program, "synth", "--out", world.folder, "--users", "150", "--items", "600", "--dim", "16")
    store = world.path("store")
    quarry(program, "mine", *world.mine(), "--store", store, "--model", "m", "--rows-per-shard", "700")
    kept = world.path("kept")
    shutil.copytree(store, kept, symlinks=True)
    add_events(world, random.Random(5), read_csv(world.path("heldout.csv")))
    flags = [f"{store}@1", *world.inputs()]
    for delta in world.deltas:
        flags += ["--more-events", delta]
    steps, ends = 0, 0
    wanted = None
    while True:
        steps += 1
        shutil.rmtree(store)
        shutil.copytree(kept, store, symlinks=True)
        done = quarry(program, "refresh", *flags, ok=(0, 3, 137, -9, 75, 1, 70),
                      env={"QUARRY_CRASH_AT": str(steps)})
        finished = done.returncode == 0
        if not finished:
            ends += 1
            check(quarry(program, "verify", store, ok=(0, 3)).returncode == 0, f"step {steps}: not whole when killed")
        quarry(program, "refresh", *flags)
        shards, manifest = shards_of(store, 2), manifest_of(store, 2)
        counted = {name: manifest["run"][name] for name in ("rows", "dropped", "fill", "strata", "branches")}
        counted["taken"] = [manifest["store"]["taken"][name] for name in ("rows", "mined")]
        wanted = wanted or (shards, counted)
        check(shards == wanted[0], f"step {steps}: other shards")
        check(counted == wanted[1], f"step {steps}: counters do not add up: {counted}, not {wanted[1]}")
        check(quarry(program, "verify", store, ok=(0, 3)).returncode == 0, f"step {steps}: not whole at the end")
        check(not os.path.exists(os.path.join(store, "versions", "v00000000000000000003.json")),
              f"step {steps}: a third version")
        if finished:
            break
        steps += 0 if steps < 25 else 7  # all of the first, then some
    print(f"killed at {ends} steps of a refresh: each time it went on to the same version")
    check(ends > 30, "hardly a step was found to be killed at")


def damaged(program, folder):
    world = World(os.path.join(folder, "d"), "nv-perc")
    quarry(program, "synth", "--out", world.folder, "--users", "150", "--items", "600", "--dim", "16")
    store = world.path("store")
    quarry(program, "mine", *world.mine(), "--store", store, "--model", "m")
    victims = []
    for part in ("shards", "bases"):
        for parent, _, names in os.walk(os.path.join(store, part)):
            victims += [os.path.join(parent, name) for name in names]
    named = 0
    for victim in victims:
        data = bytearray(open(victim, "rb").read())
        keep = bytes(data)
        data[len(data) // 2 + 60] ^= 4
        open(victim, "wb").write(data)
        done = quarry(program, "verify", store, ok=(0, 3))
        check(done.returncode == 3, f"{victim}: damage not found")
        done = quarry(program, "refresh", store, "--seed", "3", "--dry-run", ok=(0, 3))
        # Of the basis of rows only those are read that are needed; another seed needs none.
        rows_basis = os.path.basename(os.path.dirname(victim)) == "bases"
        check(done.returncode == 3 or rows_basis, f"{victim}: rows taken from a damaged version")
        named += os.path.basename(victim) in done.stderr
        open(victim, "wb").write(keep)
    check(named >= len(victims) - 2, "damaged files are not named")
    # The same mine command mends it.
    victim = [v for v in victims if "bases" in v][0]
    os.remove(victim)
    quarry(program, "mine", *world.mine(), "--store", store, "--model", "m")
    check(quarry(program, "verify", store, ok=(0, 3)).returncode == 0, "a lost basis was not mended")
    mended(program, world, store, victims)
    # Wrong use.
    numbers, shape = read_npy(world.path("items.npy"))
    numbers[3] += 0.25
    write_npy(world.path("other.npy"), numbers, shape)
    for flags, code, word in [
            (["nowhere"], 2, "no store"), ([store + "@9"], 3, "no version 9"), ([store, "--snapshot", store], 2, "snapshot"),
            ([store, "--parent-items", world.path("users.npy"), "--items", world.path("other.npy")], 3, "parent-items")]:
        done = quarry(program, "refresh", *flags, ok=range(256))
        check(done.returncode == code and word in done.stderr, f"{flags}: exit {done.returncode}: {done.stderr}")
    print(f"{len(victims)} damaged files found; wrong use is said")


def mended(program, world, store, victims):
    """verify --repair brings back what flipped bits of any file and lost shards took, and moves no tag."""
    add_events(world, random.Random(9), read_csv(world.path("heldout.csv")))
    world.as_of += DAY
    flags = [f"{store}@1", *world.inputs(), "--note", "second"]
    for delta in world.deltas:
        flags += ["--more-events", delta]
    quarry(program, "refresh", *flags)
    quarry(program, "tag", store, "latest", "1")
    before = {}
    for parent, _, names in os.walk(store):
        for name in names:
            path = os.path.join(parent, name)
            if os.path.getsize(path) and name != "store.json":  # one bit of which may tell another format: mend_records_test
                before[path] = open(path, "rb").read()
    chance = random.Random(11)
    rounds = 12 * int(os.environ.get("QUARRY_TEST_SCALE", "1"))
    for _ in range(rounds):
        hit = chance.sample(sorted(before), 3)
        for path in hit:
            if chance.random() < 0.3 and os.path.relpath(path, store).startswith(("shards", "bases")):
                os.remove(path)
                continue
            data = bytearray(before[path])
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            open(path, "wb").write(data)
        said = quarry(program, "verify", store, ok=(3,))
        # A version whose own file is damaged tells nothing of others.
        named = [p for p in hit if "versions" in p] or hit
        check(all(p in said.stdout for p in named), f"damage to {named} is not named: {said.stdout}")
        done = quarry(program, "verify", store, "--repair", ok=(0, 3))
        check(done.returncode == 0, f"not mended: {done.stdout} {done.stderr}")
        # How deep was looked for rows (their bases are named by run and shard) may differ, nothing else.
        check(all(os.path.exists(p) and ("-" in os.path.basename(p) or open(p, "rb").read() == data)
                  for p, data in before.items()), "files are not what they were")
    tags = json.loads(quarry(program, "log", store, "--json").stdout)
    check([v["tags"] for v in tags["versions"]] == [["latest"], []], "mending moved a tag")
    os.rename(world.path("events.csv"), world.path("gone.csv"))
    os.remove(sorted(before)[0])
    done = quarry(program, "verify", store, "--repair", ok=(3,))
    check("not mended" in done.stderr, "inputs that are gone are not told")
    os.rename(world.path("gone.csv"), world.path("events.csv"))
    quarry(program, "verify", store, "--repair")
    print(f"{3 * rounds} damaged or lost files of two versions mended from the inputs")


def write_safetensors(path, tensors):
    header, body = {}, b""
    for name, (numbers, shape) in tensors.items():
        data = numbers.tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + body)


def trap(program, world, words, then, now):
    """Mines with the flags `then`, refreshes with `now` in their place, and compares with mining `now`."""
    store, whole = world.path("store"), world.path("whole")
    for path in (store, whole):
        shutil.rmtree(path, ignore_errors=True)

    def flags(of):
        return [part for flag in of.items() for part in flag]

    quarry(program, "mine", *flags(then), "--store", store, "--rows-per-shard", "300")
    said = json.loads(quarry(program, "refresh", store, *flags(now), "--json").stdout)
    quarry(program, "mine", *flags({**then, **now}), "--store", whole, "--rows-per-shard", "300", "--snapshot",
           f"{store}@1")
    check(shards_of(whole, 1) == shards_of(store, said["version"]), f"{words}: shards differ")
    return said


def traps(program, folder):
    """Changes after which a row looks as if it stood, and does not."""
    world = World(os.path.join(folder, "t"), "nv-perc")
    quarry(program, "synth", "--out", world.folder, "--users", "150", "--items", "500", "--dim", "16")
    numbers, shape = read_npy(world.path("items.npy"))
    users = read_npy(world.path("users.npy"))[0]
    dim = shape[1]
    away = [-sum(users[d::dim]) / (len(users) // dim) for d in range(dim)]
    base = {"--items": world.path("items.npy"), "--users": world.path("users.npy"), "--events": world.path("events.csv"),
            "--catalogue": world.path("catalogue.csv"), "--as-of": str(AS_OF), "--recipe": world.path("r.toml")}

    def recipe(head, rest):
        with open(base["--recipe"], "w") as file:
            file.write(head + '\n[exposure]\npositive = ["purchase", "like"]\n[safety]\nfilters = [{ kind = "positives" }]\n' + rest)

    # A vector that could not be scored was a row of zeros, which has a rank; mended, it has another.
    recipe('k = 4\nmetric = "l2"', '[[branch]]\nname = "hard"\nsource = { kind = "topk" }\n'
           'filters = [{ kind = "rank", window = [11, 14], of = "raw" }]\n')
    bad, mended_ = array.array("f", numbers), array.array("f", numbers)
    for d in range(dim):
        bad[5 * dim + d] = float("nan")
        mended_[5 * dim + d] = 50 * away[d]
    write_npy(world.path("bad.npy"), bad, shape)
    write_npy(world.path("mended.npy"), mended_, shape)
    said = trap(program, world, "a bad vector that is mended", {**base, "--items": world.path("bad.npy"), "--bad-rows": "drop"},
                {"--items": world.path("mended.npy")})
    check(0 < said["rows_mined"] < said["rows"], f"a bad vector that is mended: {said['rows_mined']} of {said['rows']} mined")

    # Another tensor of the same file: the file's hash does not tell.
    recipe('k = 4\nmetric = "cosine"', '[[branch]]\nname = "hard"\nsource = { kind = "topk", pool = 20 }\n')
    other = array.array("f", numbers)
    for item in (3, 50, 77, 300):
        for d in range(dim):
            other[item * dim + d] = -other[item * dim + d]
    write_safetensors(world.path("two.safetensors"), {"a": (numbers, shape), "b": (other, shape)})
    two = {**base, "--items": world.path("two.safetensors")}
    said = trap(program, world, "another tensor", {**two, "--items-tensor": "a"}, {"--items-tensor": "b"})
    check(said["items_changed"] == 4 and said["rows_mined"] < said["rows"], f"another tensor: {said}")

    # The catalogue outgrows max_rank: short rows say so, though the new item is below every floor.
    recipe('k = 12\nmetric = "cosine"', '[strata]\npopularity = { bins = 4 }\n[[branch]]\nname = "hard"\n'
           'source = { kind = "topk", pool = 40, max_rank = 500 }\nfilters = [{ kind = "rank", window = [1, 40] }, '
           '{ kind = "relative_margin", ratio = 0.97 }]\n[quota]\nby = "popularity"\nshares = "equal"\n')
    more = array.array("f", numbers)
    more.extend(3 * x for x in away)
    write_npy(world.path("more.npy"), more, [shape[0] + 1, dim])
    catalogue = read_csv(world.path("catalogue.csv"))
    write_csv(world.path("more.csv"), catalogue + [{**catalogue[0], "item": shape[0]}])
    trap(program, world, "a catalogue that outgrows max_rank", base,
         {"--items": world.path("more.npy"), "--catalogue": world.path("more.csv")})

    # Rows without a time stand at the end of the log that was refreshed with, and `universal` at the snapshot's
    # counts: the audit judges by both as the miner did.
    recipe('k = 4\nmetric = "cosine"', '[[branch]]\nname = "hard"\nsource = { kind = "topk", pool = 40 }\n'
           'filters = [{ kind = "time" }, { kind = "universal", share = 0.04 }]\n')
    early = {**base, "--rows-from": "users", "--as-of": "1616000000"}
    trap(program, world, "the end of the log", early, {"--as-of": str(AS_OF)})
    done = quarry(program, "audit", f"{world.path('store')}@2", ok=(0, 8))
    check(done.returncode == 0, f"an honest refresh fails its audit: {done.stderr}")

    # An item exactly at the floor, the deepest that was looked at, becomes a group mate of the row's positive.
    recipe('k = 20\nmetric = "cosine"', '[[branch]]\nname = "hard"\nsource = { kind = "topk", pool = 20, max_rank = 20 }\n'
           'filters = [{ kind = "group", column = "group" }]\n')
    users_rows = {**base, "--rows-from": "users"}
    quarry(program, "mine", *[part for flag in users_rows.items() for part in flag], "--out", world.path("looked"))
    deepest = [row for row in rows_of(world.path("looked"))[0] if row["count"] and row["raw_rank"][row["count"] - 1] == 20][:3]
    check(len(deepest) == 3, "no row picks the last item that it looks at")
    for row in deepest:
        mates = {r["item"]: dict(r) for r in catalogue}
        mates[str(row["negatives"][-1])]["group"] = mates[str(row["positives"][0])]["group"]
        write_csv(world.path("mates.csv"), list(mates.values()))
        said = trap(program, world, "an item at the floor", users_rows, {"--catalogue": world.path("mates.csv")})
        check(0 < said["rows_mined"] < said["rows"], f"an item at the floor: {said['rows_mined']} of {said['rows']} mined")

    # One user, ten items, more negatives wanted than there are.
    small = World(os.path.join(folder, "s"), "random")
    quarry(program, "synth", "--out", small.folder, "--users", "1", "--items", "10", "--dim", "4", "--events-per-user", "3")
    write_csv(small.path("d.csv"), [{"user": 0, "item": 7, "time": AS_OF, "kind": "purchase", "value": ""}])
    tiny = {"--items": small.path("items.npy"), "--users": small.path("users.npy"), "--events": small.path("events.csv"),
            "--recipe": "random", "--set": "k=20", "--as-of": str(AS_OF)}
    trap(program, small, "one user", tiny, {"--more-events": small.path("d.csv")})
    print("bad vectors that are mended, other tensors, catalogues past max_rank, items at the floor, one user: as mining everything")


def failing(program, folder):
    """A disk that is full, or broken, at steps of a refresh."""
    world = World(os.path.join(folder, "f"), "nv-perc")
    quarry(program, "synth", "--out", world.folder, "--users", "100", "--items", "300", "--dim", "8")
    store = world.path("store")
    quarry(program, "mine", *world.mine(), "--store", store, "--model", "m")
    ends = 0
    for step, code in [(n, (28, 5)[n % 2]) for n in range(1, 90, 4)]:
        done = quarry(program, "refresh", f"{store}@1", "--seed", str(step), ok=(0, 5),
                      env={"QUARRY_FAIL_AT": f"{step}:{code}"})
        ends += done.returncode == 5
        check(quarry(program, "verify", store, ok=(0, 3)).returncode == 0, f"errno {code} at step {step}: not whole")
        quarry(program, "refresh", f"{store}@1", "--seed", str(step))
    check(ends > 10, f"only {ends} steps failed")
    print(f"{ends} failing writes of a refresh end with 5, the store whole, and the same command goes on")


def due(program, folder):
    """What a scheduler asks, and what new vectors mean."""
    world = World(os.path.join(folder, "u"), "nv-perc")
    quarry(program, "synth", "--out", world.folder, "--users", "300", "--items", "600", "--dim", "16")
    store = world.path("store")
    quarry(program, "mine", *world.mine(), "--store", store)
    write_csv(world.path("d.csv"), [{"user": n, "item": 5, "time": AS_OF + 60 * n, "kind": "purchase", "value": ""} for n in range(20)])

    def ask(*flags, ok=(0,)):
        done = quarry(program, "refresh", store, "--json", *flags, ok=ok)
        return json.loads(done.stdout) if done.returncode == 0 else done

    fresh = ["--more-events", world.path("d.csv"), "--as-of", "latest"]
    said = ask(*fresh, "--if-due", "--due-events", "21")
    check(said["what"] == "not due" and said["version"] is None and said["since"]["events"] == 20, f"21 of 20 events: {said}")
    check(ask("--if-due", "--due-after", "1h")["what"] == "not due", "an hour after a second")
    check(ask("--if-due", "--due-items", "1")["what"] == "not due", "no item changed")
    check(len(os.listdir(os.path.join(store, "versions"))) == 1, "a version was made though none was due")
    said = ask(*fresh, "--if-due", "--due-after", "365d", "--due-events", "20", "--dry-run")
    check(said["what"] == "planned" and said["rows_mined"] > 0 and said["dry_run"], f"20 of 20 events: {said}")
    said = ask(*fresh, "--if-due", "--due-events", "20")
    check(said["version"] == 2, f"{said}")
    manifest = manifest_of(store, 2)
    last = max(int(row["time"]) for name in ("events.csv", "d.csv") for row in read_csv(world.path(name)))
    check(manifest["run"]["as_of"] is None and manifest["run"]["latest_event"] == last, "latest is the last event's time")
    # What is said again moves no tag back, and what is set goes on from what was set.
    check(ask("--json")["was_there"], "nothing is new")
    done = quarry(program, "refresh", f"{store}@1", "--json")
    tags = {v["version"]: v["tags"] for v in json.loads(quarry(program, "log", store, "--json").stdout)["versions"]}
    check(json.loads(done.stdout)["was_there"] and tags == {1: [], 2: ["latest"]}, f"a tag moved back: {tags}")
    kept = world.path("kept")
    quarry(program, "mine", *world.mine(), "--set", "k=3", "--store", kept)
    quarry(program, "refresh", kept, "--set", "branch.hard.source.pool=60", ok=(0,))
    check(manifest_of(kept, 2)["k"] == 3, "--set forgot what was set before")
    quarry(program, "refresh", kept, "--events", world.path("d.csv"), "--as-of", "latest")
    check(manifest_of(kept, 3)["run"]["events"]["read"] == 20, "--events names the whole log")
    # Vectors: the same ones moved a little, then others.
    numbers, shape = read_npy(world.path("items.npy"))
    chance = random.Random(2)
    write_npy(world.path("near.npy"), array.array("f", [x + chance.uniform(-1e-4, 1e-4) for x in numbers]), shape)
    write_npy(world.path("far.npy"), array.array("f", [chance.gauss(0, 1) for _ in numbers]), shape)
    near = ask("--items", world.path("near.npy"), "--if-due", "--due-drift", "0.7")
    check(near["what"] == "not due" and near["drift"]["overlap"] > 0.95 and near["drift"]["mean_cosine"] > 0.99, f"{near}")
    far = ask("--items", world.path("far.npy"), "--if-due", "--due-drift", "0.7", "--dry-run")
    check(far["what"] == "planned" and far["drift"]["overlap"] < 0.4 and abs(far["drift"]["mean_cosine"]) < 0.2, f"{far}")
    # A hundred of 600 items are the same by chance for a sixth.
    check(abs(far["drift"]["overlap"] - 100 / 600) < 0.05, f"overlap by chance: {far['drift']}")
    # Written over in place, as a nightly job does: how far they moved cannot be known, which is told and due.
    write_npy(world.path("items.npy"), read_npy(world.path("far.npy"))[0], shape)
    done = quarry(program, "refresh", store, "--if-due", "--due-drift", "0.7", "--dry-run")
    check("not known" in done.stderr and "would be mined" in done.stderr, f"vectors written over: {done.stderr}")
    write_npy(world.path("items.npy"), numbers, shape)
    for flags, word in [(["--if-due"], "say when"), (["--due-events", "3"], "--if-due"), (["--if-due", "--due-after", "soon"], "due-after"),
                        (["--if-due", "--due-events", "-1"], "due-events"), (["--if-due", "--due-items", "0"], "due-items"),
                        (["--if-due", "--due-after", "1d", "--due-drift", "nan"], "due-drift")]:
        done = ask(*flags, ok=range(256))
        check(done.returncode == 2 and word in done.stderr, f"{flags}: {done.returncode} {done.stderr}")
    # What was made is audited, and the store's log says so.
    done = quarry(program, "refresh", store, "--seed", "5", "--audit", "--json")
    check("audit" in done.stderr.lower() or "gate" in done.stderr.lower(), f"no audit: {done.stderr}")
    log = json.loads(quarry(program, "log", store, "--json").stdout)
    audits = [event for event in log["events"] if event["event"] == "audit"]
    check(len(audits) == 1 and audits[0]["verdict"] == "pass" and len(audits[0]["metrics"]) > 10, f"{audits}"[:300])
    gates = world.path("gates.toml")
    open(gates, "w").write("[diversity.effective_items]\nseverity = \"fail\"\nlimit = 1000\n")
    done = quarry(program, "mine", *world.mine(), "--seed", "6", "--store", store, "--audit", "--audit-gates", gates, ok=range(256))
    check(done.returncode == 8, f"a limit that nothing reaches: exit {done.returncode}")
    print("due and not due are told apart; new vectors are measured; what was made is audited")


def kept_store(program, folder):
    """A store made by an earlier program, bases and inputs with it, is gone on from."""
    made = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stores", "with_bases_1")
    there = os.path.join(folder, "kept")
    shutil.copytree(made, there)
    store = os.path.join(there, "store")
    check(quarry(program, "verify", store, ok=(0, 3)).returncode == 0, "the kept store is whole")
    delta = os.path.join(there, "delta.csv")
    write_csv(delta, [{"user": 3, "item": 7, "time": AS_OF - 5, "kind": "dislike", "value": ""},
                      {"user": 4, "item": 8, "time": AS_OF - 4, "kind": "purchase", "value": ""}])
    said = json.loads(quarry(program, "refresh", store, "--more-events", delta, "--json").stdout)
    # Another version of the program mines all, and says so; nothing else is in the way.
    if not said["obstacles"]:
        check(0 < said["rows_mined"] <= 3 and said["rows_taken"] >= 16, f"rows of the kept store: {said}")
    check(all(words.startswith("program:") for words in said["obstacles"]), f"{said['obstacles']}")
    whole = os.path.join(there, "whole")
    inputs = [word for name in ("items.npy", "users.npy", "events.csv", "catalogue.csv")
              for word in ("--" + name.split(".")[0], os.path.join(there, name))]
    quarry(program, "mine", *inputs, "--as-of", str(AS_OF), "--recipe", "nv-perc", "--set", "k=3", "--rows-from", "users",
           "--more-events", delta, "--snapshot", f"{store}@1", "--store", whole)
    check(shards_of(store, 2) == shards_of(whole, 1), "the kept store: not that of mining every row")
    # From the first version again, by another log: what the second one read is not lost without a word.
    other = os.path.join(there, "other.csv")
    write_csv(other, [{"user": 5, "item": 9, "time": AS_OF - 3, "kind": "dislike", "value": ""}])
    done = quarry(program, "refresh", f"{store}@1", "--more-events", other)
    check("delta.csv" in done.stderr and "goes on from version 1" in done.stderr, f"a log that is not read: {done.stderr}")
    done = quarry(program, "refresh", f"{store}@2", "--more-events", other)
    check("goes on from version" not in done.stderr, f"every log is read: {done.stderr}")
    print("a store of an earlier program is gone on from")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--sets", type=int, default=20 * int(os.environ.get("QUARRY_TEST_SCALE", "1")))
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    program = os.path.abspath(arguments.program)
    with tempfile.TemporaryDirectory() as folder:
        random_sets(program, folder, arguments.sets, arguments.seed)
        killed(program, folder)
        damaged(program, folder)
        traps(program, folder)
        failing(program, folder)
        due(program, folder)
        kept_store(program, folder)
    finish()


main()
