#!/usr/bin/env python3
"""The number of slices that a plan chooses by the memory of its workers, beside what real workers take.

  tests/worker_memory_test.py PROGRAM

The oracles: the least number by a rule written again here, of the figures of `quarry plan`; the kernel's own count of what workers take;
the set of one process. What needs control groups is left out where they cannot be made, which is said."""
import json
import math
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

from cluster import USAGE, Cluster, json_of, same_set
from program import check, finish, manifest_of, quarry, text_of, write_csv

ITEMS, DIM, USERS = 60_000, 256, 400
TABLE = ITEMS * DIM * 4
MIB = 1 << 20
GROUPS = pathlib.Path("/sys/fs/cgroup")


def rate(words, foretold, seen, most=1.6):
    print(f"{words}: foretold {foretold / MIB:.1f} MiB, seen {seen / MIB:.1f} MiB, ratio {foretold / seen:.2f}", flush=True)
    check(seen <= foretold <= most * seen, f"{words}: {foretold} bytes foretold, {seen} seen")


class Group:
    """A control group with a limit; None of them where it cannot be made."""

    def __init__(self, limit):
        v1 = (GROUPS / "memory").is_dir()
        self.path = (GROUPS / "memory" if v1 else GROUPS) / f"quarry-test-{os.getpid()}"
        self.path.mkdir()
        try:
            (self.path / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
            self.enter = lambda: (self.path / "cgroup.procs").write_text(str(os.getpid()))
            subprocess.run(["true"], check=True, preexec_fn=self.enter)
        except BaseException:
            self.path.rmdir()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.path.rmdir()


def group_of(limit):
    try:
        return Group(limit)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no control group can be made here ({error}): left out", flush=True)
        return None


def longest(slices, items=ITEMS):
    """Of slices that begin at multiples of 32 and are as even as that allows."""
    bounds = [items if s == slices else s * items // slices // 32 * 32 for s in range(slices + 1)]
    return max(b - a for a, b in zip(bounds, bounds[1:]))


def needs(own, program, users, rows, slices):
    """What a worker needs: its own, the program, the longest slice, users of a tile, and twice 29 bytes by row of lists."""
    return own + program + users + longest(slices) * DIM * 4 + (58 * rows if slices > 1 else 0)


def plan_of(c, name, *more, ok=(0,)):
    """The plan, what was said, and `worker_memory`; or what a plan that is refused says."""
    done = quarry(c.program, "shards", "plan", *c.inputs, "--out", c.path(name), *more, ok=ok)
    if done.returncode != 0:
        return done.stderr
    plan = json.loads(text_of(c.path(name)))
    return plan, done.stderr, plan["worker_memory"]


def peak_of(command):
    """The largest RSS of a process by getrusage, and the largest RssAnon of many readings."""
    anonymous = 0
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    while True:
        try:
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
            at = status.find("RssAnon:")
            if at >= 0:
                anonymous = max(anonymous, int(status[at + 8:status.index("kB", at)]) * 1024)
        except (OSError, ValueError):
            pass
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        time.sleep(0.002)
    process.returncode = os.waitstatus_to_exitcode(status)
    words = process.stderr.read().decode()
    process.stderr.close()
    if process.returncode != 0:
        sys.exit(f"{command}: exit {process.returncode}: {words}")
    return usage.ru_maxrss * 1024, anonymous


def mine(c, name, plan, *more):
    for search in range(len(plan["shards"]) * len(plan["work"].get("item_slices", []))):
        c.mine(name, search, what="--search", more=more)
    for shard in plan["shards"]:
        c.mine(name, shard["id"], more=more)


def test_choice(c):
    """At many sizes: the least number that fits, by figures of the plan, which are those of `quarry plan`."""
    foretold = json_of(quarry(c.program, "plan", *c.inputs, "--json").stdout)["memory"]
    _, words, whole = plan_of(c, "whole.json", "--shards", 2, "--item-slices", "auto", "--worker-memory", "64GiB")
    check(whole["item_slices"] == 1 and "1 slice: with all items a worker stays within" in words, f"64 GiB: {words}")
    check((whole["bytes"], whole["from"], whole["given"], whole["chosen"]) == (64 << 30, "--worker-memory", True, True), f"64 GiB: {whole}")
    parts = whole["needs"]
    check(parts["item_row_bytes"] == TABLE, f"item rows of {parts}")
    check(parts["user_row_bytes"] == min(USERS * DIM * 4, TABLE), f"users' rows of {parts}")
    check(parts["total_bytes"] == sum(parts[key] for key in ("own_bytes", "program_bytes", "item_row_bytes", "user_row_bytes",
                                                             "shard_row_bytes")), f"the total of {parts}")
    own = foretold["peak_anonymous_bytes"]
    check(abs(parts["own_bytes"] / own - 1) < 0.2, f"{parts['own_bytes']} bytes of its own, {own} by quarry plan")
    chosen = {}
    for share in (0.99, 0.8, 0.55, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1):
        limit = math.ceil(own + parts["program_bytes"] + USERS * DIM * 4 + share * TABLE)
        plan, words, memory = plan_of(c, "some.json", "--shards", 2, "--item-slices", "auto", "--worker-memory", limit, "--probe-seconds", 0)
        found, slices = memory["needs"], len(plan["work"].get("item_slices", [])) or 1
        rows = max(shard["end_row"] - shard["first_row"] for shard in plan["shards"])
        oracle = [needs(found["own_bytes"], found["program_bytes"], found["user_row_bytes"], rows, n) for n in range(1, slices + 1)]
        check(slices == memory["item_slices"] and found["total_bytes"] == oracle[-1], f"{share}: {slices} slices: {memory}, not {oracle}")
        check(oracle[-1] <= limit and all(need > limit for need in oracle[:-1]), f"{share}: {slices} slices for {limit} bytes: {oracle}")
        # By quarry plan alone, which measures again: the same but for what two measurements differ by.
        near = [next(n for n in range(1, 1000) if needs(factor * own, parts["program_bytes"], USERS * DIM * 4, rows, n) <= limit)
                for factor in (0.85, 1.02)]
        check(near[0] <= slices <= near[1] + 1, f"{share}: {slices} slices, by quarry plan {near}")
        check(f"{slices} slices: the fewest" in words and "a worker needs about" in words, f"{share}: {words}")
        check(not memory["is_estimate"], "auto tries a tile")
        chosen[slices] = limit
    check(len(chosen) >= 5 and max(chosen) > 5, f"chosen: {chosen}")
    print(f"slices chosen by memory: {sorted(chosen)}", flush=True)
    return chosen


def test_real_workers(c):
    """Workers by themselves: all of their memory without slices, what is not of files beside the slice with them."""
    _, _, memory = plan_of(c, "alone.json", "--shards", 1, "--probe-seconds", 0.001, "--threads", 1)
    total = memory["needs"]["total_bytes"]
    resident, _ = peak_of([c.program, "mine", "--plan", c.path("alone.json"), "--shard", 0, "--threads", 1, "--json"])
    rate("a worker with all items", total, resident)
    for slices in (3, 8):
        plan, _, memory = plan_of(c, "cut.json", "--shards", 1, "--item-slices", slices, "--probe-seconds", 0.001, "--threads", 1)
        parts = memory["needs"]
        check(parts["item_row_bytes"] == longest(slices) * DIM * 4, f"a slice of {slices}: {parts}")
        seen = []
        for search in (0, slices - 1):
            seen.append(peak_of([c.program, "mine", "--plan", c.path("cut.json"), "--search", search, "--threads", 1])[1])
        for search in range(1, slices - 1):
            c.mine("cut.json", search, what="--search")
        beside = parts["program_bytes"] + parts["item_row_bytes"] + parts["user_row_bytes"]
        # What is its own is foretold of mining among all items, which takes some more: it counts where slices are short.
        rate(f"a search of one of {slices} slices", parts["total_bytes"], max(seen) + beside, 1.6 if slices == 3 else 2)
        mining = peak_of([c.program, "mine", "--plan", c.path("cut.json"), "--shard", 0, "--threads", 1])[1]
        check(mining <= parts["total_bytes"], f"mining from {slices} slices took {mining} bytes of its own, {parts} foretold")
        shutil.rmtree(c.path("cut.shards"))


def test_rows_kept_packed(c):
    """All items are too many to keep their rows of 8 bits, a half is not: the workers of a half need these too."""
    if not json_of(quarry(c.program, "doctor", "--json").stdout)["cpu"]["first_pass"].startswith("8 bits"):
        print("searches do not go over 8 bits first here: left out", flush=True)
        return
    items, dim = 150_000, 256
    folder = c.path("packed")
    quarry(c.program, "synth", "--out", folder, "--users", USERS, "--items", items, "--dim", dim, "--leaks", 0)
    path = lambda name: os.path.join(folder, name)  # noqa: E731
    other = Cluster(c.program, folder, ["--items", path("items.npy"), "--users", path("users.npy"), "--events", path("events.csv"), "--recipe",
                                        "nv-perc", "--set", "metric=ip", "--rows-from", "users", "--threads", 1])
    own = []
    for slices in (1, 2):
        _, _, memory = plan_of(other, "packed.json", "--shards", 1, "--item-slices", slices, "--probe-seconds", 0.001)
        own.append(memory["needs"]["own_bytes"])
    packed = longest(2, items) * (dim + 12)
    check(abs(own[1] - own[0] - packed) < 4 * MIB, f"{own} bytes of its own, {packed} are packed of a half")
    seen = peak_of([c.program, "mine", "--plan", other.path("packed.json"), "--search", 0, "--threads", 1])[1]
    print(f"half of {items} items: of its own foretold {own[1] / MIB:.1f} MiB, seen {seen / MIB:.1f} MiB", flush=True)
    check(seen <= own[1], f"a search of a half took {seen} bytes of its own, {own[1]} foretold")
    shutil.rmtree(folder)


def drop_pages(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_within_the_limit(c):
    """Workers in a control group of the memory that was foretold read little more than what they check and search; and a plan that is made in
    one says that its items do not fit."""
    limit = 0
    for slices in (1, 4):
        _, _, memory = plan_of(c, f"of_{slices}.json", "--shards", 1, "--item-slices", slices, "--probe-seconds", 0.001, "--threads", 1)
        limit = memory["needs"]["total_bytes"]
    with group_of(limit) or tempfile.TemporaryDirectory() as group:
        if isinstance(group, str):
            print("skipped: no control group can be made here, so no worker ran within what was foretold", flush=True)
            return

        def run(*arguments):
            drop_pages(c.path("items.npy"))
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock
            done = subprocess.run([c.program, *map(str, arguments)], capture_output=True, text=True, preexec_fn=group.enter)
            check(done.returncode == 0, f"{arguments}: exit {done.returncode}: {done.stderr}")
            return (resource.getrusage(resource.RUSAGE_CHILDREN).ru_inblock - before) * 512, done.stderr

        for search in range(4):
            read, _ = run("mine", "--plan", c.path("of_4.json"), "--search", search, "--threads", 1)
            print(f"search {search} in {limit / MIB:.0f} MiB: {read / TABLE:.1f} tables read", flush=True)
            check(read < 4 * TABLE, f"a search in what was foretold read {read / TABLE:.1f} tables from the disk")
        run("mine", "--plan", c.path("of_4.json"), "--shard", 0, "--threads", 1)
        flags = ["shards", "plan", *c.inputs, "--shards", 1, "--threads", 1, "--probe-seconds", 0.001, "--out", c.path("inside.json")]
        _, words = run(*flags)
        memory = json.loads(text_of(c.path("inside.json")))["worker_memory"]
        page = resource.getpagesize()
        check(memory["bytes"] == limit // page * page and "control group" in memory["from"], f"the group's limit of {limit}: {memory}")
        check("warning: with all items a worker needs about" in words and "--item-slices auto" in words, f"no warning: {words}")
        _, words = run(*flags, "--item-slices", "auto")
        memory = json.loads(text_of(c.path("inside.json")))["worker_memory"]
        check(2 <= memory["item_slices"] <= 8 and "warning: with" not in words, f"auto in a control group: {memory} {words}")


def test_same_set(c, chosen):
    """Whatever was chosen, the set is that of one process."""
    hashes = {manifest_of(c.path("single"))["content_hash"]}
    for slices in (1, sorted(chosen)[1], sorted(chosen)[2]):
        memory = "64G" if slices == 1 else chosen[slices]
        plan, _, _ = plan_of(c, "set.json", "--shards", 2, "--item-slices", "auto", "--worker-memory", memory, "--rows-per-shard", 100)
        mine(c, "set.json", plan)
        quarry(c.program, "shards", "join", c.path("set.json"), "--out", c.path("joined"), "--overwrite", "--clean")
        hashes.add(manifest_of(c.path("joined"))["content_hash"])
        same_set(c.path("single"), c.path("joined"), f"{slices} slices")
        check(len(plan["work"].get("item_slices", [1])) > 1 or slices == 1, f"{slices} were chosen before, now {plan['work']}")
    check(len(hashes) == 1, f"hashes: {hashes}")


def test_refused(c):
    """What does not fit, or cannot be cut, and wrong use: exit code 2 and numbers."""
    def refused(words, *more):
        said = plan_of(c, "refused.json", "--shards", 2, *more, ok=(USAGE,))
        for word in words:
            check(word in said, f"{more}: {word!r} is not in: {said}")
        check(not os.path.exists(c.path("refused.json")), f"{more}: a plan was written")

    auto = ["--item-slices", "auto", "--worker-memory"]
    refused(["a worker has 20.0 MiB (--worker-memory)", "no number of slices up to 1875 is enough", "a worker needs about", "of its own",
             "give workers more memory"], *auto, "20MiB")
    refused(["--host-memory (it is 400M)"], *auto, "60M", "--host-memory", "400M", "--tile", 400, "--set", "branch.hard.source.pool=8000")
    refused(["prepared copy that every worker holds whole, so slices do not help", "58.6 MiB of prepared rows"], *auto, "90M", "--set",
            "metric=cosine")
    refused(["IVF16,Flat, so slices do not help"], *auto, "90M", "--retriever", "IVF16,Flat", "--index-cache", c.path("index"))
    refused(["--worker-memory: is 100.0 MiB, and with all items a worker needs", "--item-slices auto"], "--worker-memory", "100MiB")
    refused(["--worker-memory: is 50.0 MiB, and with 2 slices"], "--worker-memory", "50MiB", "--item-slices", 2)
    refused(["--worker-memory: 'lots' is not a size"], *auto, "lots")
    refused(["--item-slices: 'many' is neither auto nor a number from 1 to 4096"], "--item-slices", "many")
    refused(["--item-slices"], "--item-slices", 0)
    refused(["the retriever is Flat"], "--item-slices", 2, "--retriever", "Flat")


def test_one_slice(c):
    """What cannot be cut and fits is one slice, with a reason; and numbers that are checked and kept."""
    for more, why in ((["--set", "metric=cosine"], "prepared copy"), (["--retriever", "IVF16,Flat", "--index-cache", c.path("index")], "IVF16,Flat")):
        plan, words, memory = plan_of(c, "one.json", "--shards", 2, "--item-slices", "auto", "--worker-memory", "2G", *more)
        check(memory["item_slices"] == 1 and "item_slices" not in plan["work"], f"{more}: {memory}")
        check(f"it could not be cut: " in words and why in words, f"{more}: {words}")
    other = Cluster(c.program, c.folder, ["random" if value == "nv-perc" else value for value in c.inputs if value not in ("--rows-from", "users")])
    plan, words, memory = plan_of(other, "random.json", "--shards", 1, "--item-slices", "auto", "--worker-memory", "2G")
    check("no branch of the recipe searches" in words and memory["needs"]["item_row_bytes"] == 0, f"random: {words} {memory}")
    plan, words, memory = plan_of(c, "given.json", "--shards", 2, "--item-slices", 3, "--worker-memory", "2G", "--json")
    check(len(plan["work"]["item_slices"]) == 3 and not memory["chosen"] and memory["given"], f"three: {memory}")
    printed = json_of(quarry(c.program, "shards", "plan", *c.inputs, "--shards", 2, "--item-slices", "auto", "--worker-memory", "2G", "--json", "--out",
                             c.path("given.json")).stdout)
    check(printed["worker_memory"]["item_slices"] == 1 and printed["worker_memory"]["needs"]["total_bytes"] > TABLE, f"--json: {printed['worker_memory']}")
    _, words, memory = plan_of(c, "default.json", "--shards", 2, "--probe-seconds", 0)
    check(memory["item_slices"] == 1 and not memory["chosen"] and not memory["given"] and memory["is_estimate"], f"default: {memory}")
    check(memory["bytes"] > 0 and ("machine" in memory["from"] or "control group" in memory["from"]), f"default: {memory}")
    check("so this is an estimate" in words, words)


def test_many_rows(c):
    """Rows of a shard stay within a sixteenth of the memory where `auto` cuts them."""
    rows, limit = 150_000, None
    table = write_csv(c.path("rows.csv"), ["user", "item", "row_key"], [[r % USERS, r % 1000, r + 1] for r in range(rows)])
    inputs = [value for value in c.inputs if value not in ("--rows-from", "users")]
    many = Cluster(c.program, c.folder, [*inputs, "--rows", table])
    _, _, whole = plan_of(many, "many.json", "--shards", 1, "--probe-seconds", 0.001)
    limit = whole["needs"]["total_bytes"] - TABLE // 2
    seconds = ["--shards", "auto", "--shard-seconds", 86400]
    plan, words, memory = plan_of(many, "many.json", *seconds, "--item-slices", "auto", "--worker-memory", limit)
    most = max(shard["end_row"] - shard["first_row"] for shard in plan["shards"])
    check(memory["item_slices"] > 1 and len(plan["shards"]) == math.ceil(rows / (limit // 16 // 58)), f"{len(plan['shards'])} shards: {words}")
    check(memory["needs"]["shard_row_bytes"] == 58 * most and 58 * most <= 1.02 * limit / 16, f"{most} rows: {memory}")
    plan, _, _ = plan_of(many, "many.json", *seconds, "--item-slices", "auto", "--worker-memory", "64G")
    check(len(plan["shards"]) == 1, "shards of a plan without slices")


def test_refresh(c):
    """The next version of a store, by slices that were chosen: what `quarry refresh` adds."""
    run = [*c.inputs, "--store", c.path("store"), "--rows-per-shard", 100]
    quarry(c.program, "mine", *run, "--no-audit")
    write_csv(c.path("more.csv"), ["user", "item", "time", "kind", "value"], [[user, 5 * user % ITEMS, 1631530000 + user, "like", ""] for user in range(40)])
    shutil.copytree(c.path("store"), c.path("kept"), symlinks=True)
    news = ["--more-events", c.path("more.csv")]
    by_one = json_of(quarry(c.program, "refresh", c.path("store"), *news, "--json").stdout)
    shutil.rmtree(c.path("store"))
    os.rename(c.path("kept"), c.path("store"))
    flags = ["shards", "plan", "--refresh", c.path("store"), *news, "--shards", 2, "--out", c.path("next.json")]
    quarry(c.program, *flags, "--item-slices", "auto", "--worker-memory", "64G")
    memory = json.loads(text_of(c.path("next.json")))["worker_memory"]
    check(memory["item_slices"] == 1 and memory["needs"]["item_row_bytes"] == TABLE, f"64 GiB: {memory}")
    limit = memory["needs"]["total_bytes"] - TABLE // 2
    done = quarry(c.program, *flags, "--item-slices", "auto", "--worker-memory", limit)
    plan = json.loads(text_of(c.path("next.json")))
    slices = plan["worker_memory"]["item_slices"]
    check(slices > 1 and len(plan["work"]["item_slices"]) == slices and "the fewest by which" in done.stderr, f"a refresh: {done.stderr}")
    said = quarry(c.program, *flags[:-1], c.path("no.json"), "--item-slices", "auto", "--worker-memory", "20M", ok=(USAGE,)).stderr
    check("is enough" in said and not os.path.exists(c.path("no.json")), f"a refresh in 20 MiB: {said}")
    mine(c, "next.json", plan)
    joined = json_of(quarry(c.program, "shards", "join", c.path("next.json"), "--json").stdout)
    check((joined["version"], joined["content_hash"]) == (by_one["version"], by_one["content_hash"]), f"{joined} and {by_one}")
    check(joined["rows_mined"] > 0, f"nothing was mined: {joined}")
    _, _, memory = plan_of(c, "again.json", "--shards", 1, "--item-slices", "auto", "--worker-memory", "64G")
    check(memory["item_slices"] == 1, f"one slice is enough for 64 GB: {memory}")
    quarry(c.program, *flags, "--item-slices", "auto")  # nothing is to be mined
    check(json.loads(text_of(c.path("next.json")))["shards"] == [], "nothing is new")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        quarry(program, "synth", "--out", folder, "--users", USERS, "--items", ITEMS, "--dim", DIM, "--leaks", 0, "--force")
        c = Cluster(program, folder, [])
        c.inputs = ["--items", c.path("items.npy"), "--users", c.path("users.npy"), "--events", c.path("events.csv"), "--catalogue",
                    c.path("catalogue.csv"), "--as-of", 1631536000, "--recipe", "nv-perc", "--set", "metric=ip", "--rows-from", "users"]
        quarry(program, "mine", *c.inputs, "--rows-per-shard", 100, "--out", c.path("single"), "--no-audit")
        chosen = test_choice(c)
        test_real_workers(c)
        test_rows_kept_packed(c)
        test_within_the_limit(c)
        test_same_set(c, chosen)
        test_refused(c)
        test_one_slice(c)
        test_many_rows(c)
        test_refresh(c)
    finish()


if __name__ == "__main__":
    main()
