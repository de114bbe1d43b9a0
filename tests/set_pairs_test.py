#!/usr/bin/env python3
"""A set as a candidate run (--pairs NAME=SET): what was mined for one model and still qualifies is taken over for the next.
Mined with the set itself and with its negatives written to a CSV file (the best score of a pair once), all shards are the same;
numbers of users and items may be others by then.

  tests/set_pairs_test.py PROGRAM
"""
import json
import os
import random
import sys
import tempfile

from program import check, finish, manifest_of, quarry, read_csv, read_npy, rows_of, shards_of, write_csv, write_npy

AS_OF = 1631536000
RECIPE = """name = "kept"
k = 6

[exposure]
positive = ["purchase", "like"]
aversion = ["dislike", "hide"]

[safety]
filters = [{ kind = "positives" }, { kind = "exposed", classes = ["aversion"] }]

[[branch]]
name = "kept"
share = 0.5
source = { kind = "run", table = "earlier" }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "min" }]

[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 60 }
filters = [{ kind = "relative_margin", ratio = 0.95, against = "min" }]
"""
def vectors(path):
    numbers, shape = read_npy(path)
    return [list(numbers[r * shape[1]:(r + 1) * shape[1]]) for r in range(shape[0])]


def write_vectors(path, rows):
    write_npy(path, [x for row in rows for x in row], (len(rows), len(rows[0])))


def picks(folder):
    """(row, user, branch, item) of every filled slot."""
    return [(r, row["user"], row["branch"][j], row["item"][j]) for r, row in enumerate(rows_of(folder, 1)[0])
            for j in range(len(row["fill"])) if row["fill"][j] == 0]


def main():
    program = os.path.abspath(sys.argv[1])
    chance = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *names: os.path.join(folder, *names)  # noqa: E731
        quarry(program, "synth", "--out", folder, "--users", 120, "--items", 500, "--dim", 16, "--force")
        with open(path("recipe.toml"), "w", encoding="utf-8") as file:
            file.write(RECIPE)
        store = path("store")
        mine = ["--events", path("events.csv"), "--as-of", AS_OF]
        quarry(program, "mine", "--items", path("items.npy"), "--users", path("users.npy"), *mine, "--recipe", "nv-perc",
               "--store", store, "--model", "m1")
        first = manifest_of(store, 1)
        # The negatives of the set, each pair once with the best of its scores, by an export that others read.
        quarry(program, "export", f"{store}@1", "--to", "csv", "--out", path("negatives.csv"))
        best = {}
        for row in read_csv(path("negatives.csv")):
            pair = (row["user"], row["item"])
            best[pair] = max(best.get(pair, float("-inf")), float(row["score"]))
        check(len(best) > 500, "hardly a negative to take over")

        def mine_next(name, users, items, ids, pairs, ok=(0,)):
            return quarry(program, "mine", "--items", items, "--users", users, *ids, *mine, "--recipe", path("recipe.toml"), "--pairs",
                          f"earlier={pairs}", "--store", path(name), "--model", "m2", ok=ok)

        # The next model: other vectors of the same users and items.
        users, items = vectors(path("users.npy")), vectors(path("items.npy"))
        write_vectors(path("users2.npy"), [[x + chance.gauss(0, 0.05) for x in row] for row in users])
        write_vectors(path("items2.npy"), [[x + chance.gauss(0, 0.05) for x in row] for row in items])
        write_csv(path("pairs.csv"), ["user", "item", "score"], [(u, i, repr(s)) for (u, i), s in best.items()])
        by_file = mine_next("by_file", path("users2.npy"), path("items2.npy"), [], path("pairs.csv"))
        by_set = mine_next("by_set", path("users2.npy"), path("items2.npy"), [], f"{store}@latest")
        a, b = manifest_of(path("by_file"), 1), manifest_of(path("by_set"), 1)
        check(shards_of(path("by_file"), 1) == shards_of(path("by_set"), 1), "a set and its CSV give other negatives")

        # What came from the set was in it, for the same user; the manifest and the words count it.
        taken = [pick for pick in picks(path("by_set")) if pick[2] == 0]
        for row, user, _, item in taken:
            check((str(user), str(item)) in best, f"row {row}: item {item} was no negative of user {user}")
        first_item, taken = picks(path("by_set"))[0][3], len(taken)
        check(taken > 100, f"{taken} taken over")
        said = b["run"]["sets"]
        check(len(said) == 1 and said[0]["picked"] == taken and said[0]["content_hash"] == first["content_hash"]
              and said[0]["model"] == "m1" and said[0]["recipe"] == "nv-perc" and said[0]["gone"] == 0
              and said[0]["set"].endswith("store@1"), f"where they came from: {said}")
        check(f"taken over from {store}@1: {taken:,} negatives" in by_set.stderr, f"the saving in words: {by_set.stderr}")
        check("sets" not in a["run"] and "taken over" not in by_file.stderr, "a file is no set")
        files = {entry["role"]: entry for entry in b["run"]["inputs"]}
        check(files["pairs earlier"]["path"].endswith(f"v{1:020d}.json"), f"the version's manifest: {files['pairs earlier']}")
        check(b["run"]["options"]["pairs"] == [f"earlier={os.path.relpath(store, path('by_set'))}@1"] or
              b["run"]["options"]["pairs"][0].endswith("store@1"), f"latest is a number: {b['run']['options']['pairs']}")
        # The recorded run can be asked again: what explain and audit load is the same version, whatever latest is by then.
        quarry(program, "mine", "--items", path("items.npy"), "--users", path("users.npy"), *mine, "--recipe", "random", "--store", store)
        quarry(program, "audit", f"{path('by_set')}@1", ok=(0, 8))
        quarry(program, "explain", f"{path('by_set')}@1", "--row", 0, "--item", first_item)
        again = quarry(program, "refresh", path("by_set"), "--json")
        check(json.loads(again.stdout)["was_there"], "nothing is new")

        # Two sets, of which near duplicates are kept once: by an own count in double precision.
        quarry(program, "mine", "--items", path("items.npy"), "--users", path("users.npy"), *mine, "--recipe", "nv-perc", "--set",
               "k=20", "--store", path("other"))
        quarry(program, "export", f"{path('other')}@1", "--to", "csv", "--out", path("others.csv"))
        tables = []
        for name in ("negatives.csv", "others.csv"):
            of_user = {}
            for row in read_csv(path(name)):
                scores = of_user.setdefault(int(row["user"]), {})
                scores[int(row["item"])] = max(scores.get(int(row["item"]), float("-inf")), float(row["score"]))
            tables.append(of_user)
        unit = []
        for row in vectors(path("items2.npy")):
            norm = sum(x * x for x in row) ** 0.5
            unit.append([x / norm for x in row])
        near = 0.9
        kept, expected, doubtful = {}, [0, 0], 0
        for t, of_user in enumerate(tables):
            for user, scores in of_user.items():
                for other in sorted(scores, key=lambda i: (-scores[i], i)):
                    cosines = [sum(a * b for a, b in zip(unit[other], unit[k])) for k in kept.get(user, [])]
                    doubtful += any(abs(c - near) < 1e-5 for c in cosines)
                    if other in kept.get(user, []) or any(c >= near for c in cosines):
                        expected[t] += 1
                    else:
                        kept.setdefault(user, []).append(other)
        with open(path("two.toml"), "w", encoding="utf-8") as file:
            file.write(RECIPE.replace('[[branch]]\nname = "hard"\nshare = 0.5\nsource = { kind = "topk", pool = 60 }',
                                      '[[branch]]\nname = "hard"\nshare = 0.5\nsource = { kind = "run", table = "second" }'))
        two = ["--items", path("items2.npy"), "--users", path("users2.npy"), *mine, "--recipe", path("two.toml"), "--pairs",
               f"earlier={store}@1", "--pairs", f"second={path('other')}@1"]
        done = quarry(program, "mine", *two, "--pairs-near", near, "--store", path("two"))
        b = manifest_of(path("two"), 1)
        counted = [entry["near"] for entry in b["run"]["sets"]]
        check(doubtful == 0 and counted == expected and expected[1] > 50, f"near duplicates: {counted}, not {expected} ({doubtful})")
        check("near duplicates are left out" in done.stderr, f"in words: {done.stderr}")
        for row, user, _, item in picks(path("two")):
            check(item in kept.get(user, []), f"row {row}: what was left out was picked")
        # At 1 an item is near itself, and hardly another.
        quarry(program, "mine", *two, "--pairs-near", "1", "--store", path("same"))
        both = sum(len(set(tables[0].get(user, {})) & set(scores)) for user, scores in tables[1].items())
        counted = [entry["near"] for entry in manifest_of(path("same"), 1)["run"]["sets"]]
        check(counted == [0, both] and both > 100, f"the same items: {counted}, not {both}")
        for flags, word in [(["--pairs-near", "1.5"], "cosine"), (["--pairs-near", "nan"], "cosine")]:
            done = quarry(program, "mine", *two, *flags, "--store", path("no"), ok=range(256))
            check(done.returncode == 2 and word in done.stderr, f"{flags}: {done.stderr}")

        # Other numbers by then: users and items in another order, some gone, under ids of their own.
        order_u, order_i = list(range(len(users))), list(range(len(items)))
        chance.shuffle(order_u), chance.shuffle(order_i)
        order_i = order_i[:480]
        write_vectors(path("users3.npy"), [vectors(path("users2.npy"))[u] for u in order_u])
        write_vectors(path("items3.npy"), [vectors(path("items2.npy"))[i] for i in order_i])
        write_csv(path("user_ids.csv"), ["user"], [[u] for u in order_u])
        write_csv(path("item_ids.csv"), ["item"], [[i] for i in order_i])
        there = {str(i) for i in order_i}
        write_csv(path("pairs3.csv"), ["user", "item", "score"], [(u, i, repr(s)) for (u, i), s in best.items() if i in there])
        ids = ["--user-ids", path("user_ids.csv"), "--item-ids", path("item_ids.csv"), "--unknown-ids", "drop"]
        mine_next("by_file3", path("users3.npy"), path("items3.npy"), ids, path("pairs3.csv"))
        done = mine_next("by_set3", path("users3.npy"), path("items3.npy"), ids, f"{store}@1")
        b = manifest_of(path("by_set3"), 1)
        check(shards_of(path("by_file3"), 1) == shards_of(path("by_set3"), 1), "by other numbers: other negatives")
        lost = sum(1 for row in read_csv(path("negatives.csv")) if row["item"] not in there)
        check(lost > 0 and b["run"]["sets"][0]["gone"] == lost and "not here any more" in done.stderr, f"gone: {lost} {b['run']['sets']}")

        # And from ids to row numbers, a set in a folder: ids are those of the file that its manifest names.
        mine_next("back", path("users2.npy"), path("items2.npy"), [], f"{path('by_set3')}@1")
        check(manifest_of(path("back"), 1)["run"]["sets"][0]["gone"] == 0, "ids that are numbers")
        with open(path("item_ids.csv"), "a", encoding="utf-8") as file:
            file.write("one more\n")
        done = mine_next("no", path("users2.npy"), path("items2.npy"), [], f"{path('by_set3')}@1", ok=range(256))
        check(done.returncode == 3 and "item_ids.csv" in done.stderr and "export" in done.stderr, f"ids changed: {done.returncode} {done.stderr}")
        # A set that is damaged, one of other ids altogether, one that knew later events.
        damaged = path("damaged")
        quarry(program, "mine", "--items", path("items.npy"), "--users", path("users.npy"), *mine, "--recipe", "nv-perc", "--out", damaged)
        for parent, _, names in os.walk(damaged):
            if "item.npy" in names:
                with open(os.path.join(parent, "item.npy"), "r+b") as file:
                    file.seek(-4, 2)
                    file.write(b"\1\0\0\0")
        done = mine_next("no", path("users2.npy"), path("items2.npy"), [], damaged, ok=range(256))
        check(done.returncode == 3 and "item.npy" in done.stderr and "--pairs earlier" in done.stderr, f"damaged: {done.returncode} {done.stderr}")
        write_csv(path("names_u.csv"), ["user"], [[f"u{u}"] for u in range(len(users))])
        write_csv(path("names_i.csv"), ["item"], [[f"i{i}"] for i in range(len(items))])
        events = read_csv(path("events.csv"))
        write_csv(path("named.csv"), events[0], [{**e, "user": "u" + e["user"], "item": "i" + e["item"]}.values() for e in events])
        done = quarry(program, "mine", "--items", path("items2.npy"), "--users", path("users2.npy"), "--user-ids", path("names_u.csv"), "--item-ids",
                      path("names_i.csv"), "--events", path("named.csv"), "--as-of", AS_OF, "--recipe", path("recipe.toml"), "--pairs",
                      f"earlier={store}@1", "--store", path("no"), ok=range(256))
        check(done.returncode == 3 and "row numbers" in done.stderr and "ids of a file" in done.stderr, f"other ids: {done.returncode} {done.stderr}")
        check("knew events" not in by_set.stderr, "the same end is no future")

        # A set that knew later events is told of, and fails the audit; so does what took over from it, behind whatever as-of.
        def future_gate(name):
            done = quarry(program, "audit", f"{path(name)}@1", "--json", ok=(0, 8))
            gate = next(g for g in json.loads(done.stdout)["gates"] if g["id"] == "leak.future_sets")
            return gate["status"], done.returncode, gate["why"]

        def mine_first(name, log, as_of):
            quarry(program, "mine", "--items", path("items.npy"), "--users", path("users.npy"), "--events", path(log), "--as-of", as_of,
                   "--recipe", "nv-perc", "--store", path(name))

        check(future_gate("by_set")[:2] == ("pass", 0), f"the same end: {future_gate('by_set')}")
        check(future_gate("by_file")[0] == "not_checked", "a file is no set")
        events = read_csv(path("events.csv"))
        latest, late = (max(int(e["time"]) for e in events if int(e["time"]) <= end) for end in (AS_OF, AS_OF + 9999999))
        check(late > AS_OF, "the log ends too early to tell of the future")
        mine_first("future", "events.csv", AS_OF + 9999999)
        done = mine_next("told", path("users2.npy"), path("items2.npy"), [], f"{path('future')}@1", ok=(8,))
        said = manifest_of(path("told"), 1)["run"]["sets"][0]
        check("knew events" in done.stderr and said["as_of"] == AS_OF + 9999999 and said["knew_until"] == late and said["end_known"],
              f"of the future: {said} {done.stderr}")
        check(future_gate("told")[:2] == ("fail", 8), f"of the future: {future_gate('told')}")
        done = mine_next("hidden", path("users2.npy"), path("items2.npy"), [], f"{path('told')}@1", ok=(8,))
        said = manifest_of(path("hidden"), 1)["run"]["sets"][0]
        check("knew events" in done.stderr and said["as_of"] == AS_OF and said["knew_until"] == late, f"behind another set: {said} {done.stderr}")
        check(future_gate("hidden")[:2] == ("fail", 8), f"behind another set: {future_gate('hidden')}")
        # A later as-of over a log without later events knows nothing more.
        write_csv(path("until.csv"), events[0], [e.values() for e in events if int(e["time"]) <= AS_OF])
        mine_first("idle", "until.csv", AS_OF + 9999999)
        done = mine_next("ended", path("users2.npy"), path("items2.npy"), [], f"{path('idle')}@1")
        said = manifest_of(path("ended"), 1)["run"]["sets"][0]
        check("knew events" not in done.stderr and said["knew_until"] == latest and future_gate("ended")[0] == "pass", f"no later event: {said}")
        for wrong, code in [(f"{store}@9", (3, 5)), (path("nothing"), (5,)), (folder, (3, 5))]:
            done = mine_next("no", path("users2.npy"), path("items2.npy"), [], wrong, ok=range(256))
            check(done.returncode in code and os.path.basename(wrong).split("@")[0] in done.stderr, f"{wrong}: {done.returncode} {done.stderr}")
    finish(f"{taken} negatives taken over from a set, as from its CSV; by other numbers too")


main()
