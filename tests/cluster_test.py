#!/usr/bin/env python3
"""`quarry shards`: the rows of a run mined in shards by processes that are doubled, killed, late, or on other inputs, joined into the set
that one process writes. The oracle is that process. Plans of refreshes have a file of their own (refresh_plan_test.py), and one case here.

  tests/cluster_test.py PROGRAM

QUARRY_TEST_SCALE above 1 ends and fails workers at more of their steps on disk.
"""
import errno
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from cluster import (ARRAY, BAD_DATA, FULL, GATE_FAILED, SHARDS, STOPPED, SUMS, USAGE, Cluster, flip_byte, json_of, reseal_plan, same_set,
                     seal, small_world, without_locks)
from program import check, finish, manifest_of, quarry, read_npy, shards_of, text_of, write_npy


def test_union(c, single):
    """Slurm's and Kubernetes' environment, three processes at a time, any order, one doubled and one killed."""
    plan = c.plan("plan.json", SHARDS)
    check(len(plan["shards"]) == SHARDS, f"{len(plan['shards'])} shards")
    check(plan["shards"][0]["first_row"] == 0 and plan["shards"][-1]["end_row"] == plan["work"]["rows"], "the plan's rows")
    check(all(a["end_row"] == b["first_row"] for a, b in zip(plan["shards"], plan["shards"][1:])), "a gap in the plan")
    again = c.plan("again.json", SHARDS, "--shard-folder", c.path("plan.shards"))
    check(again["plan_hash"] == plan["plan_hash"] and again["shards"] == plan["shards"], "a plan made twice differs")
    check(c.missing("plan.json") == f"0-{SHARDS - 1}", "all are missing before")

    order = [(7 * i + 3) % SHARDS for i in range(SHARDS) if (7 * i + 3) % SHARDS != 5]
    running = []
    for i, shard in enumerate(order + [3]):  # 3 is the first: doubled below
        if i == 0:
            running += [c.start("plan.json", array=ARRAY[0], number=shard), c.start("plan.json", array=ARRAY[1], number=shard)]
        elif shard != 3:
            running.append(c.start("plan.json", array=ARRAY[i % 2], number=shard))
        while len(running) >= 3:
            process = running.pop(0)
            _, words = process.communicate()
            check(process.returncode == 0, f"a worker ended with {process.returncode}: {words}")
    for process in running:
        process.communicate()
        check(process.returncode == 0, f"a worker ended with {process.returncode}")
    check(c.missing("plan.json") == "5", f"missing is {c.missing('plan.json')}")
    refused = quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("joined"), ok=(GATE_FAILED,))
    check("1 of 16 shards are missing: 5" in refused.stderr and not os.path.exists(c.path("joined")), "a join that is not complete")

    c.mine("plan.json", 5, ok=(-signal.SIGKILL,), QUARRY_CRASH_AT=30)
    check(c.missing("plan.json") == "5", "what a killed worker leaves is taken for a shard")
    check(len(c.status("plan.json")["unfinished"]) == 1, "a killed worker left nothing to see")
    quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("joined"), ok=(GATE_FAILED,))
    c.mine("plan.json", 5)
    state = c.status("plan.json")
    check(state["complete"] and state["unfinished"] == [] and state["rows_done"] == plan["work"]["rows"], f"the rest is done: {state}")
    check("there already" in c.mine("plan.json", 5), "a second time")
    check("there already" in c.mine("plan.json", 5, more=["--recheck"]), "a second time, mined again")

    joined = json_of(quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("joined"), "--json").stdout)
    check(joined["content_hash"] == manifest_of(single)["content_hash"], "the joined set's hash is not the single run's")
    same_set(single, c.path("joined"), "joined")
    quarry(c.program, "show", c.path("joined"))
    quarry(c.program, "audit", c.path("joined"))
    done = subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "..", "tools", "check_set"), c.path("joined"),
                           "--ranked-rows", "20"], capture_output=True, text=True)
    if "No module named" not in done.stderr:  # it needs NumPy
        check(done.returncode == 0, f"check_set on the joined set: {done.stdout}{done.stderr}")


def test_store(c, options):
    """A version: that of a single process in a store of its own, which refresh and mine know."""
    one, many = c.path("one_store"), c.path("many_store")
    quarry(c.program, "mine", *c.inputs, "--store", one, *options)
    told = json_of(quarry(c.program, "shards", "join", c.path("plan.json"), "--store", many, "--tag", "cluster", "--json").stdout)
    check(told["version"] == 1 and not told["was_there"], f"a version: {told['version']}")
    a, b = manifest_of(one, 1), manifest_of(many, 1)
    check(shards_of(one, 1) == shards_of(many, 1), "the version's shards")
    check(a["store"]["identity"] == b["store"]["identity"], "the version's identity")
    for key in ("common", "items", "snapshot", "num_items", "exact", "as_of"):
        check(a["store"]["basis"][key] == b["store"]["basis"][key], f"the version's basis: {key}")
    for key in SUMS:
        if key != "inputs":  # their paths are relative to another folder
            check(a["run"].get(key) == b["run"].get(key), f"the version's run.{key}")
    quarry(c.program, "verify", many)
    there = json_of(quarry(c.program, "mine", *c.inputs, "--store", many, *options, "--json").stdout)
    check(there["was_there"] and there["version"] == 1, "mine does not know the joined version")
    check(json_of(quarry(c.program, "shards", "join", c.path("plan.json"), "--store", many, "--json").stdout)["was_there"], "joined twice")
    # What rows stand on came along: a new event touches its user's rows alone.
    user, item = text_of(c.path("events.csv")).splitlines()[1].split(",")[:2]
    with open(c.path("more.csv"), "w", encoding="utf-8") as file:
        file.write(text_of(c.path("events.csv")).splitlines()[0] + f"\n{user},{item},1600000000,hide,\n")
    for store in (one, many):
        quarry(c.program, "refresh", store, "--more-events", c.path("more.csv"))
    a, b = manifest_of(one, 2), manifest_of(many, 2)
    check(shards_of(one, 2) == shards_of(many, 2), "refreshed versions differ")
    check(a["store"]["taken"]["mined"] == b["store"]["taken"]["mined"] < b["store"]["taken"]["rows"],
          f"refresh took over {b['store']['taken']} and {a['store']['taken']}")


def test_refresh(c):
    """The next version of many_store by shards of a plan, three processes at a time with Slurm's and Kubernetes' environment, one shard doubled
    and one missing at first; of one_store, which has the same versions, by one process."""
    one, many = c.path("one_store"), c.path("many_store")
    lines = text_of(c.path("events.csv")).splitlines()
    pairs = [(line.split(",")[0], after.split(",")[1]) for line, after in zip(lines[1:], lines[2:])]
    with open(c.path("night.csv"), "w", encoding="utf-8") as file:
        file.write(lines[0] + "\n" + "".join(f"{user},{item},1600000100,purchase,\n" for user, item in pairs[::160]))
    news = ["--more-events", c.path("night.csv")]
    whole = json_of(quarry(c.program, "refresh", one, *news, "--json").stdout)
    check(0 < whole["rows_mined"] < whole["rows"], f"the whole refresh mines {whole['rows_mined']} of {whole['rows']}")
    quarry(c.program, "shards", "plan", "--refresh", many, *news, "--shards", 8, "--probe-seconds", 0, "--out", c.path("night.json"))
    plan = json.loads(text_of(c.path("night.json")))
    check(len(plan["shards"]) == 8 and sum(shard["rows"] for shard in plan["shards"]) == whole["rows_mined"], f"shards: {plan['shards']}")
    check(c.missing("night.json") == "0-7", "all are missing before")
    work = [(0, 4), (1, 4)] + [(number % 2, number) for number in (7, 0, 6, 1, 3, 2)]  # 4 twice at a time, 5 by nobody
    running, said = [], []
    while work or running:
        while work and len(running) < 3:
            array, number = work.pop(0)
            running.append(c.start("night.json", array=ARRAY[array], number=number))
        process = running.pop(0)
        said.append(process.communicate()[1])
        check(process.returncode == 0, f"a worker ended with {process.returncode}: {said[-1]}")
    check(sum("shard 4 of 8" in words for words in said) == 2, f"shard 4 was not doubled: {said}")
    check(c.missing("night.json") == "5" and c.missing("night.json", "--verify") == "5", f"missing is {c.missing('night.json')}")
    state = c.status("night.json")
    check(state["rows"] == whole["rows_mined"] and state["rows_done"] == whole["rows_mined"] - plan["shards"][5]["rows"], f"the state: {state}")
    check(state["refresh"]["parent"] == 2, f"the state says of the refresh: {state['refresh']}")
    refused = quarry(c.program, "shards", "join", c.path("night.json"), ok=(GATE_FAILED,))
    check("1 of 8 shards are missing: 5" in refused.stderr and not os.path.exists(os.path.join(many, f"versions/v{3:020d}.json")),
          f"a join that is not complete: {refused.stderr}")
    c.mine("night.json", 5, ok=(-signal.SIGKILL,), QUARRY_CRASH_AT=20)
    check(c.missing("night.json") == "5", "what a killed worker leaves is taken for a shard")
    c.mine("night.json", "5")
    check("there already" in c.mine("night.json", 5, more=["--recheck"]), "a second time, mined again")
    joined = json_of(quarry(c.program, "shards", "join", c.path("night.json"), "--clean", "--json").stdout)
    check(joined["version"] == 3 and joined["content_hash"] == whole["content_hash"], f"joined is version {joined['version']}")
    check(not os.path.exists(c.path("night.shards")), "--clean left the shards")
    a, b = manifest_of(one, 3), manifest_of(many, 3)
    check(shards_of(one, 3) == shards_of(many, 3), "the version's shards")
    for key in ("identity", "parents", "model", "note", "taken", "rows_per_shard"):
        check(a["store"][key] == b["store"][key], f"store.{key} is {b['store'][key]}, by one process {a['store'][key]}")
    for key in SUMS:
        if key != "inputs":  # their paths are relative to another folder
            check(a["run"].get(key) == b["run"].get(key), f"the version's run.{key}")
    quarry(c.program, "verify", many)
    check(json_of(quarry(c.program, "refresh", f"{many}@2", *news, "--json").stdout)["was_there"], "refresh does not know the joined version")
    quarry(c.program, "audit", f"{many}@3")


def crash_at(c, step, behind):
    """False: there is no such step. True, and whether the shard is there."""
    shutil.rmtree(c.path("crash.shards"), ignore_errors=True)
    process = c.start("crash.json", 0, QUARRY_CRASH_AT=f"{step}{'+' if behind else ''}")
    process.communicate()
    if process.returncode == 0:
        return False, True
    check(process.returncode == -signal.SIGKILL, f"step {step}: exit {process.returncode}")
    is_there = "0" not in c.missing("crash.json").split("-")[0].split(",")
    check(("there already" in c.mine("crash.json", 0)) == is_there, f"step {step}: the next worker")
    check(c.missing("crash.json", "--verify") == "1-3", f"step {step}: {c.missing('crash.json', '--verify')} are missing")
    return True, is_there


def test_every_crash(c):
    """Ended at a step on disk, wherever: afterwards the shard is there whole or not at all, and the next worker makes it so.
    Returns how many steps there are."""
    plan = c.plan("crash.json", 4, "--rows-per-shard", "100")
    check(len(plan["shards"]) <= 4, "shards")
    every = 3 if FULL else 11
    crashes, step, committed = 0, 1, 0
    while True:  # the last steps, about the commit, one by one
        crashed, is_there = crash_at(c, step, crashes % 2)
        if not crashed and every == 1:
            break
        if not crashed:
            step, every = step - every + 1, 1
            continue
        crashes += 1
        committed += is_there
        step += every
    check(crashes >= 12 and committed >= 2, f"{crashes} crashes, {committed} behind the commit")
    return step - 1


def test_every_failure(c, steps):
    """A step on disk fails, or is done and says that it failed, as NFS does when an answer is lost: exit code 5 or 0, nothing between
    a shard and none, and nothing left aside."""
    ended = set()
    for step in range(1 if FULL else steps - 7, steps + 1):
        for behind in ("", "+"):
            shutil.rmtree(c.path("crash.shards"), ignore_errors=True)
            words = c.mine("crash.json", 0, ok=(0, 5, BAD_DATA), QUARRY_FAIL_AT=f"{step}{behind}:{errno.EIO}")
            is_there = os.path.exists(c.output("crash.json", 0))
            failed = "quarry: " in words
            check(is_there or "quarry: I/O" in words, f"step {step}{behind} fails: {words}")
            check(not failed or "planted" in words, f"step {step}{behind} fails: {words}")
            check(c.missing("crash.json", "--verify") == ("1-3" if is_there else "0-3"), f"step {step}{behind} fails: half a shard")
            check(glob.glob(c.path("crash.shards", ".*")) == [], f"step {step}{behind} fails: something is left")
            ended.add((is_there, failed))
    check(ended == {(False, True), (True, True), (True, False)}, f"failures ended as {ended}")


def test_other_machine(c):
    """The folder of a worker on a node with the same host name, as two pods of a shard have, is not removed: its lock cannot be seen."""
    c.plan("namesake.json", 1)
    name = os.path.basename(c.output("namesake.json", 0))
    host = re.sub(r"[^A-Za-z0-9]", "_", os.uname().nodename)
    folder = c.path("namesake.shards", f".{name}.partial-{host}-00000000-1-0")
    os.makedirs(folder)
    open(os.path.join(folder, "WRITER"), "w").close()
    c.mine("namesake.json", 0)
    check(os.path.exists(os.path.join(folder, "WRITER")), "a folder of another machine's worker was removed")


def test_no_locks(c):
    """On a file system without locks, shards are made as elsewhere; only what is left of killed workers stays."""
    deny = without_locks()
    if deny is None:
        return
    c.plan("unlocked.json", 2)
    command = [c.program, "mine", "--plan", c.path("unlocked.json"), "--shard", "0", "--threads", "1"]
    subprocess.run(command, env={**os.environ, "QUARRY_CRASH_AT": "30"}, preexec_fn=deny, capture_output=True)
    done = subprocess.run(command, preexec_fn=deny, capture_output=True, text=True)
    check(done.returncode == 0, f"without locks: exit {done.returncode}: {done.stderr}")
    check(len(os.listdir(c.path("unlocked.shards"))) == 2, f"without locks: {os.listdir(c.path('unlocked.shards'))[:9]}")
    check(c.missing("unlocked.json", "--verify") == "1", "a shard made without locks")
    c.mine("unlocked.json", 1)
    quarry(c.program, "shards", "join", c.path("unlocked.json"), "--out", c.path("unlocked"), "--clean")
    check(not os.path.exists(c.path("unlocked.shards")), "--clean left something")


def test_places(c):
    """Plans behind links, and folders for shards that cannot be."""
    first = c.plan("linked.json", 2)
    os.mkdir(c.path("links"))
    link = os.path.join("links", "plan.json")
    os.symlink(os.path.join("..", "linked.json"), c.path(link))
    c.mine(link, 0)
    check(c.missing("linked.json") == c.missing(link) == "1", "a plan that is a link")
    again = c.plan(link, 2)
    check(os.path.islink(c.path(link)) and json.loads(text_of(c.path("linked.json")))["plan_hash"] == first["plan_hash"] == again["plan_hash"],
          "a plan written through a link")
    check(c.missing("linked.json") == "1", "shards of a plan written through a link")
    os.mkdir(c.path("deep"))
    os.mkdir(c.path("deep", "er"))
    os.symlink(c.path("deep", "er"), c.path("up"))
    c.plan(os.path.join("up", "..", "plan.json"), 2)  # in deep, not here
    c.mine(os.path.join("deep", "plan.json"), 1)
    check(c.missing(os.path.join("deep", "plan.json")) == "0", "a plan above a link's folder")
    c.plan("called.shards", 2)
    c.mine("called.shards", 0)
    check(c.missing("called.shards") == "1", "a plan that is called .shards")
    for folder in ("no/such", "items.npy", "never.json"):
        refused = c.plan("never.json", 2, "--shard-folder", c.path(folder), ok=(5,))
        check("--shard-folder" in refused.stderr and not os.path.exists(c.path("never.json")), f"shards in {folder}: {refused.stderr}")
    c.plan("slash.json", 2, "--shard-folder", c.path("slashed") + "/")
    c.mine("slash.json", 0)
    check(c.missing("slash.json") == "1" and os.path.exists(c.path("slashed")), "a folder with a slash behind")


def test_other_device(c, single):
    """A plan of workers with GPUs is joined where there is none."""
    plan = c.plan("gpu.json", 2)
    plan["run"]["options"]["device"] = "cuda:0"
    reseal_plan(c.path("gpu.json"), plan)
    for shard in range(2):
        c.mine("gpu.json", shard, more=["--device", "cpu"])
    quarry(c.program, "shards", "join", c.path("gpu.json"), "--out", c.path("gpu"))
    quarry(c.program, "shards", "join", c.path("gpu.json"), "--store", c.path("gpu_store"))
    for manifest in (manifest_of(c.path("gpu")), manifest_of(c.path("gpu_store"), 1)):
        check(manifest["content_hash"] == manifest_of(single)["content_hash"], "joined on another device")
        check(manifest["run"]["options"]["device"] == "cuda:0", f"the run's device: {manifest['run']['options']['device']}")


def test_stop(c):
    """SIGTERM while rows are mined: exit code 75, nothing is left."""
    c.plan("stop.json", 1)
    process = c.start("stop.json", 0, more=["--tile", "1"])
    end = time.monotonic() + 60
    while not glob.glob(c.path("stop.shards", ".*.partial-*")) and time.monotonic() < end and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGTERM)
    _, words = process.communicate()
    check(process.returncode == STOPPED, f"SIGTERM: exit {process.returncode}: {words}")
    check(os.listdir(c.path("stop.shards")) == [], f"left behind: {os.listdir(c.path('stop.shards'))}")
    check(c.missing("stop.json") == "0", "a stopped shard is there")


def test_changed_inputs(c):
    c.plan("changed.json", 3)
    c.mine("changed.json", 0)
    events, text = c.path("events.csv"), text_of(c.path("events.csv"))
    lines = text.splitlines(keepends=True)
    swapped = "".join([lines[0], lines[2], lines[1], *lines[3:]])
    for change, words in ((text + lines[-1], "bytes and had"), (swapped, "not as when")):
        with open(events, "w", encoding="utf-8", newline="") as file:
            file.write(change)
        said = c.mine("changed.json", 1, ok=(BAD_DATA,))
        check("events.csv" in said and words in said, f"changed events: {said}")
    check(c.missing("changed.json") == "1-2", "a shard of changed inputs is kept")
    with open(events, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    c.mine("changed.json", 1)
    c.mine("changed.json", 2)
    with open(events, "w", encoding="utf-8", newline="") as file:
        file.write(swapped)
    quarry(c.program, "shards", "join", c.path("changed.json"), "--out", c.path("changed"), ok=(BAD_DATA,))
    with open(events, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    check(not os.path.exists(c.path("changed")), "joined of changed inputs")


def test_damage(c, single):
    """Flipped bytes: in an answer, in what a row stands on, in the manifest."""
    c.plan("damage.json", 3)
    for shard in range(3):
        c.mine("damage.json", shard)
    columns = glob.glob(os.path.join(c.output("damage.json", 1), "s*", "score.npy"))
    flip_byte(columns[0], 140)
    check(c.missing("damage.json") == "", "a damage that nobody looked for")
    check(c.missing("damage.json", "--verify") == "1", "a damage that was looked for")
    refused = quarry(c.program, "shards", "join", c.path("damage.json"), "--out", c.path("damage"), ok=(GATE_FAILED,))
    check("score.npy" in refused.stderr and "damaged: 1" in refused.stderr, f"join of a damaged shard: {refused.stderr}")
    check(not os.path.exists(c.path("damage")), "joined of a damaged shard")
    said = c.mine("damage.json", 1)
    check("is damaged" in said and "mined again" in said, f"a damaged shard: {said}")
    flip_byte(glob.glob(os.path.join(c.output("damage.json", 2), "bases", "*"))[0], 150)
    check(c.missing("damage.json", "--verify") == "2", "a damaged basis")
    c.mine("damage.json", 2)
    counters = os.path.join(c.output("damage.json", 0), "manifest.json")
    flip_byte(counters, re.compile(r"\d").search(text_of(counters), text_of(counters).rindex('"numbers": [')).start())
    json.loads(text_of(counters))  # another number, no other fault
    check(c.missing("damage.json", "--verify") == "0", "a damaged counter")
    check("mined again" in c.mine("damage.json", 0), "a damaged counter is kept")
    os.remove(os.path.join(c.output("damage.json", 0), "manifest.json"))
    check(c.missing("damage.json") == "0", "a shard without manifest")
    c.mine("damage.json", 0)
    quarry(c.program, "shards", "join", c.path("damage.json"), "--out", c.path("damage"), "--clean")
    check(manifest_of(c.path("damage"))["content_hash"] == manifest_of(single)["content_hash"], "mended and joined")
    check(not os.path.exists(c.path("damage.shards")), "--clean left the shards")
    quarry(c.program, "show", c.path("damage"))


def test_mixed_plans(c):
    """Two plans in one folder, and a shard of one in the place of the other's."""
    folder = ["--shard-folder", c.path("mixed")]
    c.plan("one.json", 2, *folder)
    c.plan("two.json", 2, *folder, "--seed", 1)
    for shard in range(2):
        c.mine("two.json", shard)
    check(c.missing("one.json") == "0-1", "another plan's shards count")
    place, other = c.output("one.json", 0), c.output("two.json", 0)
    shutil.copytree(other, place)
    for command in (["shards", "missing", c.path("one.json")], ["shards", "join", c.path("one.json"), "--out", c.path("mixture")]):
        check("of another plan" in quarry(c.program, *command, ok=(BAD_DATA,)).stderr, f"{command[1]} of a foreign shard")
    check("of another plan" in c.mine("one.json", 0, ok=(BAD_DATA,)) and os.path.exists(place), "a foreign shard is mined over")
    # One that says it is this plan's, as a worker that computes otherwise would write.
    forged = manifest_of(place)
    forged["part"]["plan"] = json.loads(text_of(c.path("one.json")))["plan_hash"]
    os.chmod(os.path.join(place, "manifest.json"), 0o600)
    with open(os.path.join(place, "manifest.json"), "w", encoding="utf-8") as file:
        json.dump(forged, file)
    seal(place)
    said = c.mine("one.json", 0, ok=(BAD_DATA,), more=["--recheck"])
    check("differs from what was made now in the negatives" in said, f"a shard of other answers: {said}")
    check(glob.glob(c.path("mixed", ".*")) == [], "the refused shard is left behind")


def test_usage(c):
    c.mine("plan.json", SHARDS, ok=(USAGE,))
    c.mine("plan.json", "x", ok=(USAGE,))
    check("is set" in c.mine("plan.json", "env", ok=(USAGE,)), "no number in the environment")
    said = c.mine("plan.json", 0, ok=(USAGE,), more=["--seed", 3, "--recipe", "random"])
    check("--seed" in said and "--recipe" in said, f"flags beside a plan: {said}")
    quarry(c.program, "mine", "--plan", c.path("plan.json"), ok=(USAGE,))
    for shards in ("0", "3401", "many"):
        c.plan("no.json", shards, ok=(USAGE,))
    check(not os.path.exists(c.path("no.json")), "a plan of a wrong number of shards")
    quarry(c.program, "shards", "join", c.path("plan.json"), ok=(USAGE,))
    quarry(c.program, "shards", "join", c.path("plan.json"), "--out", c.path("joined"), ok=(5,))
    edited = json.loads(text_of(c.path("plan.json")))
    edited["run"]["options"]["seed"] = 7
    with open(c.path("edited.json"), "w", encoding="utf-8") as file:
        json.dump(edited, file)
    check("was edited" in c.mine("edited.json", 0, ok=(BAD_DATA,)), "an edited plan")
    moved = json.loads(text_of(c.path("plan.json")))
    moved["shards"][3]["first_row"] += 1
    with open(c.path("edited.json"), "w", encoding="utf-8") as file:
        json.dump(moved, file)
    c.mine("edited.json", 0, ok=(BAD_DATA,))
    auto = c.plan("auto.json", "auto")
    check(len(auto["shards"]) == 1 and auto["estimate"]["mine_seconds"] < 60, f"a second of work is cut: {auto['estimate']}")
    auto = c.plan("auto.json", "auto", "--shard-seconds", auto["estimate"]["mine_seconds"] / 10)
    check(2 <= len(auto["shards"]) <= 200, f"{len(auto['shards'])} shards of a tenth of the time")
    c.plan("auto.json", 3, "--shard-seconds", 1, ok=(USAGE,))
    # A plan reached by a link, from which ".." leads elsewhere.
    os.mkdir(c.path("sub"))
    c.plan(os.path.join("sub", "plan.json"), 2)
    os.makedirs(c.path("far", "away"))
    os.symlink(c.path("sub"), c.path("far", "away", "link"))
    c.mine(os.path.join("far", "away", "link", "plan.json"), 0)
    check(c.missing(os.path.join("sub", "plan.json")) == "1", "a shard of a plan behind a link")
    with open(c.path("flags.toml"), "w", encoding="utf-8") as file:
        file.write("".join(f"{flag[2:]} = {json.dumps(value)}\n" for flag, value in zip(c.inputs[::2], c.inputs[1::2])))
    quarry(c.program, "shards", "plan", "--config", c.path("flags.toml"), "--shards", SHARDS, "--out", c.path("toml.json"), "--shard-folder",
           c.path("plan.shards"))
    check(c.missing("toml.json") == "", "a plan of a config file is another one")


def test_slurm_script(c):
    """examples/slurm/mine.sbatch, with commands that stand for Slurm's."""
    c.plan("slurm.json", 3)
    os.mkdir(c.path("bin"))
    for name, text in (("srun", 'exec "$@"'), ("scontrol", f'echo "$@" >> {c.path("requeued")}'), ("quarry", f'exec {c.program} "$@"')):
        with open(c.path("bin", name), "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n{text}\n")
        os.chmod(c.path("bin", name), 0o700)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "examples", "slurm", "mine.sbatch")

    def task(number, **env):
        env = {**os.environ, "PATH": c.path("bin") + ":" + os.environ["PATH"], "PLAN": c.path("slurm.json"), "SLURM_ARRAY_JOB_ID": "9",
               "SLURM_ARRAY_TASK_ID": str(number), "SLURM_CPUS_PER_TASK": "1", **env}
        return subprocess.run(["bash", script], env=env, capture_output=True, text=True)

    for number in (0, 2):
        done = task(number)
        check(done.returncode == 0, f"task {number}: {done.returncode}: {done.stderr}")
    check(c.missing("slurm.json") == "1", "tasks of an array")
    check(task(7).returncode == USAGE and not os.path.exists(c.path("requeued")), "a wrong number is tried again")
    check(task(1, QUARRY_FAIL_AT="9").returncode == 5 and text_of(c.path("requeued")) == "requeue 9_1\n", "a full disk is not tried again")
    check(task(1, QUARRY_FAIL_AT="9", SLURM_RESTART_COUNT="3").returncode == 5, "a full disk")
    check(text_of(c.path("requeued")) == "requeue 9_1\n", "tried for ever")
    with open(c.path("bin", "srun"), "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\nexit 75\n")
    check(task(1).returncode == STOPPED and text_of(c.path("requeued")) == "requeue 9_1\n", "what scancel stopped comes back")
    with open(c.path("bin", "srun"), "w", encoding="utf-8") as file:
        file.write('#!/bin/sh\nexec "$@"\n')
    check(task(0, OFFSET="1").returncode == 0 and c.missing("slurm.json") == "", "the last task, beyond the numbers of an array")
    c.plan("slurm_sliced.json", 1, "--item-slices", 2)
    for number in (0, 1):
        done = task(number, PLAN=c.path("slurm_sliced.json"), TASK="search")
        check(done.returncode == 0, f"search {number} of an array: {done.stderr}")
    check(c.missing("slurm_sliced.json", "--searches") == "", "searches of an array")
    check(task(0, PLAN=c.path("slurm_sliced.json")).returncode == 0 and c.missing("slurm_sliced.json") == "", "a shard of slices of an array")


def test_left_out(c):
    """Vectors that cannot be scored, ids that are not known and rows beyond a limit: what shards leave out and count adds up."""
    for table, bad in (("items", (7, 300)), ("users", (3, 4, 90))):
        numbers, shape = read_npy(c.path(table + ".npy"))
        numbers = list(numbers)
        for row in bad:
            numbers[row * shape[1]] = float("nan")
        write_npy(c.path(f"bad_{table}.npy"), numbers, shape)
    with open(c.path("strange.csv"), "w", encoding="utf-8") as file:
        file.write(text_of(c.path("events.csv")) + "no_such_user,5,1600000000,purchase,\n3,no_such_item,1600000000,purchase,\n")
    inputs = list(c.inputs)
    for flag, name in (("--items", "bad_items.npy"), ("--users", "bad_users.npy"), ("--events", "strange.csv")):
        inputs[inputs.index(flag) + 1] = c.path(name)
    inputs[inputs.index("--recipe") + 1] = "nv-perc"
    inputs += ["--bad-rows", "drop", "--unknown-ids", "drop", "--limit-rows", 700, "--seed", 11, "--set", "k=5"]
    odd = Cluster(c.program, c.folder, inputs)
    plan = odd.plan("odd.json", 7)
    check(plan["work"]["rows"] == 700, f"rows of the plan: {plan['work']['rows']}")
    quarry(c.program, "mine", *inputs, "--rows-per-shard", plan["work"]["rows_per_shard"], "--out", c.path("odd_single"))
    for shard in reversed(range(len(plan["shards"]))):
        odd.mine("odd.json", shard)
    quarry(c.program, "shards", "join", c.path("odd.json"), "--out", c.path("odd"))
    dropped = manifest_of(c.path("odd_single"))["run"]["dropped"]
    check(dropped["bad_rows"] > 0 and dropped["bad_items"] == 2, f"nothing is left out: {dropped}")
    same_set(c.path("odd_single"), c.path("odd"), "with rows left out")


def test_approximate(c):
    """An index that all search alike: made once, with the plan, and the same for all."""
    refused = c.plan("ivf.json", 3, "--retriever", "IVF4,Flat", ok=(USAGE,))
    check("--index-cache" in refused.stderr, f"an index of each worker's own: {refused.stderr}")
    index = ["--retriever", "IVF4,Flat", "--nprobe", 2, "--index-cache", c.path("index.faiss")]
    quarry(c.program, "mine", *c.inputs, *index, "--out", c.path("ivf_single"))
    c.plan("ivf.json", 3, *index)
    for shard in range(3):
        c.mine("ivf.json", shard)
    joined = json_of(quarry(c.program, "shards", "join", c.path("ivf.json"), "--out", c.path("ivf"), "--json").stdout)
    check(joined["content_hash"] == manifest_of(c.path("ivf_single"))["content_hash"], "shards of an approximate index")
    check("its own rows" in joined["run"]["recall"]["why"], f"recall: {joined['run']['recall']}")
    check(manifest_of(c.output("ivf.json", 1))["run"]["recall"]["rows"] > 0, "recall of a shard")
    flip_byte(c.path("index.faiss"), os.path.getsize(c.path("index.faiss")) - 9)
    shutil.rmtree(c.output("ivf.json", 2))
    check("another index" in c.mine("ivf.json", 2, ok=(BAD_DATA,)), "another index")


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        c, single, rows_per_shard = small_world(program, folder, SHARDS)
        test_union(c, single)
        test_store(c, ["--rows-per-shard", rows_per_shard])
        test_refresh(c)
        test_every_failure(c, test_every_crash(c))
        test_other_machine(c)
        test_no_locks(c)
        test_places(c)
        test_other_device(c, single)
        test_stop(c)
        test_changed_inputs(c)
        test_damage(c, single)
        test_mixed_plans(c)
        test_usage(c)
        test_slurm_script(c)
        test_left_out(c)
        test_approximate(c)
    finish()


if __name__ == "__main__":
    main()
