#!/usr/bin/env python3
"""diff, export, compare, log kpi, approve, reject and policy of the program, judged by what stands in the sets' columns.

  tests/store_tools_test.py PROGRAM

Sets are mined here; columns, events and catalogue are read with the standard library alone, and every answer of the program
is derived again from them: rows joined by dicts, lines of exports one by one, eligible items rule by rule. Longer than other files because
all these verbs are tried on the same sets.
"""
import csv
import fcntl
import json
import math
import os
import stat
import struct
import subprocess

from program import ProgramTest, main, read_npy, rows_of, text_of, write_waves

USERS, ITEMS, DIM = 30, 60, 4
NONE = 2**63 - 1
RECIPE = """name = "small"
k = 6
metric = "ip"
[exposure]
positive = ["like"]
aversion = ["dislike"]
[safety]
filters = [{ kind = "positives" }, { kind = "exposed", classes = ["aversion"] }, { kind = "time" }, { kind = "group", column = "seller" }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 12, max_rank = 40 }
[[branch]]
name = "random"
share = 0.5
source = { kind = "uniform" }
"""


def same(a, b):
    """Equal, not-a-number being itself."""
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    return a == b


def f32(text):
    return struct.unpack("<f", struct.pack("<f", float(text)))[0]


class StoreTools(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.item_ids = ["i-%d\"%s" % (i, "\t" if i % 7 == 0 else "") for i in range(ITEMS)]
        cls.user_ids = ["u,%d" % u for u in range(USERS)]
        write_waves(cls.path("items.npy"), ITEMS, DIM, 0.1)
        write_waves(cls.path("items2.npy"), ITEMS, DIM, 0.35)
        write_waves(cls.path("users.npy"), USERS, DIM, 0.4)
        cls.table("item_ids.csv", ["item"], [[i] for i in cls.item_ids])
        cls.table("user_ids.csv", ["user"], [[u] for u in cls.user_ids])
        cls.events = []
        for u in range(USERS):
            for j in range(5):
                kind = ["like", "like", "dislike", "view", "like"][j]
                cls.events.append((u, (u * 7 + j * 11) % ITEMS, 1000 + u * 10 + j, kind))
        cls.table("events.csv", ["user", "item", "time", "kind"],
                  [[cls.user_ids[u], cls.item_ids[i], t, k] for u, i, t, k in cls.events])
        cls.seen = [None if i % 3 == 0 else 900 + (i * 37) % 400 for i in range(ITEMS)]
        cls.gone = [None if i % 2 == 0 else 1100 + (i * 53) % 300 for i in range(ITEMS)]
        cls.titles = ["Film \"%d\"" % i for i in range(ITEMS)]
        cls.table("catalogue.csv", ["item", "title", "seller", "first_seen", "retired"],
                  [[cls.item_ids[i], cls.titles[i], "S%d" % (i % 9), cls.seen[i] or "", cls.gone[i] or ""] for i in range(ITEMS)])
        cls.write("recipe.toml", RECIPE)
        cls.mine("a")
        cls.mine("b", "--seed", "7")
        cls.mine("c", "--items", cls.path("items2.npy"), "--set", "k=4")

    @classmethod
    def mine_args(cls, *more):
        args = {"--items": cls.path("items.npy")}
        rest = []
        more = list(more)
        while more:
            if more[0] == "--items":
                args["--items"] = more[1]
            else:
                rest += more[:2]
            more = more[2:]
        return ["mine", "--items", args["--items"], "--users", cls.path("users.npy"), "--item-ids", cls.path("item_ids.csv"),
                "--user-ids", cls.path("user_ids.csv"), "--events", cls.path("events.csv"), "--catalogue", cls.path("catalogue.csv"),
                "--recipe", cls.path("recipe.toml"), "--threads", "1", *rest]

    @classmethod
    def mine(cls, name, *more):
        code, _, err = cls.run_quarry(*cls.mine_args("--out", cls.path(name), "--rows-per-shard", "17", *more))
        assert code == 0, err

    # --- diff ---------------------------------------------------------------------------------------------------------

    def check_diff(self, name_a, name_b):
        d = json.loads(self.ok("diff", self.path(name_a), self.path(name_b), "--json", "--rows", "1000", "--top", "1000"))
        (a, manifest_a), (b, manifest_b) = rows_of(self.path(name_a)), rows_of(self.path(name_b))
        by_key = {row["row_key"]: row for row in b}
        equal = same_items = reordered = changed = 0
        overlaps, deltas, kept_all = [], [], 0
        for row in a:
            other = by_key[row["row_key"]]
            kept = len(set(row["negatives"]) & set(other["negatives"]))
            union = len(set(row["negatives"]) | set(other["negatives"]))
            overlaps.append(kept / union if union else 1.0)
            kept_all += kept
            if all(same(row[c], other[c]) for c in row):
                equal += 1
            elif row["negatives"] == other["negatives"]:
                same_items += 1
            elif sorted(row["negatives"]) == sorted(other["negatives"]):
                reordered += 1
            else:
                changed += 1
            for j, item in enumerate(row["negatives"]):
                if item in other["negatives"]:
                    deltas.append(abs(other["score"][other["negatives"].index(item)] - row["score"][j]))
        rows = d["rows"]
        self.assertEqual((rows["common"], rows["only_a"], rows["only_b"]), (len(a), 0, 0))
        self.assertEqual((rows["equal"], rows["same_negatives"], rows["reordered"], rows["changed"]),
                         (equal, same_items, reordered, changed))
        self.assertAlmostEqual(d["overlap"]["mean"], sum(overlaps) / len(overlaps), places=12)
        self.assertEqual(d["overlap"]["kept"], kept_all)
        ordered = sorted(overlaps)
        for t in range(1, 10):
            least = next(v for i, v in enumerate(ordered) if (i + 1) * 10 >= len(ordered) * t)
            self.assertAlmostEqual(d["overlap"]["deciles"][t - 1], least, places=12)
        self.assertEqual(d["scores"]["negatives"], len(deltas))
        if deltas:
            self.assertAlmostEqual(d["scores"]["mean_change"], sum(deltas) / len(deltas), places=9)
            self.assertAlmostEqual(d["scores"]["largest_change"], max(deltas), places=9)
        for side, (all_rows, manifest) in {"a": (a, manifest_a), "b": (b, manifest_b)}.items():
            counts = {}
            for row in all_rows:
                for branch in row["branch"][:row["count"]]:
                    counts[manifest["branches"][branch]] = counts.get(manifest["branches"][branch], 0) + 1
            self.assertEqual({s["name"]: s[side] for s in d["slots"]["branches"]}, counts)
            fill = sum(row["count"] for row in all_rows)
            self.assertEqual(next(s[side] for s in d["slots"]["fill"] if s["name"] == "filled"), fill)
        change = {}
        for sign, all_rows in ((-1, a), (1, b)):
            for row in all_rows:
                for item in row["negatives"]:
                    change[item] = change.get(item, 0) + sign
        self.assertEqual({i["index"]: i["b"] - i["a"] for i in d["items"]["gained"]}, {i: n for i, n in change.items() if n > 0})
        self.assertEqual({i["index"]: i["a"] - i["b"] for i in d["items"]["lost"]}, {i: -n for i, n in change.items() if n < 0})
        self.assertEqual(len(d["changed_rows"]), sum(1 for o in overlaps if o < 1))
        self.assertNotIn("row_key", json.dumps(d))
        return d

    def test_diff_of_seeds(self):
        d = self.check_diff("a", "b")
        facts = {f["name"]: f for f in d["facts"]}
        self.assertEqual((facts["seed"]["a"], facts["seed"]["b"], facts["seed"]["same"]), (0, 7, False))
        self.assertTrue(facts["recipe_hash"]["same"])
        self.assertEqual({i["change"] for i in d["inputs"]}, {"same"})
        self.assertEqual(d["recipe_diff"], "")
        self.assertIn("seed or round", " ".join(d["meaning"]))
        branches = {b["name"]: b["mean"] for b in d["overlap_by_branch"]}
        self.assertEqual(branches["hard"], 1.0)  # a top branch does not depend on chance
        self.assertLess(branches["random"], 0.9)

    def test_diff_of_models_and_k(self):
        d = self.check_diff("a", "c")
        self.assertEqual({i["role"]: i["change"] for i in d["inputs"]}["items"], "changed")
        self.assertEqual(d["rows"]["equal"], 0)
        self.assertIn("-k = 6", d["recipe_diff"])
        self.assertIn("+k = 4", d["recipe_diff"])
        self.assertIn("k differs", " ".join(d["meaning"]))

    def test_diff_of_a_set_and_itself(self):
        out = self.ok("diff", self.path("a"), self.path("a"), "--fail-if-different")
        self.assertEqual(len(out.splitlines()), 1, out)
        self.assertTrue(out.startswith("identical: "), out)
        self.fails(8, "other negatives", "diff", self.path("a"), self.path("b"), "--fail-if-different")
        self.assertIn("Film", self.ok("diff", self.path("a"), self.path("b"), "--names"))
        self.assertNotIn("Film", self.ok("diff", self.path("a"), self.path("b")))
        self.fails(5, "nowhere", "diff", self.path("a"), self.path("nowhere"))
        self.fails(2, "--names", "diff", self.path("a"), self.path("b"), "--item-ids", self.path("item_ids.csv"))

    # --- export -------------------------------------------------------------------------------------------------------

    def export(self, name, *args):
        out = self.path(name)
        meta = json.loads(self.ok("export", self.path("a"), "--out", out, "--overwrite", "--json", *args))
        self.assertEqual(stat.S_IMODE(os.stat(out).st_mode), 0o700 if os.path.isdir(out) else 0o600)
        if os.path.isfile(out):
            self.assertEqual(meta, json.loads(text_of(out + ".meta.json")))
            self.assertEqual(meta["file"]["bytes"], os.path.getsize(out))
        self.assertEqual([n for n in os.listdir(self.root) if n.startswith(".") and name in n], [])
        return meta

    def lines(self, name):
        with open(self.path(name), encoding="utf-8", newline="") as f:
            if name.endswith(".jsonl"):
                return [json.loads(line) for line in f]
            return list(csv.DictReader(f, delimiter="\t" if name.endswith(".tsv") else ","))

    def test_triplets(self):
        rows, _ = rows_of(self.path("a"))
        wanted = [{"anchor": self.user_ids[r["user"]], "positive": self.item_ids[p], "negative": self.item_ids[n]}
                  for r in rows for p in r["positives"] for n in r["negatives"]]
        meta = self.export("t.jsonl", "--to", "triplets")
        self.assertEqual(self.lines("t.jsonl"), wanted)
        self.assertEqual(meta["lines"], sum(r["count"] for r in rows))  # these rows have one positive
        self.assertEqual(meta["negatives"], meta["lines"])
        for name in ("t.tsv", "t.csv"):
            self.export(name, "--to", "triplets", "--scores", "--names")
            got = self.lines(name)
            self.assertEqual([{k: g[k] for k in wanted[0]} for g in got], wanted)
            scores = [(s, g) for r in rows for s, g in zip(r["score"][:r["count"]], r["gap"])]
            self.assertEqual([(f32(g["score"]), f32(g["gap"])) for g in got], scores)
            self.assertEqual([g["negative_title"] for g in got], [self.titles[n] for r in rows for n in r["negatives"]])

    def test_several_positives(self):
        self.mine("users", "--rows-from", "users")
        rows, _ = rows_of(self.path("users"))
        self.assertTrue(any(len(r["positives"]) > 1 for r in rows))
        for which, chosen in (("all", slice(None)), ("first", slice(1))):
            self.ok("export", self.path("users"), "--to", "triplets", "--out", self.path("u.jsonl"), "--overwrite", "--positives", which)
            self.assertEqual([(g["positive"], g["negative"]) for g in self.lines("u.jsonl")],
                             [(self.item_ids[p], self.item_ids[n]) for r in rows for p in r["positives"][chosen] for n in r["negatives"]])

    def test_tuples_pairs_lists(self):
        rows, _ = rows_of(self.path("a"))
        meta = self.export("n.jsonl", "--to", "tuples", "--negatives", "3")
        whole = [r for r in rows if r["count"] >= 3]
        self.assertEqual(self.lines("n.jsonl"),
                         [{"anchor": self.user_ids[r["user"]], "positive": self.item_ids[r["positives"][0]],
                           **{"negative_%d" % (j + 1): self.item_ids[r["negatives"][j]] for j in range(3)}} for r in whole])
        self.assertEqual(meta["left_out"]["rows_with_too_few_negatives"], len(rows) - len(whole))
        self.export("p.jsonl", "--to", "labeled-pairs")
        self.assertEqual(self.lines("p.jsonl"),
                         [{"anchor": self.user_ids[r["user"]], "passage": self.item_ids[i], "label": label}
                          for r in rows for label, items in ((1, r["positives"]), (0, r["negatives"])) for i in items])
        self.export("l.jsonl", "--to", "labeled-lists")
        self.assertEqual(self.lines("l.jsonl"),
                         [{"anchor": self.user_ids[r["user"]], "passages": [self.item_ids[i] for i in r["positives"] + r["negatives"]],
                           "labels": [1] * len(r["positives"]) + [0] * r["count"]} for r in rows])

    def test_csv(self):
        rows, manifest = rows_of(self.path("a"))
        for empty in (False, True):
            meta = self.export("s.csv", "--to", "csv", *(["--empty-slots"] if empty else []))
            got = self.lines("s.csv")
            slots = [(n, r, j) for n, r in enumerate(rows) for j in range(manifest["k"] if empty else r["count"])]
            self.assertEqual(len(got), len(slots))
            self.assertEqual(meta["lines"], len(slots))
            for line, (n, r, j) in zip(got, slots):
                filled = j < r["count"]
                self.assertEqual((int(line["row"]), int(line["row_key"]), int(line["slot"])), (n, r["row_key"], j))
                self.assertEqual(line["user"], self.user_ids[r["user"]])
                self.assertEqual(line["positives"], "|".join(self.item_ids[p] for p in r["positives"]))
                self.assertEqual(line["item"], self.item_ids[r["item"][j]] if filled else "")
                self.assertEqual(line["branch"], manifest["branches"][r["branch"][j]] if filled else "")
                self.assertEqual(line["fill"], manifest["fill_codes"][r["fill"][j]])
                for column in ("score", "gap", "quantile", "logq"):
                    self.assertTrue(same(r[column][j], f32(line[column]) if line[column] else math.nan), column)
                for column in ("raw_rank", "survivor_rank"):
                    self.assertEqual(int(line[column] or 0), r[column][j])

    def test_npy(self):
        meta = self.export("dense", "--to", "npy")
        self.export("dense", "--to", "npy")  # over the one there
        rows, manifest = rows_of(self.path("a"))
        for name in meta["columns"]:
            values, shape = read_npy(os.path.join(self.path("dense"), name + ".npy"))
            if name == "positive_offset":
                wanted = [0]
                for r in rows:
                    wanted.append(wanted[-1] + len(r["positives"]))
            elif name == "positive":
                wanted = [p for r in rows for p in r["positives"]]
            elif name == "kappa":
                self.assertEqual(shape, (len(rows), 2))
                continue
            else:
                wanted = [v for r in rows for v in (r[name] if isinstance(r[name], list) else [r[name]])]
                self.assertEqual(shape[0], len(rows))
            self.assertTrue(same(list(values), wanted), name)
        os.mkdir(self.path("other"))
        self.write("other/x", "mine")
        self.fails(5, "no meta.json", "export", self.path("a"), "--to", "npy", "--out", self.path("other"), "--overwrite")

    def test_texts(self):
        self.table("texts.csv", ["item", "body"], [[i, "about\n\"%d\"" % n] for n, i in enumerate(self.item_ids)] + [["stranger", "x"]])
        self.table("queries.csv", ["who", "q"], [[u, "query %d" % n] for n, u in enumerate(self.user_ids) if n != 4])
        joined = ["--item-text", self.path("texts.csv") + ":body", "--user-text", self.path("queries.csv") + ":q", "--user-text-id", "who"]
        self.fails(3, "'u,4'", "export", self.path("a"), "--to", "triplets", "--out", self.path("x.jsonl"), *joined)
        self.assertFalse(os.path.exists(self.path("x.jsonl")))
        meta = self.export("x.jsonl", "--to", "triplets", *joined, "--missing-text", "drop")
        rows = [r for r in rows_of(self.path("a"))[0] if r["user"] != 4]
        self.assertEqual(self.lines("x.jsonl"),
                         [{"anchor": "query %d" % r["user"], "positive": "about\n\"%d\"" % p, "negative": "about\n\"%d\"" % n}
                          for r in rows for p in r["positives"] for n in r["negatives"]])
        self.assertGreater(meta["left_out"]["users_and_items_without_text"], 0)
        self.fails(2, "FILE:column", "export", self.path("a"), "--to", "triplets", "--out", self.path("y.jsonl"), "--item-text", self.path("texts.csv"))

    def eligible(self, row):
        out = []
        latest = max(t for _, _, t, _ in self.events)
        now = latest if row["time"] == NONE else row["time"]
        for item in range(ITEMS):
            if item in row["positives"]:
                continue
            if any(u == row["user"] and i == item and kind in ("like", "dislike") for u, i, _, kind in self.events):
                continue
            if self.seen[item] is not None and self.seen[item] > now:
                continue
            if self.gone[item] is not None and self.gone[item] <= now:
                continue
            out.append(self.item_ids[item])
        return out

    def test_candidates(self):
        rows, _ = rows_of(self.path("a"))
        meta = self.export("e.jsonl", "--to", "candidates")
        self.assertEqual(meta["candidates"]["filters_applied"], ["positives", "exposed", "time"])
        self.assertEqual(meta["candidates"]["filters_not_applied"], ["group"])
        self.assertFalse(meta["candidates"]["correction"]["sampled"])
        wanted = [self.eligible(r) for r in rows]
        for line, row, items in zip(self.lines("e.jsonl"), rows, wanted):
            self.assertEqual(line["candidates"], items)
            self.assertEqual(line["eligible"], len(items))
            self.assertEqual(line["positives"], [self.item_ids[p] for p in row["positives"]])
        self.assertGreater(len({len(w) for w in wanted}), 3)
        meta = self.export("e.jsonl", "--to", "candidates", "--sample", "9", "--sample-seed", "3")
        first = self.lines("e.jsonl")
        for line, items in zip(first, wanted):
            self.assertEqual(len(set(line["candidates"])), 9)
            self.assertLessEqual(set(line["candidates"]), set(items))
            self.assertEqual(line["eligible"], len(items))
        c = meta["candidates"]["correction"]
        self.assertEqual((c["m"], c["seed"]), (9, 3))
        self.assertIn("Binomial(m, (r - 1) / (N - 1))", c["approximation"])
        self.assertEqual(meta["candidates"]["eligible_least"], min(map(len, wanted)))
        self.export("e.jsonl", "--to", "candidates", "--sample", "9", "--sample-seed", "4")
        self.assertNotEqual(self.lines("e.jsonl"), first)
        # The same rows in another set, in another order or fewer of them, get the same sample.
        self.export("e.jsonl", "--to", "candidates", "--sample", "9", "--sample-seed", "3", "--limit-rows", "5")
        self.assertEqual(self.lines("e.jsonl"), first[:5])

    def test_export_refuses(self):
        a = self.path("a")
        self.fails(2, "formats are", "export", a, "--to", "parquet", "--out", self.path("z.jsonl"))
        self.fails(2, "takes .csv or .tsv", "export", a, "--to", "csv", "--out", self.path("z.jsonl"))
        self.fails(2, "no effect", "export", a, "--to", "csv", "--out", self.path("z.csv"), "--scores")
        self.fails(2, "at most", "export", a, "--to", "tuples", "--out", self.path("z.csv"), "--negatives", "7")
        self.fails(2, "--out", "export", a, "--to", "csv")
        store = self.store("kept", 1)
        inside = os.path.join(store, "z.csv")
        before = sorted(os.listdir(store))
        for made in (["export", a, "--to", "csv"], ["report", "--store", store], ["audit", store, "--json"]):
            self.fails(5, "is a store", *made, "--out", inside)
        self.assertEqual(sorted(os.listdir(store)), before)
        self.fails(5, "make it first", "export", a, "--to", "csv", "--out", self.path("no/z.csv"))
        self.write("there.csv", "mine")
        self.fails(5, "--overwrite", "export", a, "--to", "csv", "--out", self.path("there.csv"))
        self.assertEqual(text_of(self.path("there.csv")), "mine")
        self.write("beside.csv.meta.json", "mine")
        self.fails(5, "beside.csv.meta.json", "export", a, "--to", "csv", "--out", self.path("beside.csv"))
        self.assertEqual(text_of(self.path("beside.csv.meta.json")), "mine")
        # Neither an export nor an audit takes the place of what the set was mined from.
        log = text_of(self.path("events.csv"))
        os.link(self.path("events.csv"), self.path("linked.csv"))
        for out in ("events.csv", "linked.csv"):
            for more in ([], ["--numbers"]):
                self.fails(2, "events.csv", "export", a, "--to", "csv", "--out", self.path(out), "--overwrite", *more)
            for flag in ("--out", "--prometheus"):
                self.fails(2, [flag, "would be lost"], "audit", a, flag, self.path(out))
        self.assertEqual(text_of(self.path("events.csv")), log)
        texts = self.write("texts.csv", "item,text\n")
        self.fails(2, "would be lost", "export", a, "--to", "triplets", "--out", texts, "--overwrite", "--item-text", texts + ":text")
        before = text_of(self.path("events.csv"))
        try:
            self.write("events.csv", before + "\"u,3\",\"i-5\"\"\",1500,like\n")
            self.fails(3, "--allow-changed", "export", a, "--to", "candidates", "--out", self.path("z.jsonl"))
            self.ok("export", a, "--to", "candidates", "--out", self.path("z2.jsonl"), "--allow-changed")
            self.ok("export", a, "--to", "triplets", "--out", self.path("z3.jsonl"))  # does not read events
        finally:
            self.write("events.csv", before)

    def test_export_that_ends_early_leaves_nothing_or_all(self):
        args = ["export", self.path("a"), "--to", "labeled-lists", "--out", self.path("k/l.jsonl")]
        os.mkdir(self.path("k"))
        self.ok(*args)
        whole = text_of(self.path("k/l.jsonl"))
        ends = fails = 0
        for variable in ("QUARRY_CRASH_AT", "QUARRY_FAIL_AT"):
            for step in range(1, 40):
                for name in os.listdir(self.path("k")):
                    os.remove(self.path("k/" + name))
                code, _, err = self.run_quarry(*args, env={variable: str(step) + (":28" if variable.endswith("FAIL_AT") else "")})
                there = os.path.exists(self.path("k/l.jsonl"))
                if there:
                    self.assertEqual(text_of(self.path("k/l.jsonl")), whole)
                    meta = json.loads(text_of(self.path("k/l.jsonl.meta.json")))
                    self.assertEqual(meta["file"]["bytes"], len(whole.encode()))
                if code == 0:
                    self.assertTrue(there)
                    break
                if variable.endswith("FAIL_AT"):
                    fails += 1
                    self.assertEqual(code, 5, err)
                    self.assertIn("planted", err)
                    if not there:
                        self.assertEqual([n for n in os.listdir(self.path("k")) if n.startswith(".")], [])
                else:
                    ends += 1
                    self.assertEqual(code, -9, err)
                self.ok(*args, "--overwrite")
                self.assertEqual(text_of(self.path("k/l.jsonl")), whole)
        self.assertGreater(ends, 5)
        self.assertGreater(fails, 5)

    # --- decisions ----------------------------------------------------------------------------------------------------

    def store(self, name, versions):
        for seed in range(versions):
            self.ok(*self.mine_args("--store", self.path(name), "--seed", str(seed)))
        return self.path(name)

    def log(self, store):
        log = json.loads(self.ok("log", store, "--json"))
        return {v["version"]: v for v in log["versions"]}, log

    def test_figures(self):
        store = self.store("kpi", 2)
        self.ok("log", store, "kpi", "v2", "recall@20=0.222", "ndcg@10=0.1")
        self.ok("log", "kpi", "latest", "recall@20=0.25", "--store", store)
        self.ok("log", "--store", store, "kpi", "1", "loss=0.5")
        versions, log = self.log(store)
        self.assertEqual(versions[2]["kpis"], {"recall@20": 0.25, "ndcg@10": 0.1})
        self.assertEqual(versions[1]["kpis"], {"loss": 0.5})
        self.assertEqual(sum(e["event"] == "kpi" for e in log["events"]), 4)
        self.assertIn("recall@20 0.25", self.ok("log", store))
        for words in (["kpi", "v2", "recall=x"], ["kpi", "v2"], ["kpi"], ["kpi", "v2", "re call=1"], ["other", "v2", "a=1"]):
            self.fails(2, "", "log", store, *words)
        self.fails(3, "no version 9", "log", store, "kpi", "9", "a=1")
        self.fails(3, "no tag 'best'", "log", store, "kpi", "best", "a=1")
        self.fails(2, "which store", "log", "kpi", "v2", "a=1")
        self.fails(2, "which store", "log")
        self.assertEqual(self.log(store)[0][2]["kpis"], {"recall@20": 0.25, "ndcg@10": 0.1})

    def test_decisions(self):
        store = self.store("decided", 1)
        self.assertIn("nothing", self.ok("policy", store))
        self.ok("policy", store, "--set", "latest_needs=approval")
        self.store("decided", 2)
        versions, _ = self.log(store)
        self.assertEqual((versions[1]["tags"], versions[2]["tags"]), (["latest"], []))
        self.assertIn("pending approval", self.ok("log", store))
        self.ok("approve", store + "@2", "--by", "Ada", "--reason", "gates pass")
        versions, _ = self.log(store)
        self.assertEqual((versions[1]["tags"], versions[2]["tags"]), ([], ["approved", "latest"]))
        self.assertEqual((versions[2]["state"], versions[2]["decision"]["by"]), ("approved", "Ada"))
        self.assertIn("approved by Ada", self.ok("log", store))
        self.ok("approve", store + "@v1", "--by", "Bo", "--reason", "roll back")
        self.ok("reject", store + "@latest", "--by", "Bo", "--reason", "recall fell")
        versions, _ = self.log(store)
        self.assertEqual((versions[1]["tags"], versions[2]["tags"], versions[2]["state"]), (["approved", "latest"], [], "rejected"))
        self.ok("verify", store)
        self.fails(2, "names no version", "approve", store, "--by", "x", "--reason", "y")
        self.fails(3, "no version 7", "approve", store + "@7", "--by", "x", "--reason", "y")
        self.fails(2, "--reason", "approve", store + "@1", "--by", "x")
        self.fails(2, "empty", "approve", store + "@1", "--by", "x", "--reason", " ")
        self.fails(2, "approve", "tag", store, "approved", "2")
        self.fails(2, "policy", "tag", store, "latest", "2")
        self.fails(2, "approve", *self.mine_args("--store", store, "--tag", "approved"))
        self.fails(2, "nothing that a version can need", "policy", store, "--set", "latest_needs=luck")
        self.fails(2, "latest_needs is", "policy", store, "--set", "oldest_needs=audit")
        self.write("decided/policy.toml", "latest_need = []\n")
        self.fails(3, "there is no key", "log", store)
        self.fails(3, "there is no key", *self.mine_args("--store", store, "--seed", "9"))

    def test_a_policy_names_gates(self):
        store = self.store("gated", 1)
        self.fails(2, "add audit", "policy", store, "--set", "audit_gates=leak.positives")
        self.fails(2, "did you mean \"leak.positives\"", "policy", store, "--set", "latest_needs=audit", "--set", "audit_gates=leak.positive")
        self.assertFalse(os.path.exists(os.path.join(store, "policy.toml")))
        self.ok("policy", store, "--set", "latest_needs=audit", "--set", "audit_gates=leak.positives,leak.future_mask", "--set", "audit_limits=default")
        by_default = json.loads(self.ok("policy", store, "--json"))["audit_limits"]
        self.write("default.toml", self.ok("audit", "--print-gates"))
        self.ok("policy", store, "--set", "audit_limits=" + self.path("default.toml"))
        self.assertEqual(json.loads(self.ok("policy", store, "--json"))["audit_limits"], by_default)
        # Items lie on a curve, so that many are near-duplicates of held-out ones.
        usual = "[leak.test_near_duplicates]\nseverity = \"warn\"\n"
        self.write("usual.toml", usual)
        gates = "--gates", self.path("usual.toml")
        self.ok("policy", store, "--set", "audit_limits=" + self.path("usual.toml"))
        policy = json.loads(self.ok("policy", store, "--json"))
        self.assertEqual(policy["audit_gates"], ["leak.positives", "leak.future_mask"])
        self.assertIn("audit (leak.positives, leak.future_mask; limits %s)" % policy["audit_limits"], self.ok("policy", store))
        self.store("gated", 2)
        self.ok("audit", store + "@2", *gates, "--record")
        versions, log = self.log(store)
        self.assertEqual((versions[1]["tags"], versions[2]["tags"], versions[2]["audit"]), (["latest"], [], "pass"))
        self.assertEqual(versions[2]["lacks"], ["gate leak.future_mask (not checked)"])
        self.assertIn("lacks gate leak.future_mask (not checked)", self.ok("log", store))
        event = log["events"][-1]
        report = json.loads(self.ok("audit", store + "@2", *gates, "--json"))
        self.assertEqual(event["gates"], {g["id"]: g["status"] for g in report["gates"] if g["status"] != "not_checked"})
        self.assertEqual(event["limits_xxh3_128"], policy["audit_limits"])
        # Held-out events of users 0 to 29 on items that none of them knows make the comparison checkable, if there is power.
        self.table("held.csv", ["user", "item", "time", "kind"],
                   [[self.user_ids[u], self.item_ids[(u * 7 + 3 + 5 * j) % ITEMS], 5000 + u, "like"] for u in range(USERS) for j in range(8)])
        self.write("loose.toml", usual + "[leak.future_mask]\nlimit = 0\n")
        checked = json.loads(self.ok("audit", store + "@2", "--held-out", self.path("held.csv"), "--gates", self.path("loose.toml"), "--record", "--json"))
        status = {g["id"]: g["status"] for g in checked["gates"]}
        self.assertEqual(status["leak.future_mask"], "pass", checked["gates"])
        versions, log = self.log(store)
        self.assertEqual(versions[2]["tags"], [])  # by other limits than the policy's
        self.assertIn("limits", versions[2]["lacks"][0])
        self.assertNotEqual(log["events"][-1]["limits_xxh3_128"], policy["audit_limits"])
        first_options, loose_limits = (log["events"][-1][f"{of}_xxh3_128"] for of in ("options", "limits"))
        self.ok("audit", store + "@2", "--held-out", self.path("held.csv"), *gates, "--record")
        versions, log = self.log(store)
        self.assertEqual((versions[2]["tags"], versions[2]["lacks"]), (["latest"], []))
        audits = [e for e in log["events"] if e["event"] == "audit"]
        self.assertEqual(len({e["options_xxh3_128"] for e in audits} | {first_options}), 3)
        # A weaker audit that is recorded later does not stand in for the whole one.
        self.ok("audit", store + "@2", *gates, "--record")
        self.assertEqual(self.log(store)[0][2]["tags"], [])
        # The limits of a file are as good as their hash.
        self.ok("policy", store, "--set", "audit_limits=" + self.path("loose.toml"))
        self.assertEqual(json.loads(self.ok("policy", store, "--json"))["audit_limits"], loose_limits)
        # A gate that is turned off is not checked, whatever it would have said.
        self.ok("policy", store, "--set", "audit_limits=nothing")
        self.write("off.toml", usual + "[leak.positives]\nseverity = \"off\"\n")
        self.ok("audit", store + "@2", "--held-out", self.path("held.csv"), "--gates", self.path("off.toml"), "--record")
        self.assertEqual(self.log(store)[0][2]["lacks"], ["gate leak.positives (not checked)"])
        self.ok("policy", store, "--set", "latest_needs=nothing", "--set", "audit_gates=nothing", "--set", "audit_limits=nothing")
        self.assertEqual(json.loads(self.ok("policy", store, "--json")), {"latest_needs": [], "audit_gates": [], "audit_limits": None})
        # Setting a policy says what latest means now, and an audit of other inputs is none.
        self.ok("audit", store + "@1", *gates, "--record")
        self.ok("approve", store + "@1", "--by", "Ada", "--reason", "whole")
        code, _, err = self.run_quarry("policy", store, "--set", "latest_needs=approval,audit")
        self.assertEqual((code, "latest: version 1" in err), (0, True), err)
        self.assertEqual(self.log(store)[0][1]["tags"], ["approved", "latest"])
        self.table("other.csv", ["user", "item", "time", "kind"],
                   [[self.user_ids[u], self.item_ids[i], t, k] for u, i, t, k in self.events[:-1]])
        self.run_quarry("audit", store + "@1", "--events", self.path("other.csv"), "--record")
        versions, _ = self.log(store)
        self.assertIn("an audit of the inputs that the version records", versions[1]["lacks"])
        self.assertEqual(versions[1]["tags"], ["approved"])
        # A gate that no audit knows can only come by hand.
        self.write("gated/policy.toml", "latest_needs = [\"audit\"]\naudit_gates = [\"leak.nothing\"]\n")
        self.assertIn("there is no gate 'leak.nothing'", self.run_quarry("policy", store)[2])

    def test_an_audit_is_recorded_before_it_is_printed(self):
        store = self.store("piped", 1)
        for extra in ([], ["--out", "/dev/stdout"], ["--json"]):
            read, write = os.pipe()
            os.close(read)  # as | head -1 leaves it
            subprocess.run([ProgramTest.program, "audit", store + "@1", "--record", *extra], stdout=write, stderr=write)
            os.close(write)
        log = self.log(store)[1]
        self.assertEqual(sum(e["event"] == "audit" for e in log["events"]), 3)
        # What cannot be recorded is printed nevertheless.
        with open(os.path.join(store, "LOCK"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            code, out, err = self.run_quarry("audit", store + "@1", "--record", "--json")
        self.assertEqual((code, json.loads(out)["format"], "another run" in err), (4, "quarry.audit", True), err)

    def test_a_changed_log_is_found(self):
        store = self.store("forged", 1)
        self.ok("reject", store + "@1", "--by", "Ada", "--reason", "leaks")
        self.ok("log", store, "kpi", "1", "a=1")
        path = os.path.join(store, "log")
        text = text_of(path)
        with open(path, "w") as f:
            f.write(text.replace("\"reject\"", "\"accept\""))
        for args in (["log", store], ["approve", store + "@1", "--by", "x", "--reason", "y"], ["log", store, "kpi", "1", "a=2"], ["verify", store]):
            self.fails(3, "log: line", *args)

    # --- compare ------------------------------------------------------------------------------------------------------

    def audit(self, name, leak, lift, content_hash="", ids=("fill.full_rows", "hard.gap")):
        document = {"format": "quarry.audit", "format_version": 1, "verdict": "fail" if leak else "pass",
                    "set": {"name": name, "content_hash": content_hash, "version": None, "rows": 1, "k": 1, "num_items": 9, "created": None, "seed": 0,
                            "round": 0, **{key: "" for key in ("recipe", "recipe_hash", "model", "as_of", "retriever", "promise")}}, "baseline": None,
                    "gates": [{"id": "leak.positives", "title": "Positives", "status": "fail" if leak else "pass", "value": leak, "unit": "negatives",
                               "op": "<=", "limit": 0, "why": "", "what_to_do": "", "definition": "", "source": ""}],
                    "sections": [{"id": "s", "title": "S", "intro": "", "tables": [],
                                  "metrics": [{"id": i, "name": i, "value": lift, "low": None, "high": None, "unit": "share", "definition": "", "source": "",
                                               "direction": "higher" if i.startswith("fill") else None} for i in ids]}], "lists": [], "settings": {}}
        self.write(name, json.dumps(document))
        return self.path(name)

    def test_compare(self):
        one, two = self.audit("one.json", 0, 0.5), self.audit("two.json", 3, None, ids=("fill.full_rows",))
        three = self.audit("three.json", 0, 0.25)
        out = json.loads(self.ok("compare", "--audit", one, "--audit", two, "--audit", three, "--json"))
        gate = out["gates"][0]
        self.assertEqual([v["status"] for v in gate["values"]], ["pass", "fail", "pass"])
        self.assertEqual([v["best"] for v in gate["values"]], [True, False, True])
        metrics = {m["id"]: m for m in out["metrics"]}
        self.assertEqual([(v["value"], v["best"]) for v in metrics["fill.full_rows"]["values"]], [(0.5, True), (None, False), (0.25, False)])
        self.assertEqual([v["best"] for v in metrics["hard.gap"]["values"]], [False] * 3)
        self.assertIn("pass 0*", self.ok("compare", "--audit", one, "--audit", two))
        (a, _), (b, _) = rows_of(self.path("a")), rows_of(self.path("b"))
        pairs = [{(r["row_key"], i) for r in rows for i in r["negatives"]} for rows in (a, b)]
        out = json.loads(self.ok("compare", self.path("a"), self.path("b"), self.path("c"), "--json"))
        self.assertEqual(len(out["overlap"]), 3)
        self.assertAlmostEqual(out["overlap"][0]["jaccard"], len(pairs[0] & pairs[1]) / len(pairs[0] | pairs[1]), places=12)
        store = self.store("pool", 2)
        self.ok("log", store, "kpi", "1", "recall@20=0.3", "other=1")
        self.ok("log", store, "kpi", "2", "recall@20=0.2", "other=2")
        out = json.loads(self.ok("compare", store + "@1", store + "@2", "--json"))
        kpis = {k["id"]: [v["best"] for v in k["values"]] for k in out["kpis"]}
        self.assertEqual(kpis, {"recall@20": [True, False], "other": [False, False]})
        self.fails(2, "at least two", "compare", self.path("a"))
        self.fails(2, "in the same order", "compare", self.path("a"), self.path("b"), "--audit", one)
        wrong = self.audit("wrong.json", 0, 1, content_hash="0" * 32)
        self.fails(3, "content hash", "compare", self.path("a"), self.path("b"), "--audit", wrong, "--audit", one)
        self.write("broken.json", "{\"format\": \"quarry.audit\"}")
        self.fails(3, "broken.json: has no key 'format_version'", "compare", "--audit", one, "--audit", self.path("broken.json"))
        self.write("newer.json", "{\"format\": \"quarry.audit\", \"format_version\": 2}")
        self.fails(3, "reads 1", "compare", "--audit", one, "--audit", self.path("newer.json"))
        with open(three, encoding="utf-8") as f:
            text = f.read()
        for old, new, words in (('"direction": null', '"direction": "up"', "sections[0].metrics[1].direction"), ('"op": "<="', '"op": "<"', "gates[0].op"),
                                ('"value": 0.25', '"value": "0.25"', "sections[0].metrics[0].value")):
            self.write("wrong.json", text.replace(old, new, 1))
            self.fails(3, words, "compare", "--audit", one, "--audit", self.path("wrong.json"))
        # A range has no better side, intervals are read, and an audit that the program writes is one.
        self.write("range.json", text.replace('"op": "<=", "limit": 0', '"op": "in", "limit": [0, 1]').replace('"low": null, "high": null', '"low": 0.2, "high": 0.3'))
        out = json.loads(self.ok("compare", "--audit", one, "--audit", self.path("range.json"), "--json"))
        self.assertEqual([v["low"] for v in out["metrics"][0]["values"]], [None, 0.2])
        self.ok("audit", store + "@1", "--out", self.path("written.json"))
        out = json.loads(self.ok("compare", store + "@1", store + "@2", "--audit-now", "--json"))
        alone = json.loads(self.ok("compare", "--audit", self.path("written.json"), "--audit", self.path("written.json"), "--json"))
        self.assertEqual([(g["id"], g["direction"], g["values"][0]["value"]) for g in out["gates"]],
                         [(g["id"], g["direction"], g["values"][0]["value"]) for g in alone["gates"]])
        self.assertGreater(sum(g["direction"] == "lower" for g in alone["gates"]), 20)


if __name__ == "__main__":
    main(__doc__)
