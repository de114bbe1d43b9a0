#!/usr/bin/env python3
"""Plans whose items are cut too: searches of slices by processes that are doubled, killed or late, whose files are damaged or missing, and
the shards mined from them. The oracle is the set that one process writes.

  tests/item_slices_test.py PROGRAM
"""
import glob
import json
import os
import signal
import sys
import tempfile
import time

from cluster import ARRAY, BAD_DATA, GATE_FAILED, STOPPED, USAGE, Cluster, flip_byte, json_of, reseal_plan, same_set, small_world
from program import check, finish, manifest_of, quarry, text_of

SHARDS, SLICES = 4, 3
SEARCHES = SHARDS * SLICES


def search_file(c, plan, search, slices=SLICES):
    text = json.loads(text_of(c.path(plan)))
    return os.path.join(c.folder, text["outputs"], f"{text['shards'][search // slices]['output']}.items-{search % slices:04}")


def left_over(c, plan):
    return glob.glob(os.path.join(c.path(plan.replace(".json", ".shards")), ".*.partial-*"))


def missing_searches(c, plan, *more):
    return c.missing(plan, "--searches", *more)


def test_union(c, single):
    """Three processes at a time, in no order, some numbered by a job array; one doubled, one killed, one stopped."""
    plan = c.plan("plan.json", SHARDS, "--item-slices", SLICES)
    slices = plan["work"]["item_slices"]
    check(len(plan["shards"]) == SHARDS and len(slices) == SLICES, f"{len(plan['shards'])} shards, {len(slices)} slices")
    check(slices[0][0] == 0 and slices[-1][1] == 600 and all(a[1] == b[0] for a, b in zip(slices, slices[1:])), f"slices: {slices}")
    check(missing_searches(c, "plan.json") == f"0-{SEARCHES - 1}" and c.missing("plan.json") == f"0-{SHARDS - 1}", "all are missing before")

    words = c.mine("plan.json", 0, ok=(GATE_FAILED,))
    check("0-2" in words and "--search" in words, f"a shard before its searches: {words}")
    order = [(5 * i + 2) % SEARCHES for i in range(SEARCHES) if (5 * i + 2) % SEARCHES != 4]
    running = [c.start("plan.json", array=ARRAY[0], number=order[0], what="--search")]  # doubled: the next is the same
    for i, search in enumerate(order):
        running.append(c.start("plan.json", array=ARRAY[i % 2], number=search, what="--search"))
        while len(running) >= 3:
            process = running.pop(0)
            _, words = process.communicate()
            check(process.returncode == 0, f"a search ended with {process.returncode}: {words}")
    for process in running:
        process.communicate()
        check(process.returncode == 0, f"a search ended with {process.returncode}")
    check(missing_searches(c, "plan.json") == "4", f"missing is {missing_searches(c, 'plan.json')}")

    for step in range(1, 30):  # killed at each of its steps on disk: the file is there whole or not at all
        c.start("plan.json", 4, what="--search", QUARRY_CRASH_AT=step).communicate()
        there = os.path.exists(search_file(c, "plan.json", 4))
        check((missing_searches(c, "plan.json", "--verify") == "4") != there, f"killed at step {step}")
        if there:
            break
    check(3 < step < 29 and there, f"{step} steps of a search")
    os.remove(search_file(c, "plan.json", 4))
    check(c.start("plan.json", 4, what="--search", QUARRY_CRASH_AT=3).wait() == -signal.SIGKILL, "not killed")
    check(left_over(c, "plan.json") != [], "a killed search left nothing")
    check(len(c.status("plan.json")["unfinished"]) == len(left_over(c, "plan.json")), "what it left is not told")
    c.mine("plan.json", 4, what="--search")
    check(left_over(c, "plan.json") == [], "the next worker leaves what a killed one left")
    check("there already" in c.mine("plan.json", 4, what="--search"), "a second time")
    state = c.status("plan.json")
    check(state["searches"] == SEARCHES and state["searches_missing"] == [], f"all searched: {state}")

    for shard in (2, 0, 3, 1):
        c.mine("plan.json", shard, more=["--tile", str(7 + shard)])
    check("there already" in c.mine("plan.json", 2, more=["--recheck"]), "mined again from the same searches")
    joined = json_of(quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("joined"), "--json").stdout)
    check(joined["content_hash"] == manifest_of(single)["content_hash"], "the joined set's hash is not the single run's")
    same_set(single, c.path("joined"), "joined")
    quarry(c.program, "audit", c.path("joined"))


def test_damage(c):
    """A bit flips in a search's file: who reads it puts it aside, and says what to search again."""
    os.chmod(search_file(c, "plan.json", 7), 0o600)
    flip_byte(search_file(c, "plan.json", 7), 1000)
    plan = json.loads(text_of(c.path("plan.json")))
    shard = os.path.join(c.folder, plan["outputs"], plan["shards"][2]["output"])
    check(missing_searches(c, "plan.json", "--verify") == "", "a shard that is there needs no search")
    os.rename(shard, c.path("aside"))
    check(missing_searches(c, "plan.json") == "" and missing_searches(c, "plan.json", "--verify") == "7", "damage is not told")
    words = c.mine("plan.json", 2, ok=(GATE_FAILED,))
    check(".damaged-1" in words and "missing: 7" in words, f"a damaged search: {words}")
    check(missing_searches(c, "plan.json") == "7", "the damaged file is in its place")
    c.mine("plan.json", 7, what="--search")
    flip_byte(search_file(c, "plan.json", 6), 20)
    check("is searched again" in c.mine("plan.json", 6, what="--search"), "a worker takes a damaged file")
    os.replace(search_file(c, "plan.json", 8), search_file(c, "plan.json", 5))  # whole, but another one's
    check("is not search 5" in c.mine("plan.json", 5, what="--search"), "another search's file")
    check(c.missing("plan.json", "--searches") == "8", "moved away")
    c.mine("plan.json", 8, what="--search")
    c.mine("plan.json", 2)
    quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("again"), "--clean")
    check(manifest_of(c.path("again"))["content_hash"] == manifest_of(c.path("joined"))["content_hash"], "mined after damage")
    check(not os.path.exists(c.path("plan.shards")), f"--clean left {os.listdir(c.folder)}")


def test_every_failure(c):
    """A disk that fails at each step of a search: exit code 5, nothing is left, and the next try makes it."""
    c.plan("failing.json", 1, "--item-slices", 2)
    step = 0
    while True:
        step += 1
        process = c.start("failing.json", 0, what="--search", QUARRY_FAIL_AT=step)
        words = process.communicate()[1]
        there = os.path.exists(search_file(c, "failing.json", 0, 2))
        check(left_over(c, "failing.json") == [], f"failing step {step} leaves {left_over(c, 'failing.json')}")
        if process.returncode == 0:
            break
        check(process.returncode == 5 and "planted" in words, f"failing step {step}: exit {process.returncode}: {words}")
        if there:  # the last step: the folder's entry is not durable
            os.remove(search_file(c, "failing.json", 0, 2))
    check(step > 4, f"{step} steps")
    check("there already" in c.mine("failing.json", 0, what="--search"), "after the failures")


def test_recipes(c):
    """Slices for other recipes and metrics: draws, near items, cosine; more slices than lists are long."""
    for recipe, slices, more in (("nv-perc", 5, []), ("balanced", 18, ["--set", "metric=cosine"]), ("ance", 2, ["--set", "metric=l2"])):
        inputs = [recipe if value == "balanced" else value for value in c.inputs]
        other = Cluster(c.program, c.folder, [*inputs, *more])
        plan = other.plan("other.json", 2, "--item-slices", slices)
        quarry(c.program, "mine", *other.inputs, "--rows-per-shard", plan["work"]["rows_per_shard"], "--out", c.path("other"))
        for search in range(2 * slices):
            other.mine("other.json", search, what="--search")
        for shard in range(2):
            other.mine("other.json", shard)
        quarry(c.program, "shards", "join", c.path("other.json"), "--out", c.path("other_joined"), "--clean")
        same_set(c.path("other"), c.path("other_joined"), recipe)
        quarry(c.program, "mine", *other.inputs, "--out", c.path("other"), "--overwrite")
        for name in ("other", "other.old", "other_joined"):
            os.rename(c.path(name), c.path(f"{name}.{recipe}"))


def test_usage(c):
    def refused(words, *more, ok=USAGE):
        done = c.plan("refused.json", 2, *more, ok=(ok,))
        check(words in done.stderr, f"{more}: {done.stderr}")

    refused("600 items make at most 18 slices", "--item-slices", 19)
    refused("--item-slices", "--item-slices", 0)
    refused("searched exactly", "--item-slices", 2, "--retriever", "IVF8,Flat", "--index-cache", c.path("index"))
    for metric, noted in (("cosine", True), ("ip", False)):  # 600 items of 16 numbers
        done = quarry(c.program, "shards", "plan", *c.inputs, "--set", f"metric={metric}", "--shards", 2, "--item-slices", 2, "--probe-seconds", 0,
                      "--out", c.path("noted.json"))
        check(("every worker holds 37.5 KiB of prepared rows" in done.stderr) == noted, f"{metric}: {done.stderr}")
        os.remove(c.path("noted.json"))
    plain = c.plan("plain.json", 2)
    check("item_slices" not in plain["work"], "a plan without slices names some")
    c.plan("sliced.json", 2, "--item-slices", 2)
    for plan, args, words in (("plain.json", ["--search", "0"], "has no slices"), ("sliced.json", ["--search", "4"], "searches 0 to 3"),
                              ("sliced.json", ["--search", "x"], "'x' is no search"), ("sliced.json", ["--search", "env"], "--search env"),
                              ("sliced.json", ["--search", "0", "--shard", "0"], "instead of"),
                              ("sliced.json", ["--search", "0", "--recheck"], "instead of")):
        done = quarry(c.program, "mine", "--plan", c.path(plan), *args, ok=(USAGE,))
        check(words in done.stderr, f"{plan} {args}: {done.stderr}")
    done = quarry(c.program, "mine", "--search", "0", *c.inputs, "--out", c.path("never"), ok=(USAGE,))
    check("--plan" in done.stderr, f"--search without a plan: {done.stderr}")
    done = quarry(c.program, "mine", "--plan", c.path("sliced.json"), "--search", "0", "--device", "cuda", ok=(USAGE, 7))
    check("cpu" in done.stderr or "CUDA" in done.stderr, f"slices on a GPU: {done.stderr}")


def test_changed_inputs(c):
    """Events that were appended to, and a stop."""
    c.mine("sliced.json", 0, what="--search")
    with open(c.path("events.csv"), "r+", encoding="utf-8") as file:
        whole = file.read()
        file.write(whole.splitlines()[1] + "\n")
    check("events.csv" in c.mine("sliced.json", 1, ok=(BAD_DATA,), what="--search"), "a search of changed inputs")
    with open(c.path("events.csv"), "w", encoding="utf-8") as file:
        file.write(whole)


def test_stop(c):
    """SIGTERM while a search writes: exit code 75, and nothing is left."""
    folder = c.path("long")
    quarry(c.program, "synth", "--out", folder, "--users", 4000, "--items", 20000, "--dim", 64, "--leaks", 0, "--force")
    name = lambda file: os.path.join(folder, file)  # noqa: E731
    long = Cluster(c.program, c.folder, ["--items", name("items.npy"), "--users", name("users.npy"), "--events", name("events.csv"),
                                         "--catalogue", name("catalogue.csv"), "--recipe", "balanced"])
    long.plan("long.json", 1, "--item-slices", 2)
    process = long.start("long.json", 0, what="--search", more=["--tile", "32"])
    while process.poll() is None and left_over(c, "long.json") == []:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    check(process.returncode == STOPPED, f"a stopped search: exit {process.returncode}")
    check(left_over(c, "long.json") == [] and missing_searches(c, "long.json") == "0-1", "a stopped search left something")


def test_hostile_plans(c):
    """Plans with the right hash whose slices are not all of the items are refused, by searches and by shards."""
    for name, slices, words in (("short", [[0, 320], [320, 576]], "end with item 575"), ("long", [[0, 320], [320, 640]], "end with item 639"),
                                ("gap", [[0, 320], [352, 600]], "not one behind the other"), ("odd", [[0, 100], [100, 600]], "not one behind"),
                                ("real", [[0, 320.5], [320.5, 600]], "not one behind"), ("three", [[0, 320, 1], [320, 600]], "not one behind"),
                                ("text", "all", "not one behind"), ("below", [[0, -32], [-32, 600]], "not one behind")):
        plan = json.loads(text_of(c.path("sliced.json")))
        plan["work"]["item_slices"] = slices
        reseal_plan(c.path(f"{name}.json"), plan)
        for what in ("--search", "--shard"):
            done = quarry(c.program, "mine", "--plan", c.path(f"{name}.json"), what, 0, ok=(BAD_DATA, GATE_FAILED))
            refused = words in done.stderr or (what == "--shard" and done.returncode == GATE_FAILED)
            check(refused, f"{name} {what}: exit {done.returncode}: {done.stderr}")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        c, single, _ = small_world(program, folder, SHARDS)
        test_union(c, single)
        test_damage(c)
        test_every_failure(c)
        test_recipes(c)
        test_usage(c)
        test_changed_inputs(c)
        test_stop(c)
        test_hostile_plans(c)
    finish()


if __name__ == "__main__":
    main()
