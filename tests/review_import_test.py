#!/usr/bin/env python3
"""quarry review import: experts are played, and every figure is derived again: shares with both errors, agreement, what a refresh must
change; and every refusal.

  tests/review_import_test.py PROGRAM
"""
import json
import math
import os
import random
import shutil
import stat

from program import main, read_csv, rows_of, text_of
from reviewed import AS_OF, EXPOSURE, HEAD, ITEMS, REST, Reviewed

Z = 1.959963984540054


def wilson(hits, n):
    p = hits / n
    centre, half = p + Z * Z / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return max(0.0, (centre - half) / (1 + Z * Z / n)), min(1.0, (centre + half) / (1 + Z * Z / n))


def student(freedom):
    """t with 0.025 above it, by Simpson's rule over the density and bisection."""
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(freedom * math.pi)
    density = lambda t: scale * (1 + t * t / freedom) ** (-(freedom + 1) / 2)
    def inside(t, steps=2000):
        h = t / steps
        return h / 3 * sum(density(i * h) * (1 if i in (0, steps) else 4 if i % 2 else 2) for i in range(steps + 1))
    low, high = 1.0, 20.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.475 else (low, middle)
    return low


def alpha_of(units):
    """Krippendorff's alpha by its definition: every ordered pair of verdicts of a unit, weighted by 1 / (m - 1)."""
    pairs, values = [], []
    for given in units:
        if len(given) < 2:
            continue
        values += given
        pairs += [(a != b, 1 / (len(given) - 1)) for i, a in enumerate(given) for j, b in enumerate(given) if i != j]
    observed = sum(w for differs, w in pairs if differs) / len(values)
    chance = [a != b for i, a in enumerate(values) for j, b in enumerate(values) if i != j]
    return 1 - observed / (sum(chance) / len(chance))


class ReviewImport(Reviewed):
    def judge(self, lines, truth, rows, reviewers=None):
        """Fills in verdicts; truth(user, item, reviewer) is one."""
        for n, line in enumerate(lines):
            _, r, j = line["review_id"].split(":")
            line["verdict"] = truth(rows[int(r)]["user"], rows[int(r)]["item"][int(j)], line["reviewer"])
        return lines

    def check_by_user(self, out, judged, populations, variance):
        """The error by users as a quadratic form: residuals of every pair of verdicts on one user. judged: (cell, user, hit)."""
        total = sum(populations.values())
        n = {c: sum(cell == c for cell, _, _ in judged) for c in populations}
        users = {c: len({user for cell, user, _ in judged if cell == c}) for c in populations}
        share = {c: sum(hit for cell, _, hit in judged if cell == c) / n[c] for c in populations}
        factor = {c: populations[c] / total / n[c] * math.sqrt((1 - n[c] / populations[c]) * users[c] / (users[c] - 1)) for c in populations}
        off = [(user, factor[cell] * (hit - share[cell])) for cell, user, hit in judged]
        by_user = sum(a * b for u, a in off for v, b in off if u == v)
        said = out["estimate"]["by_user"]
        self.assertAlmostEqual(said["standard_error"], math.sqrt(by_user), places=12)
        self.assertAlmostEqual(said["design_effect"], by_user / variance, places=9)
        self.assertEqual(said["users"], len({user for _, user, _ in judged}))
        self.assertEqual(said["most_of_one_user"], max(sum(user == u for _, user, _ in judged) for _, u, _ in judged))
        self.assertGreater(said["most_of_one_user"], 1)
        larger, p = max(by_user, variance), out["estimate"]["share"]
        self.assertAlmostEqual(out["estimate"]["standard_error"], math.sqrt(larger), places=12)
        size = p * (1 - p) / larger * (Z / student(said["users"] - len(populations))) ** 2
        low, high = wilson(p * size, size)
        self.assertAlmostEqual(out["estimate"]["low"], low, places=7)
        self.assertAlmostEqual(out["estimate"]["high"], high, places=7)

    def test_figures_of_an_import(self):
        rows, manifest = rows_of(self.path("set"))
        lines = self.export(self.path("set"), "f.csv", "--by", "branch,stratum", "--sample", "72", "--reviewers", "ada,bo,cy")
        chance = random.Random(5)
        self.judge(lines, lambda u, i, who: chance.choice(["positive", "negative", "negative", " Negative ", "unsure", ""]), rows)
        answers = self.write_lines("f2.csv", lines)
        out = json.loads(self.ok("review", "import", answers, "--set", self.path("set"), "--out", self.path("f_events.csv"),
                                 "--overwrite", "--json"))
        given = {}
        for line in lines:
            given.setdefault(line["review_id"], [])
            if line["verdict"]:
                given[line["review_id"]].append(line["verdict"].strip().lower())
        majority = {}
        for unit, words in given.items():
            counts = sorted(((words.count(w), w) for w in set(words)), reverse=True)
            if words:
                majority[unit] = "unsure" if len(counts) > 1 and counts[0][0] == counts[1][0] else counts[0][1]
        self.assertEqual(out["negatives"], {**{w: sum(m == w for m in majority.values()) for w in ("negative", "positive", "unsure")},
                                            "not_judged": len(given) - len(majority)})
        cell_of = {line["review_id"]: line["cell"] for line in lines}
        cells = self.cells(rows, manifest, ["branch", "stratum"])
        total, share, variance = sum(map(len, cells.values())), 0.0, 0.0
        for cell in out["cells"]:
            units = [majority[u] for u in majority if cell_of[u] == cell["cell"] and majority[u] != "unsure"]
            hits, n, population = units.count("positive"), len(units), len(cells[cell["cell"]])
            self.assertEqual((cell["judged"], cell["false_negatives"], cell["population"]), (n, hits, population))
            self.assertGreater(n, 1)
            low, high = wilson(hits, n)
            self.assertAlmostEqual(cell["low"], low, places=9)
            self.assertAlmostEqual(cell["high"], high, places=9)
            p = hits / n
            share += population / total * p
            variance += (population / total) ** 2 * (1 - n / population) * p * (1 - p) / (n - 1)
        self.assertAlmostEqual(out["estimate"]["share"], share, places=12)
        apart = out["estimate"]["independent"]
        self.assertAlmostEqual(apart["standard_error"], math.sqrt(variance), places=12)
        low, high = wilson(share * (share * (1 - share) / variance), share * (1 - share) / variance)
        self.assertAlmostEqual(apart["low"], low, places=9)
        self.assertAlmostEqual(apart["high"], high, places=9)
        self.check_by_user(out, [(cell_of[u], rows[int(u.split(":")[1])]["user"], majority[u] == "positive")
                                 for u in majority if majority[u] != "unsure"], {n: len(c) for n, c in cells.items()}, variance)
        _, _, err = self.run_quarry("review", "import", answers, "--set", self.path("set"))
        self.assertIn("(by %d users, of one up to %d negatives: design effect %.2f; were negatives independent, %.2f %%)" % (
            out["estimate"]["by_user"]["users"], out["estimate"]["by_user"]["most_of_one_user"],
            out["estimate"]["by_user"]["design_effect"], 100 * math.sqrt(variance)), err)
        # The Horvitz-Thompson sum over what was judged, each with population / judged of its cell, is the same.
        judged = {c["cell"]: c["judged"] for c in out["cells"]}
        ht = sum(len(cells[cell_of[u]]) / judged[cell_of[u]] for u in majority if majority[u] == "positive") / total
        self.assertAlmostEqual(out["estimate"]["share"], ht, places=12)
        self.assertAlmostEqual(out["agreement"]["alpha"], alpha_of(list(given.values())), places=12)
        several = [g for g in given.values() if len(g) > 1]
        pairs = [[a == b for i, a in enumerate(g) for b in g[i + 1:]] for g in several]
        self.assertAlmostEqual(out["agreement"]["percent"], sum(sum(p) / len(p) for p in pairs) / len(pairs), places=12)
        self.assertEqual(out["agreement"]["negatives"], len(several))
        pooled = [m for m in majority.values() if m != "unsure"]
        low, high = wilson(pooled.count("positive"), len(pooled))
        self.assertAlmostEqual(out["sample"]["low"], low, places=9)
        self.assertEqual({r["name"]: r["verdicts"] for r in out["reviewers"]},
                         {w: sum(bool(l["verdict"]) for l in lines if l["reviewer"] == w) for w in ("ada", "bo", "cy")})
        self.assertEqual(sorted(out["protected"]["review_ids"]), sorted(u for u in majority if majority[u] == "positive"))
        self.assertEqual(sorted(out["confirmed"]["review_ids"]), sorted(u for u in majority if majority[u] == "negative"))
        # The log: one event a user and item, at as-of, in the columns of the set's own log.
        pairs = set()
        for unit in out["protected"]["review_ids"]:
            _, r, j = unit.split(":")
            pairs.add((self.user_ids[rows[int(r)]["user"]], self.item_ids[rows[int(r)]["item"][int(j)]]))
        log = read_csv(self.path("f_events.csv"))
        self.assertEqual(list(log[0]), ["who", "what", "time", "kind", "value"])
        self.assertEqual({(e["who"], e["what"]) for e in log}, pairs)
        self.assertEqual(len(log), len(pairs))
        self.assertEqual({(e["time"], e["kind"], e["value"]) for e in log}, {(str(AS_OF), "protected", "")})
        self.assertEqual(stat.S_IMODE(os.stat(self.path("f_events.csv")).st_mode), 0o600)
        self.assertNotIn("canary", text_of(self.path("f_events.csv.meta.json")) + json.dumps(out))
        # Two files, one for each reviewer and without names, and lines that are repeated, give the same.
        for line in lines:
            line["reviewer"] = {"ada": "", "bo": "", "cy": "cy"}[line["reviewer"]]
        first, second = lines[:len(lines) // 3], lines[len(lines) // 3:]
        files = [self.write_lines("g1.csv", first), self.write_lines("g2.csv", second + second[-3:])]
        again = json.loads(self.ok("review", "import", *files, "--set", self.path("sharded"), "--out",
                                   self.path("g_events.csv"), "--overwrite", "--json"))
        for part in ("cells", "estimate", "agreement", "negatives", "sample", "protected"):
            self.assertEqual(again[part], out[part], part)
        self.assertEqual(again["lines"]["repeated"], sum(bool(l["verdict"]) for l in second[-3:]))
        self.assertEqual(text_of(self.path("g_events.csv")), text_of(self.path("f_events.csv")))

    def test_part_of_the_strata(self):
        rows, _ = rows_of(self.path("set"))
        lines = self.export(self.path("set"), "p.csv", "--sample", "30")
        self.judge(lines, lambda u, i, who: "negative", rows)
        for line in lines:
            line["verdict"] = line["verdict"] if line["branch"] == "hard" else ""
        out = json.loads(self.ok("review", "import", self.write_lines("p2.csv", lines), "--set", self.path("set"), "--out",
                                 self.path("p_events.csv"), "--json"))
        hard = next(c for c in out["cells"] if c["cell"] == "branch=hard")
        self.assertEqual(out["estimate"]["covered"], hard["population"])
        self.assertEqual(out["estimate"]["population"], sum(c["population"] for c in out["cells"]))
        self.assertEqual((out["estimate"]["share"], out["estimate"]["low"], out["estimate"]["standard_error"]), (0, None, None))
        self.assertAlmostEqual(out["estimate"]["upper"], 1 - 0.05 ** (1 / hard["judged"]), places=12)
        by_user = out["estimate"]["by_user"]
        users = {rows[int(line["review_id"].split(":")[1])]["user"] for line in lines if line["verdict"]}
        self.assertLess(len(users), hard["judged"])
        self.assertEqual((by_user["users"], by_user["standard_error"]), (len(users), None))
        self.assertAlmostEqual(by_user["upper"], 1 - 0.05 ** (1 / len(users)), places=12)
        # In words, and in the log of a store: of what part it speaks, without an error of 0.
        store = self.fresh_store("part")
        _, _, err = self.run_quarry("review", "import", self.path("p2.csv"), "--set", store, "--out", self.path("p3_events.csv"))
        bound = 100 * out["estimate"]["upper"]
        covered, population = out["estimate"]["covered"], out["estimate"]["population"]
        self.assertIn("of the %d negatives (of %d) in strata with verdicts, 0.00 %% are estimated to be false and at most %.2f %%"
                      % (covered, population, bound), err)
        self.assertNotIn("standard error", err)
        self.assertIn("at most %.2f %% were all verdicts on a user the same" % (100 * by_user["upper"]), err)
        self.assertNotIn("0 of 0", err)
        self.assertIn("branch=random: no verdict; ", err)
        self.assertIn("estimated 0.0 %% of %d of %d (at most %.1f %%, 95 %%)" % (covered, population, bound), self.ok("log", store))
        said = json.loads(self.ok("log", store, "--json"))
        self.assertIsNone(next(e for e in said["events"] if e["event"] == "review")["standard_error"])
        # Two verdicts in each cell, of one user in the first: no error by users, and that is said.
        some = self.export(self.path("set"), "p5.csv", "--sample", "400")
        user = lambda line: rows[int(line["review_id"].split(":")[1])]["user"]
        cell = lambda branch: [line for line in some if line["branch"] == branch]
        alone = next([a, b] for a in cell("hard") for b in cell("hard") if a is not b and user(a) == user(b))
        apart = next([a, b] for a in cell("random") for b in cell("random") if user(a) != user(b) and user(a) == user(alone[0]))
        for line, verdict in zip(alone + apart, ("positive", "negative", "positive", "negative")):
            line["verdict"] = verdict
        two = self.write_lines("p6.csv", some)
        few = json.loads(self.ok("review", "import", two, "--set", self.path("set"), "--json"))["estimate"]
        self.assertEqual((few["by_user"]["cells_of_one_user"], few["by_user"]["standard_error"], few["by_user"]["most_of_one_user"]), (1, None, 3))
        self.assertEqual(few["standard_error"], few["independent"]["standard_error"])
        self.assertIn("in 1 cell all that were judged are of one user", self.run_quarry("review", "import", two, "--set", self.path("set"))[2])
        # Where all are unsure, what was said before stays.
        unsure = [dict(line, verdict="unsure") for line in lines]
        self.ok("review", "import", self.write_lines("p4.csv", unsure), "--set", store, "--out", self.path("p4_events.csv"))
        said = json.loads(self.ok("log", store, "--json"))
        self.assertEqual(next(v for v in said["versions"] if v["version"] == 1)["review"]["share"], 0)

    def test_figures_whatever_the_recipe(self):
        store = self.fresh_store("figures")
        rows, _ = rows_of(store, 1)
        lines = self.judge(self.export(store, "fig.csv", "--sample", "20"), lambda u, i, who: "positive" if u < 9 else "negative", rows)
        answers = self.write_lines("fig2.csv", lines)
        before = text_of(os.path.join(store, "log"))
        out = json.loads(self.ok("review", "import", answers, "--set", store, "--json"))
        self.assertEqual((out["log"], out["protected"]["events"]), (None, None))
        self.assertGreater(out["estimate"]["share"], 0)
        self.write("fig.toml", HEAD + '[exposure]\npositive = ["like"]\naversion = ["dislike", "protected"]\n' + REST)
        at = ["review", "import", answers, "--set", store, "--recipe", self.path("fig.toml"), "--json"]
        self.assertEqual(json.loads(self.ok(*at))["estimate"], out["estimate"])
        code, text, err = self.run_quarry(*at, "--out", self.path("fig_events.csv"))
        self.assertEqual(code, 2, err)
        self.assertIn("does not keep items", err)
        self.assertLess(err.index("are estimated to be false"), err.index("does not keep items"))
        self.assertEqual(json.loads(text)["estimate"], out["estimate"])
        self.assertFalse(os.path.exists(self.path("fig_events.csv")))
        self.assertEqual(text_of(os.path.join(store, "log")), before)
        self.fails(2, "none is written", "review", "import", answers, "--set", store, "--overwrite")
        # Without an event there is nothing that the recipe could do wrong.
        clean = self.write_lines("fig3.csv", [dict(line, verdict="negative") for line in lines])
        self.fails(2, "--time", "review", "import", clean, *at[3:], "--out", self.path("fig_events.csv"), "--time", "yesterday")
        self.ok("review", "import", clean, *at[3:], "--out", self.path("fig_events.csv"))

    def test_who_judged(self):
        rows, _ = rows_of(self.path("set"))
        lines = self.judge(self.export(self.path("set"), "who.csv", "--sample", "6"), lambda u, i, who: "negative", rows)
        first = self.write_lines("who1.csv", [dict(line, reviewer=" Ada ") for line in lines])
        at = ["--set", self.path("set"), "--overwrite", "--json", "--out", self.path("who_events.csv")]
        shutil.copyfile(first, self.path("who2.csv"))
        self.fails(2, "holds the same bytes as", "review", "import", first, first, *at)
        self.fails(2, "holds the same bytes as", "review", "import", first, self.path("who2.csv"), *at)
        second = self.write_lines("who3.csv", [dict(line, reviewer="ADA") for line in lines])
        out = json.loads(self.ok("review", "import", first, second, *at))
        self.assertEqual(out["reviewers"], [{"name": "Ada", "verdicts": 6}])
        self.assertEqual(out["agreement"]["negatives"], 0)
        self.fails(2, "stands there twice", "review", "export", self.path("set"), "--out", self.path("no.csv"), "--reviewers", "ada,Ada")
        # Spreadsheets leave empty rows at the end; one in the middle is none of them.
        with open(second, "a", encoding="utf-8") as f:
            f.write("," * (len(lines[0]) - 1) + "\n" + "," * (len(lines[0]) - 1) + "\n")
        self.assertEqual(json.loads(self.ok("review", "import", second, *at))["lines"]["read"], 6)
        text = text_of(second)
        self.write("who3.csv", text + text.split("\n")[1] + "\n")
        self.fails(3, "who3.csv:8: the line is empty", "review", "import", second, *at)
        self.assertEqual(out["agreement"]["percent"], None)
        self.assertEqual(text_of(self.path("p_events.csv")), "who,what,time,kind,value\n")

    def test_refused_imports(self):
        rows, _ = rows_of(self.path("set"))
        lines = self.export(self.path("set"), "x.csv", "--sample", "30", "--reviewers", "ada")
        self.judge(lines, lambda u, i, who: "positive", rows)

        def bad(words, change, *more, code=3):
            changed = [dict(line) for line in lines]
            changed = change(changed) or changed
            self.fails(code, words, "review", "import", self.write_lines("x2.csv", changed), "--set", self.path("set"), "--out",
                       self.path("x_events.csv"), *more)
            self.assertFalse(os.path.exists(self.path("x_events.csv")))

        def put(n, **fields):
            return lambda changed: changed[n].update(fields)

        bad("x2.csv:4: the verdict 'maybe' is not known", put(2, verdict="maybe"))
        bad("x2.csv:3: 'nonsense' is no review id", put(1, review_id="nonsense"))
        bad("is of a set with the content hash", put(0, review_id="0" * 32 + ":0:0"))
        content_hash = lines[0]["review_id"].split(":")[0]
        bad("there is no negative in slot 6 of row 0", put(0, review_id=content_hash + ":0:6"))
        bad("there is no negative in slot 0 of row 999", put(0, review_id=content_hash + ":999:0"))
        bad("the line was changed", put(0, item=lines[0]["item"] + "0"))
        bad("the line was changed", put(0, review_id=lines[1]["review_id"]))
        bad("of this negative it is", put(0, cell="branch=elsewhere"))
        bad("do not fit", put(0, weight="1"))
        bad("do not fit", put(0, population="3"))
        bad("sampled_by 'colour'", put(0, sampled_by="colour"))
        bad("one export at a time", put(3, sampled_by="rank"))
        bad("'ada' says negative here and positive in", lambda c: c + [dict(c[0], verdict="negative")])
        bad("no line has a verdict", lambda c: [dict(line, verdict="") for line in c])
        bad("keep its header", lambda c: [{("item_id" if n == "item" else n): v for n, v in line.items()} for line in c])
        # A line of another draw: one more than were sampled.
        other = next(l for l in self.export(self.path("set"), "y.csv", "--sample", "30", "--seed", "9")
                     if l["review_id"] not in {m["review_id"] for m in lines} and l["cell"] == lines[0]["cell"])
        bad("one negative more than", lambda c: c + [dict(other, verdict="positive", reviewer="ada")])
        bad("--time", lambda c: None, "--time", "yesterday", code=2)
        bad("lacks.toml", lambda c: None, "--recipe", self.path("lacks.toml"), code=5)
        bad("--kind", lambda c: None, "--kind", "", code=2)
        answers = self.write_lines("x2.csv", lines)
        self.fails(2, "ending", "review", "import", answers, "--set", self.path("set"), "--out", self.path("x.json"))
        self.fails(5, "lacks.csv", "review", "import", self.path("lacks.csv"), "--set", self.path("set"), "--out", self.path("x_events.csv"))
        self.fails(2, "is read here", "review", "import", answers, "--set", self.path("set"), "--out", answers)
        # A file of another set is refused though rows and slots are there.
        self.mine("--out", self.path("seed7"), "--seed", "7")
        self.fails(3, "is of a set with the content hash", "review", "import", answers, "--set", self.path("seed7"), "--out",
                   self.path("x_events.csv"))

    def test_the_recipe_must_keep_protected_items_out(self):
        rows, _ = rows_of(self.path("set"))
        lines = self.judge(self.export(self.path("set"), "w.csv", "--sample", "30"), lambda u, i, who: "positive", rows)
        answers = self.write_lines("w2.csv", lines)
        at = ["review", "import", answers, "--set", self.path("set"), "--out", self.path("w_events.csv"), "--overwrite"]

        def recipe(name, exposure, rest=REST):
            self.write(name, HEAD + exposure + rest)
            return self.path(name)

        # Aversion has a branch that draws from it, so it does not protect.
        self.fails(2, "a source of negatives of seen", *at, "--recipe", recipe(
            "w1.toml", '[exposure]\npositive = ["like"]\naversion = ["dislike", "protected"]\n'))
        # Not named is ambiguous, which nothing keeps out here.
        open_rest = REST.replace(', { kind = "exposed", classes = ["ambiguous"] }', "")
        self.fails(2, 'make "protected" the first rule of [exposure]', *at, "--recipe", recipe(
            "w2.toml", '[exposure]\npositive = ["like"]\naversion = ["dislike"]\n', open_rest))
        self.fails(2, "add { kind = \"exposed\", classes = [\"ambiguous\"] } to the filters of [safety]", *at, "--recipe",
                   recipe("w3.toml", EXPOSURE, open_rest))
        # Positive does, and so does ambiguous where it is kept out, named or not.
        self.ok(*at, "--recipe", recipe("w4.toml", '[exposure]\npositive = ["protected", "like"]\naversion = ["dislike"]\n'))
        unseen = self.write_lines("w3.csv", [line for line in lines if line["branch"] != "seen"])
        self.ok("review", "import", unseen, *at[3:], "--kind", "praised")
        # A rule before it decides for pairs that have such events: items of the branch seen are disliked.
        seen = [line for line in lines if line["branch"] == "seen"]
        self.assertTrue(seen)
        self.fails(3, "other events of the user and the item decide (aversion)", *at, "--recipe", recipe(
            "w5.toml", '[exposure]\npositive = ["like"]\naversion = ["dislike"]\nambiguous = ["protected"]\n'))
        # Confirmations come into the log only where the recipe has a use for them.
        self.fails(2, "confirmed negatives would be kept out", *at, "--with-confirmed")
        self.fails(2, "confirmed negatives would be kept out", *at, "--with-confirmed", "--confirmed-kind", "like")
        for n, line in enumerate(lines):
            line["verdict"] = "negative" if n % 2 else "positive"
        answers = self.write_lines("w2.csv", lines)
        named = recipe("w6.toml", EXPOSURE.replace('"dislike"', '"dislike", "confirmed"'))
        self.ok(*at, "--with-confirmed", "--recipe", named)
        log = read_csv(self.path("w_events.csv"))
        positive = {(e["who"], e["what"]) for e in log if e["kind"] == "protected"}
        confirmed = {(e["who"], e["what"]) for e in log if e["kind"] == "confirmed"}
        self.assertTrue(positive and confirmed and not positive & confirmed)
        self.ok(*at)
        self.assertEqual({e["kind"] for e in read_csv(self.path("w_events.csv"))}, {"protected"})

    def test_protection_that_the_recipe_forgets(self):
        self.write("window.toml", HEAD + EXPOSURE + 'window = "1m"\n' + REST)
        rows, _ = rows_of(self.path("set"))
        lines = self.judge(self.export(self.path("set"), "o.csv", "--sample", "20"), lambda u, i, who: "positive", rows)
        at = ["review", "import", self.write_lines("o2.csv", lines), "--set", self.path("set"), "--recipe", self.path("window.toml")]
        # 1940 is the oldest second inside a window of a minute before 2000.
        self.fails(3, "too old for the recipe", *at, "--out", self.path("o_events.csv"), "--time", "1939")
        out = json.loads(self.ok(*at, "--out", self.path("o_events.csv"), "--time", "1940", "--json"))
        self.assertEqual(out["protected"]["for_seconds"], 60)
        self.assertEqual({e["time"] for e in read_csv(self.path("o_events.csv"))}, {"1940"})

    def test_sets_without_events(self):
        self.table("rows.csv", ["user", "item"], [[self.user_ids[u], self.item_ids[i]] for u, i, t, k in self.events if k == "like"])
        self.write("bare.toml", HEAD + '[exposure]\npositive = ["protected"]\n[safety]\nfilters = ["positives"]\n[[branch]]\nname = "hard"\n'
                   'source = { kind = "topk", pool = 20 }\n')
        store = self.path("bare")
        code, _, err = self.run_quarry("mine", *self.inputs(), "--rows", self.path("rows.csv"), "--recipe", self.path("bare.toml"),
                                       "--store", store)
        self.assertEqual(code, 0, err)
        rows, _ = rows_of(store, 1)
        lines = self.export(store, "b.csv", "--sample", "20")
        self.judge(lines, lambda u, i, who: "positive" if u < 9 else "negative", rows)
        at = ["review", "import", self.write_lines("b2.csv", lines), "--set", store, "--out", self.path("b_events.csv")]
        self.fails(2, "--time", *at)
        code, _, err = self.run_quarry(*at, "--time", "3000")
        self.assertEqual(code, 0, err)
        self.assertIn("next: quarry refresh %s --events %s" % (store, self.path("b_events.csv")), err)
        pairs = {(self.user_ids.index(e["user"]), self.item_ids.index(e["item"])) for e in read_csv(self.path("b_events.csv"))}
        done = self.refresh(store, "--events", self.path("b_events.csv"))
        self.compare_versions(store, pairs, done["rows_mined"])

    def test_sets_whose_events_have_one_kind(self):
        self.table("ratings.csv", ["user", "item", "time"], [[self.user_ids[u], self.item_ids[i], t] for u, i, t, k in self.events])
        self.write("r.toml", HEAD + '[exposure]\npositive = ["rating", "protected"]\n' + REST.replace("0.25", "0.0", 2).replace(
            "share = 0.5", "share = 1.0"))
        code, _, err = self.run_quarry("mine", *self.inputs(), "--events", self.path("ratings.csv"), "--event-kind", "rating",
                                       "--recipe", self.path("r.toml"), "--out", self.path("rated"))
        self.assertEqual(code, 0, err)
        lines = self.export(self.path("rated"), "r1.csv", "--sample", "10")
        for line in lines:
            line["verdict"] = "positive"
        self.fails(2, "was mined with --event-kind rating", "review", "import", self.write_lines("r2.csv", lines), "--set",
                   self.path("rated"), "--out", self.path("r_events.csv"))

    # --- the whole circle ---------------------------------------------------------------------------------------------

    def test_review_circle(self):
        store = self.fresh_store("circle")
        rows, _ = rows_of(store, 1)
        liked = {(u, i) for u in range(0, 8) for i in range(0, ITEMS, 2)}  # what experts know and the log does not
        lines = self.export(store + "@1", "c.csv", "--by", "branch,stratum", "--sample", "90", "--reviewers", "ada,bo")
        self.judge(lines, lambda u, i, who: "positive" if (u, i) in liked else "negative", rows)
        out = json.loads(self.ok("review", "import", self.write_lines("c2.csv", lines), "--set", store + "@1", "--out",
                                 self.path("c_events.csv"), "--json"))
        self.assertEqual(out["agreement"]["percent"], 1)
        pairs = set()
        for unit in out["protected"]["review_ids"]:
            _, r, j = unit.split(":")
            pairs.add((rows[int(r)]["user"], rows[int(r)]["item"][int(j)]))
        self.assertTrue(pairs)
        self.assertLessEqual(pairs, liked)
        done = self.refresh(store, "--more-events", self.path("c_events.csv"), "--as-of", "latest")
        self.compare_versions(store, pairs, done["rows_mined"])
        self.assertLess(done["rows_mined"], done["rows"])
        # The log says it, to people and as JSON, and holds no id of a user.
        log = json.loads(self.ok("log", store, "--json"))
        said = next(v for v in log["versions"] if v["version"] == 1)["review"]
        for name, value in (("false_negatives", out["negatives"]["positive"]), ("confirmed", out["negatives"]["negative"]),
                            ("share", out["estimate"]["share"]), ("standard_error", out["estimate"]["standard_error"]),
                            ("low", out["estimate"]["low"]), ("high", out["estimate"]["high"]),
                            ("alpha", out["agreement"]["alpha"]), ("reviewers", 2)):
            self.assertEqual(said[name], value, name)
        self.assertLess(said["low"], said["share"])
        event = [e for e in log["events"] if e["event"] == "review"]
        self.assertEqual(len(event), 1)
        self.assertEqual(event[0]["files"], [f["xxh3_128"] for f in out["files"]])
        self.assertIn("review: %d of %d are false negatives" % (out["negatives"]["positive"], out["sample"]["judged"]), self.ok("log", store))
        self.assertNotIn("canary", text_of(os.path.join(store, "log")))
        self.ok("verify", store)
        self.ok("audit", store + "@2")
        # Verdicts on version 1 do not fit version 2.
        self.fails(3, "is of a set with the content hash", "review", "import", self.path("c2.csv"), "--set", store + "@2", "--out",
                   self.path("c_no.csv"))
        self.ok("report", "--store", store, "--out", self.path("page.html"))
        self.assertNotIn("canary", text_of(self.path("page.html")))
        # Nothing is written where the log of the store is damaged.
        damaged = self.path("damaged")
        shutil.copytree(store, damaged)
        text = text_of(os.path.join(damaged, "log"))
        self.write("damaged/log", text.replace('"review"', '"revieu"', 1))
        for verb in (["review", "import", self.path("c2.csv")], ["feedback", "users", self.users_file("dr.csv", [(0, 1, AS_OF, "avoid")])]):
            self.fails(3, "log", *verb, "--set", damaged + "@1", "--out", self.path("c_no.csv"))
            self.assertFalse(os.path.exists(self.path("c_no.csv")))
        # A second review of the version: the newest counts, both stand in the log.
        self.ok("review", "import", self.path("c2.csv"), "--set", store + "@1", "--out", self.path("c_events2.csv"))
        self.assertEqual(text_of(self.path("c_events2.csv")), text_of(self.path("c_events.csv")))
        log = json.loads(self.ok("log", store, "--json"))
        self.assertEqual([e["version"] for e in log["events"] if e["event"] == "review"], [1, 1])
        # A store that another process writes is left alone.
        import fcntl
        with open(os.path.join(store, "LOCK"), "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            self.fails(4, "another run is writing", "review", "import", self.path("c2.csv"), "--set", store + "@1", "--out",
                       self.path("c_no.csv"))
        self.assertFalse(os.path.exists(self.path("c_no.csv")))

    def test_protected_as_positive_makes_rows(self):
        self.write("positive.toml", HEAD + '[exposure]\npositive = ["protected", "like"]\naversion = ["dislike"]\n' + REST)
        store = self.path("positive_store")
        self.mine("--store", store, recipe="positive.toml")
        rows, _ = rows_of(store, 1)
        lines = self.export(store, "q.csv", "--sample", "30")
        self.judge(lines, lambda u, i, who: "positive" if u < 6 else "negative", rows)
        out = json.loads(self.ok("review", "import", self.write_lines("q2.csv", lines), "--set", store, "--out",
                                 self.path("q_events.csv"), "--json"))
        self.assertEqual(out["protected"]["class"], "positive")
        events = read_csv(self.path("q_events.csv"))
        done = self.refresh(store, "--more-events", self.path("q_events.csv"))
        self.assertEqual(done["rows"], len(rows) + len(events))
        pairs = {(self.user_ids.index(e["who"]), self.item_ids.index(e["what"])) for e in events}
        self.compare_versions(store, pairs, done["rows_mined"])


if __name__ == "__main__":
    main(__doc__)
