#!/usr/bin/env python3
"""quarry feedback model: shares worked out here again, from the rule in docs/feedback.md and not from the program; layout and
comments of the recipe; every refusal.

  tests/feedback_model_test.py PROGRAM

The projection on the bounds is found here by going through its break points in exact fractions, the program halves an interval.
"""
import fcntl
import fractions
import json
import math
import os
import random
import stat
import tomllib

from program import ProgramTest, main, text_of, write_waves

USERS, ITEMS, DIM = 20, 60, 4
Z = 1.959963984540054
BRANCHES = """# mined nightly  \u2014 \u00fc and other letters
name = "small"   # kept

k = 10
[exposure]
positive = ["like"]

[safety]
filters = [ { kind = "positives" } ]   # every branch
[strata]
popularity = { bins = 3, names = ["tail", "torso", "head"] }
seller = { column = "seller" }

[[branch]]
name = "hard"
share = 0.5            # half of the row
source = { kind = "topk", pool = 40 }

  [[branch]]
  source = "uniform"
  share=0.3\t# tabs	and no spaces
  name = 'random'

[[branch]]
name = "popular"
share = 2e-1 # the rest
source = "popularity^0.75"
"""
QUOTA = BRANCHES + """
[quota]
by = "popularity"     # one attribute
shares = { head = 0.4, torso = 0.35,   tail = 0.25 }   # by hand
"""
EQUAL = BRANCHES + """
[quota]
by = ["popularity", "seller"]
shares = "equal"  # of both
"""
CATALOGUE = BRANCHES + """
[quota]
by = "seller"
shares = "catalogue"
"""
NESTED = BRANCHES + """
[quota]
by = ["popularity", "seller"]
[quota.shares]
popularity = 'equal'   # single quotes
seller = { S0 = 0.5, S1 = 0.25, S2 = 0.25 }
"""
COUNTS = BRANCHES.replace("share = 0.5 ", "count = 5 ").replace("share=0.3", "count=3").replace("share = 2e-1", "count = 2")
SCHEDULE = BRANCHES.replace("share = 0.5 ", "share = { schedule = [[0, 0.5], [10, 0.5]] } ")
SINGLE = BRANCHES[:BRANCHES.index("  [[branch]]")].replace("share = 0.5", "")


# --- the rule, once more ----------------------------------------------------------------------------------------------

RULE = {"eta": 0.5, "step": 1.25, "floor": 0.01, "ceiling": 0.9, "confusion_limit": 0.1, "min_negatives": 1000}


def wilson_low(hits, n):
    p = hits / n
    return (p + Z * Z / (2 * n) - Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))) / (1 + Z * Z / n) if hits else 0.0


def mean_loss(losses):
    """Of (loss, weight, damped): the m about which weight * (loss - m), of damped ones where it is negative alone, sum to 0."""
    losses = [x for x in losses if x[1] > 0]
    if not losses:
        return None  # nothing counts
    if all(damped for _, _, damped in losses):
        return min(loss for loss, _, _ in losses)
    below, above = 0.0, max(loss for loss, _, _ in losses)
    for _ in range(200):
        m = (below + above) / 2
        rest = sum(w * (min(x - m, 0.0) if damped else x - m) for x, w, damped in losses)
        below, above = (m, above) if rest > 0 else (below, m)
    return above if above > 1e-30 else 0.0


def rule(shares, lines, total, grain=1, **changed):
    """New shares as real numbers in units: what rounding must be within one grain of. Lines: segment -> dict of figures."""
    r = {**RULE, **changed}
    moving = [s for s in shares if s in lines and shares[s] > 0 and lines[s]["negatives"] >= r["min_negatives"]
              and any(lines[s].get(f) is not None for f in ("loss", "confusions", "predicted"))]
    if len(moving) < 2:
        return {s: float(v) for s, v in shares.items()}
    with_loss = [s for s in moving if lines[s].get("loss") is not None]
    trusts, bounds = {}, {}
    for s in moving:
        line, trusts[s], bounds[s] = lines[s], 1.0, 0.0
        if line.get("predicted") is not None and line["predicted"] != line["observed"]:
            error = math.sqrt(line["predicted"] * (1 - line["predicted"]) / line["negatives"])
            trusts[s] = min(1.0, 1.96 * error / abs(line["predicted"] - line["observed"]))
        if line.get("confusions") is not None:
            bounds[s] = wilson_low(line["confusions"], line["negatives"])
    mean = mean_loss([(lines[s]["loss"], lines[s]["negatives"] * trusts[s], bounds[s] > r["confusion_limit"]) for s in with_loss])
    factor, low, high = {}, {}, {}
    for s in moving:
        line, share, trust, bound = lines[s], shares[s], trusts[s], bounds[s]
        exponent = r["eta"] * trust * (line["loss"] / mean - 1) if s in with_loss and mean else 0.0
        damping = 1.0
        if bound > r["confusion_limit"]:
            exponent, damping = min(exponent, 0.0), (1 - bound) / (1 - r["confusion_limit"])
        factor[s] = math.exp(exponent) * damping
        grains, all_grains = share / grain, total / grain
        low[s] = min(grains, max(math.ceil(grains / r["step"] - 1e-9), math.ceil(r["floor"] * all_grains - 1e-9))) * grain
        high[s] = max(grains, min(math.floor(grains * r["step"] + 1e-9), math.floor(r["ceiling"] * all_grains + 1e-9))) * grain
        if damping < 1:
            high[s] = share
    mass = sum(shares[s] for s in moving)
    f = {s: fractions.Fraction(shares[s]) * fractions.Fraction(factor[s]) for s in moving}
    breaks = sorted({fractions.Fraction(b[s]) / f[s] for s in moving for b in (low, high)})

    def at(c):
        return {s: min(max(c * f[s], fractions.Fraction(low[s])), fractions.Fraction(high[s])) for s in moving}

    new = None
    for left, right in zip(breaks, breaks[1:]):
        a, b = sum(at(left).values()), sum(at(right).values())
        if a <= mass <= b:
            c = left if a == b else left + (right - left) * (mass - a) / (b - a)  # linear between break points
            new = at(c)
            break
    if new is None:
        new = at(breaks[0])  # low, high and share are all one
    return {s: float(new.get(s, shares[s])) for s in shares}


class ModelFeedback(ProgramTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        write_waves(cls.path("items.npy"), ITEMS, DIM, 0.1)
        write_waves(cls.path("users.npy"), USERS, DIM, 0.4)
        cls.table("events.csv", ["user", "item", "time", "kind"],
                  [[u, (u * 7 + j * 11) % ITEMS, 1000 + u * 10 + j, "like"] for u in range(USERS) for j in range(3)])
        cls.table("catalogue.csv", ["item", "seller"], [[i, "S%d" % (0 if i % 2 else i % 3)] for i in range(ITEMS)])
        for name, recipe in (("branches", BRANCHES), ("quota", QUOTA), ("equal", EQUAL), ("catalogue", CATALOGUE), ("nested", NESTED),
                             ("counts", COUNTS), ("schedule", SCHEDULE), ("single", SINGLE), ("crlf", QUOTA.replace("\n", "\r\n"))):
            cls.write(name + ".toml", recipe)
            cls.mine(name, "--out", cls.path(name))

    @classmethod
    def mine(cls, recipe, *more):
        code, _, err = cls.run_quarry("mine", "--items", cls.path("items.npy"), "--users", cls.path("users.npy"), *([] if "--events" in more else ["--events", cls.path("events.csv")]),
                                      *([] if "--catalogue" in more else ["--catalogue", cls.path("catalogue.csv")]), "--recipe", cls.path(recipe + ".toml"), "--threads", "1", *more)
        assert code == 0, err

    def outputs(self, lines, name="outputs.csv"):
        """Lines: (by, segment) -> figures."""
        columns = ["by", "segment", "negatives"]
        for column in ("loss", "confusions", "predicted", "observed"):
            if any(figures.get(column) is not None for figures in lines.values()):
                columns.append(column)
        return self.table(name, columns, [[by, segment, *("" if figures.get(c) is None else repr(figures[c]) for c in columns[2:])]
                                          for (by, segment), figures in lines.items()])

    def feedback(self, name, lines, *more, out="new.toml"):
        if os.path.exists(self.path(out)):
            os.remove(self.path(out))
        code, stdout, err = self.run_quarry("feedback", "model", self.outputs(lines), "--set", self.path(name), "--out", self.path(out), "--json", *more)
        self.assertEqual(code, 0, err)
        answer = json.loads(stdout)
        self.assertEqual(answer["changed"], os.path.exists(self.path(out)), stdout)
        return answer, text_of(self.path(out)) if answer["changed"] else None

    def shares(self, answer, by="branch"):
        group = next(g for g in answer["groups"] if g["by"] == by)
        return {s["segment"]: s["after"] for s in group["segments"]}

    def test_losses(self):
        # Mean loss 1: factors exp(0.5 * 0.2) = 1.105171, 1 and exp(-0.5 * 0.2) = 0.904837. 0.5 * 1.105171 = 0.552585, 0.3, 0.180967;
        # sum 1.033553; 0.534647, 0.290261, 0.175092. In ten-thousandths 5346 (.47), 2902 (.61), 1750 (.92): two more to give.
        lines = {("branch", "hard"): {"negatives": 5000, "loss": 1.2}, ("branch", "random"): {"negatives": 5000, "loss": 1.0},
                 ("branch", "popular"): {"negatives": 5000, "loss": 0.8}}
        answer, text = self.feedback("branches", lines)
        self.assertEqual(self.shares(answer), {"hard": 0.5346, "random": 0.2903, "popular": 0.1751})
        wanted = BRANCHES.replace("share = 0.5 ", "share = 0.5346 ").replace("share=0.3\t", "share=0.2903\t").replace("2e-1", "0.1751")
        self.assertEqual(text, wanted)  # comments, tabs, order, letters: byte by byte
        self.assertIn("-share = 0.5            # half of the row", answer["diff"])
        self.assertIn("+share = 0.5346            # half of the row", answer["diff"])
        self.assertEqual(stat.S_IMODE(os.stat(self.path("new.toml")).st_mode), 0o600)
        self.assertEqual(answer["groups"][0]["mean_loss"], 1.0)
        # The mean counts negatives: of 9000 and 1000 at losses 2 and 1 it is 1.9.
        answer, _ = self.feedback("branches", {("branch", "hard"): {"negatives": 9000, "loss": 2.0}, ("branch", "random"): {"negatives": 1000, "loss": 1.0}})
        self.assertAlmostEqual(answer["groups"][0]["mean_loss"], 1.9, places=12)
        # 0.2 of popular stays; hard * exp(0.5 / 19), random * exp(-0.5 * 9 / 19): 0.513332, 0.236734 of 0.8 become 0.547497, 0.252503.
        self.assertEqual(self.shares(answer), {"hard": 0.5475, "random": 0.2525, "popular": 0.2})

    def test_step_floor_ceiling(self):
        lines = {("branch", "hard"): {"negatives": 5000, "loss": 3.0}, ("branch", "random"): {"negatives": 5000, "loss": 0.1},
                 ("branch", "popular"): {"negatives": 5000, "loss": 0.1}}
        answer, _ = self.feedback("branches", lines)  # 0.3 / 1.25 and 0.2 / 1.25, the rest to hard
        self.assertEqual(self.shares(answer), {"hard": 0.6, "random": 0.24, "popular": 0.16})
        answer, _ = self.feedback("branches", lines, "--floor", "0.19")
        self.assertEqual(self.shares(answer), {"hard": 0.57, "random": 0.24, "popular": 0.19})
        answer, _ = self.feedback("branches", lines, "--ceiling", "0.55", "--eta", "3")
        self.assertEqual(self.shares(answer)["hard"], 0.55)
        # What lies beyond a bound already is not driven back by more than the outputs say, and goes no further.
        answer, _ = self.feedback("branches", lines, "--ceiling", "0.4")
        self.assertEqual(self.shares(answer), {"hard": 0.5, "random": 0.3, "popular": 0.2})
        for flags in (["--step", "1"], ["--eta", "0"]):
            answer, text = self.feedback("branches", lines, *flags)
            self.assertFalse(answer["changed"])
            self.assertIsNone(text)

    def test_suspected_false_negatives(self):
        # 30 % of 10,000: Wilson's lower bound is 0.291096; 0.708904 / 0.9 = 0.787671. 0.5 * 0.787671 = 0.393836 of a sum of 0.893836:
        # 0.440613; 0.335632; 0.223755.
        lines = {("branch", "hard"): {"negatives": 10000, "confusions": 3000}, ("branch", "random"): {"negatives": 10000, "confusions": 0},
                 ("branch", "popular"): {"negatives": 10000, "confusions": 100}}
        answer, _ = self.feedback("branches", lines)
        self.assertEqual(self.shares(answer), {"hard": 0.4406, "random": 0.3356, "popular": 0.2238})
        hard = answer["groups"][0]["segments"][0]
        self.assertAlmostEqual(hard["confusion_low"], 0.2910965, places=6)
        self.assertIn("false negatives", hard["why"])
        # A high loss does not lift it; without confusions it would.
        for line, loss in zip(lines.values(), (3.0, 1.0, 1.0)):
            line["loss"] = loss
        answer, _ = self.feedback("branches", lines)
        self.assertLess(self.shares(answer)["hard"], 0.5)
        del lines[("branch", "hard")]["confusions"]
        answer, _ = self.feedback("branches", lines)
        self.assertGreater(self.shares(answer)["hard"], 0.5)
        # Few of few prove little: 15 % of 20 has a lower bound of 5 %.
        few = {("branch", "hard"): {"negatives": 20, "confusions": 3}, ("branch", "random"): {"negatives": 20, "confusions": 0}}
        answer, _ = self.feedback("branches", few, "--min-negatives", "1")
        self.assertFalse(answer["changed"])
        # However high, it does not lower the others' through the mean: random and popular stand to each other as without it.
        lines = {("branch", "hard"): {"negatives": 10**8, "confusions": 3 * 10**7, "loss": 50.0}, ("branch", "random"): {"negatives": 10000, "loss": 1.0},
                 ("branch", "popular"): {"negatives": 10000, "loss": 1.0}}
        answer, _ = self.feedback("branches", lines)
        self.assertEqual(answer["groups"][0]["mean_loss"], 1.0)
        self.assertEqual([s["factor"] for s in answer["groups"][0]["segments"][1:]], [1, 1])
        # All above the limit: nobody can take it, and that is said.
        lines = {("branch", s): {"negatives": 10000, "confusions": 3000} for s in ("hard", "random", "popular")}
        answer, _ = self.feedback("branches", lines)
        self.assertFalse(answer["changed"])
        self.assertIn("filters can", answer["groups"][0]["notes"][0])

    def test_calibration(self):
        # Predicted 0.1, observed 0.15 of 10,000: standard error 0.003, 16.667 of them; 1.96 / 16.667 = 0.1176 of the loss counts.
        lines = {("branch", "hard"): {"negatives": 10000, "loss": 1.5, "predicted": 0.1, "observed": 0.15},
                 ("branch", "random"): {"negatives": 10000, "loss": 0.5, "predicted": 0.1, "observed": 0.102}}
        answer, _ = self.feedback("branches", lines)
        hard, random_, popular = answer["groups"][0]["segments"]
        self.assertAlmostEqual(hard["trust"], 0.1176, places=12)
        self.assertAlmostEqual(hard["deviation"], -0.05 / 0.003, places=9)
        self.assertEqual(random_["trust"], 1)
        # The mean counts it as little: (0.1176 * 1.5 + 0.5) / 1.1176 = 0.605226. exp(0.5 * 0.1176 * 1.478411) = 1.090821 and
        # exp(-0.5 * 0.173862) = 0.916740: 0.545411, 0.275022 of 0.8.
        self.assertEqual((hard["after"], random_["after"], popular["after"]), (0.5318, 0.2682, 0.2))
        lines[("branch", "hard")].update(predicted=0.0, observed=0.5)
        answer, _ = self.feedback("branches", lines)
        self.assertEqual(answer["groups"][0]["segments"][0]["factor"], 1)
        self.assertIsNone(answer["groups"][0]["segments"][0]["deviation"])  # infinite
        self.assertIn("predictions of exactly 0 did not come true, so nothing of that counts", answer["groups"][0]["segments"][0]["why"])

    def test_quota(self):
        lines = {("popularity", "head"): {"negatives": 5000, "loss": 1.2}, ("popularity", "torso"): {"negatives": 999, "loss": 9},
                 ("popularity", "tail"): {"negatives": 5000, "loss": 0.8}}
        # 0.35 stays. 0.4 * 1.105171, 0.25 * 0.904837 of 0.65: 0.442068, 0.226209; 0.429973, 0.220022.
        for name, recipe in (("quota", QUOTA), ("crlf", QUOTA.replace("\n", "\r\n"))):
            answer, text = self.feedback(name, lines)
            self.assertEqual(self.shares(answer, "popularity"), {"head": 0.43, "torso": 0.35, "tail": 0.22})
            self.assertEqual(text, recipe.replace("head = 0.4,", "head = 0.43,").replace("tail = 0.25 }", "tail = 0.22 }"))
            self.assertEqual(answer["groups"][0]["segments"][1]["held"], "few_negatives")
        # Both in one go.
        both = {**lines, ("branch", "hard"): {"negatives": 5000, "loss": 1.2}, ("branch", "random"): {"negatives": 5000, "loss": 0.8}}
        answer, text = self.feedback("quota", both)
        recipe = tomllib.loads(text)
        self.assertEqual(recipe["quota"]["shares"], {"head": 0.43, "torso": 0.35, "tail": 0.22})
        self.assertEqual([b["share"] for b in recipe["branch"]], [s for s in self.shares(answer).values()])
        # The recipe written is one that mines.
        self.mine("new", "--out", self.path("mined_again"))

    def test_words_become_shares(self):
        lines = {("popularity", "head"): {"negatives": 5000, "loss": 1.2}, ("popularity", "torso"): {"negatives": 5000, "loss": 1.0},
                 ("popularity", "tail"): {"negatives": 5000, "loss": 0.8}}
        third = 1e6 / 3
        # 1.105171, 1, 0.904837 of their sum 3.010008.
        sums = {"head": 1.105170918, "torso": 1.0, "tail": 0.904837418}
        wanted = {s: f / sum(sums.values()) for s, f in sums.items()}
        self.assertAlmostEqual(third, 333333, delta=1)
        for name, recipe, old, other in (("equal", EQUAL, '"equal"', "equal"), ("nested", NESTED, "'equal'", {"S0": 0.5, "S1": 0.25, "S2": 0.25})):
            answer, text = self.feedback(name, lines)
            self.assertIn("become named shares", answer["groups"][0]["notes"][0])
            shares = tomllib.loads(text)["quota"]["shares"]
            self.assertEqual(list(shares["popularity"]), ["tail", "torso", "head"])  # as the cells stand
            for cell, share in shares["popularity"].items():
                self.assertAlmostEqual(share, wanted[cell], delta=2e-6)
            self.assertEqual(sum(round(s * 1e6) for s in shares["popularity"].values()), 1000000)
            self.assertEqual(shares["seller"], other)
            before, after = recipe.split(old)
            self.assertTrue(text.startswith(before) and text.endswith(after), text)
            self.mine("new", "--out", self.path("mined_" + name))
        # 30 items of odd number and 10 of the even are S0, 10 each S1 and S2: the slots asked for say so, within rounding.
        lines = {("seller", "S%d" % s): {"negatives": 5000, "loss": loss} for s, loss in ((0, 1.2), (1, 1.0), (2, 0.8))}
        answer, text = self.feedback("catalogue", lines)
        before = {s["segment"]: s["before"] for s in answer["groups"][0]["segments"] if s["segment"]}
        for cell, share in {"S0": 40 / 60, "S1": 10 / 60, "S2": 10 / 60}.items():
            self.assertAlmostEqual(before[cell], share, delta=0.03)
        self.assertEqual(round(1e6 * sum(s["before"] for s in answer["groups"][0]["segments"])), 1000000)
        self.assertIn("slots that the run asked for", answer["groups"][0]["notes"][0])
        self.mine("new", "--out", self.path("mined_catalogue"))
        self.assertIn("items without a value of seller", answer["groups"][0]["notes"][1])
        # A run too short to ask for a slot of every cell: written, they would be 0 for good.
        self.table("sellers.csv", ["item", "seller"], [[i, "S%d" % (i if i < 8 else 0)] for i in range(ITEMS)])
        self.table("one_event.csv", ["user", "item", "time", "kind"], [[0, 9, 1000, "like"]])
        self.mine("catalogue", "--catalogue", self.path("sellers.csv"), "--events", self.path("one_event.csv"), "--out", self.path("short"))
        manifest = json.loads(text_of(os.path.join(self.path("short"), "manifest.json")))
        asked = [s["name"] for s in manifest["run"]["strata"]]
        lost = ["S%d" % s for s in range(8) if "S%d" % s not in asked]
        self.assertTrue(lost and len(asked) > 1, asked)
        lines = {("seller", asked[0]): {"negatives": 5000, "loss": 1.2}, ("seller", asked[1]): {"negatives": 5000, "loss": 0.8}}
        flags = ["feedback", "model", self.outputs(lines), "--set", self.path("short"), "--out", self.path("short.toml"), "--ceiling", "1", "--step", "2"]
        self.fails(3, [*lost, "no slot", "Mine more rows"], *flags)
        self.assertFalse(os.path.exists(self.path("short.toml")))
        self.ok(*flags[:-2], "--step", "1")  # nothing would be written

    def test_counts(self):
        lines = {("branch", "hard"): {"negatives": 5000, "loss": 1.5}, ("branch", "random"): {"negatives": 5000, "loss": 0.5}}
        answer, _ = self.feedback("counts", lines)
        self.assertFalse(answer["changed"])  # 3 / 1.25 is 2.4: no whole number below 3
        self.assertIn("counts", answer["groups"][0]["notes"][0])
        # 5 * exp(0.25), 3 * exp(-0.25) of 8: 6.42013, 2.336402 become 5.865424, 2.134576.
        answer, text = self.feedback("counts", lines, "--step", "1.5")
        self.assertEqual(self.shares(answer), {"hard": 6, "random": 2, "popular": 2})
        self.assertEqual(text, COUNTS.replace("count = 5 ", "count = 6 ").replace("count=3", "count=2"))

    # --- random outputs -----------------------------------------------------------------------------------------------

    def test_random_outputs(self):
        for seed in range(25):
            draw = random.Random(seed)
            lines = {}
            for by, segments in (("branch", ["hard", "random", "popular"]), ("popularity", ["head", "torso", "tail"])):
                for segment in segments:
                    if draw.random() < 0.1:
                        continue
                    n = draw.choice([500, 2000, 50000, 10**7])
                    figures = {"negatives": n}
                    if draw.random() < 0.9:
                        figures["loss"] = draw.choice([0.0, draw.random(), 10 * draw.random()])
                    if draw.random() < 0.6:
                        figures["confusions"] = int(n * draw.choice([0, draw.random() * 0.2, draw.random()]))
                    if draw.random() < 0.6:
                        figures["predicted"] = draw.random()
                        figures["observed"] = min(1.0, figures["predicted"] * draw.choice([1, 1.001, 0.7]))
                    lines[(by, segment)] = figures
            if not any(len(f) > 1 for f in lines.values()):
                continue
            flags = {"eta": draw.choice([0.5, 0.1, 4]), "step": draw.choice([1.25, 1.05, 3]), "floor": draw.choice([0.01, 0, 0.22]),
                     "ceiling": draw.choice([0.9, 0.45]), "confusion_limit": draw.choice([0.1, 0.4])}
            answer, text = self.feedback("quota", lines, *(w for k, v in flags.items() for w in ("--" + k.replace("_", "-"), str(v))))
            old = {"branch": {"hard": 500000, "random": 300000, "popular": 200000}, "popularity": {"head": 400000, "torso": 350000, "tail": 250000}}
            for by in {by for by, _ in lines}:
                mine = {s: f for (b, s), f in lines.items() if b == by}
                wanted = rule(old[by], mine, 1000000, grain=100, **flags)
                got = {s: round(1e6 * v) for s, v in self.shares(answer, by).items()}
                self.assertEqual(sum(got.values()), 1000000)
                for segment, share in got.items():
                    self.assertLess(abs(share - wanted[segment]), 100.001, (seed, by, segment, wanted, got))
                    self.assertEqual(share % 100, 0)
                    self.assertLessEqual(share, flags["step"] * old[by][segment] + 1e-6)
                    self.assertGreaterEqual(share, old[by][segment] / flags["step"] - 1e-6)
                    self.assertGreaterEqual(share, min(old[by][segment], 1e6 * flags["floor"]) - 1e-6)
                    self.assertLessEqual(share, max(old[by][segment], 1e6 * flags["ceiling"]) + 1e-6)
                if text is not None:
                    recipe = tomllib.loads(text)
                    written = {b["name"]: b["share"] for b in recipe["branch"]} if by == "branch" else recipe["quota"]["shares"]
                    self.assertEqual({s: round(1e6 * v) for s, v in written.items()}, got)

    # --- the program --------------------------------------------------------------------------------------------------

    GOOD = {("branch", "hard"): {"negatives": 5000, "loss": 1.2}, ("branch", "random"): {"negatives": 5000, "loss": 0.8}}

    def test_words_and_files(self):
        out = self.path("words.toml")
        args = ["feedback", "model", self.outputs(self.GOOD), "--set", self.path("branches"), "--out", out]
        code, stdout, err = self.run_quarry(*args)
        self.assertEqual(code, 0, err)
        self.assertIn("loss 20 % above the mean", stdout)
        self.assertIn("+++ " + out, stdout)
        self.assertIn("written: " + out, err)
        self.assertEqual([n for n in os.listdir(self.root) if "partial" in n], [])
        first = text_of(out)
        self.fails(5, "--overwrite", *args)
        self.write("words.toml", "mine = 1\n")
        self.fails(5, "exists", *args)
        self.assertEqual(text_of(out), "mine = 1\n")
        self.ok(*args, "--overwrite")
        self.assertEqual(text_of(out), first)
        same = {("branch", "hard"): {"negatives": 5000, "loss": 1.0}, ("branch", "random"): {"negatives": 5000, "loss": 1.0}}
        code, stdout, err = self.run_quarry("feedback", "model", self.outputs(same), "--set", self.path("branches"), "--out", self.path("none.toml"))
        self.assertEqual(code, 0, err)
        self.assertIn("nothing changes", err)
        self.assertFalse(os.path.exists(self.path("none.toml")))
        self.fails(5, "is not a folder", *args[:-1], self.path("nowhere/x.toml"))
        self.fails(2, ".toml", *args[:-1], self.path("x.txt"))
        self.fails(2, "--record", *args[:-1], self.path("y.toml"), "--record")
        self.fails(5, "", "feedback", "model", args[2], "--set", self.path("nowhere"), "--out", self.path("y.toml"))
        self.fails(2, "", "feedback")
        self.fails(2, "", "feedback", "model")

    def test_refused_outputs(self):
        def refused(code, words, text, *more, name="branches"):
            self.fails(code, words, "feedback", "model", self.write("bad.csv", text), "--set", self.path(name), "--out", self.path("bad.toml"), *more)
            self.assertFalse(os.path.exists(self.path("bad.toml")))

        head = "by,segment,negatives,loss,confusions,predicted,observed\n"
        refused(3, ["bad.csv:2", "hrd", "hard, random, popular", "did you mean"], head + "branch,hrd,5000,1,,,\n")
        refused(3, ["bad.csv:2", "popularty", "branch, popularity"], head + "popularty,head,5000,1,,,\n", name="quota")
        refused(3, ["bad.csv:2", "seller"], head + "seller,S0,5000,1,,,\n")
        refused(3, ["bad.csv:3", "line 2"], head + "branch,hard,5000,1,,,\nbranch,hard,5000,1,,,\n")
        for column, value, words in (("loss", "-0.5", "from 0 to 1e300"), ("loss", "1e308", "from 0 to 1e300"), ("loss", "nan", "finite"), ("loss", "inf", "finite"), ("loss", "1e999", "finite"),
                                     ("loss", "0.5x", "finite"), ("negatives", "-3", "integer"), ("negatives", "1.5", "integer"), ("negatives", "", "integer"),
                                     ("confusions", "6000", "of 5000"), ("confusions", "-1", "integer"), ("predicted", "1.5", "0 to 1"),
                                     ("observed", "-0.1", "0 to 1")):
            line = dict(by="branch", segment="hard", negatives="5000", loss="1", confusions="0", predicted="0.5", observed="0.5")
            line[column] = value
            refused(3, ["bad.csv:2", column, words], head + ",".join(line[c] for c in head.strip().split(",")) + "\n")
        refused(3, ["bad.csv:2", "observed is empty"], head + "branch,hard,5000,1,,0.5,\n")
        refused(3, "by is empty", head + ",hard,5000,1,,,\n")
        refused(3, "loss", "by,segment,negatives\nbranch,hard,5000\n")
        refused(3, "Add it, or name the columns so: by, segment", "by,segment,loss\nbranch,hard,1\n")
        refused(3, "Add it, or leave out predicted", "by,segment,negatives,predicted\nbranch,hard,1,0.5\n")
        refused(3, "no line", head)
        refused(3, "one branch alone", head + "branch,hard,5000,1,,,\n", name="single")
        refused(3, "schedule", head + "branch,hard,5000,1,,,\n", name="schedule")
        for flag, value in (("--eta", "-1"), ("--step", "0.9"), ("--floor", "1"), ("--ceiling", "0"), ("--confusion-limit", "1"), ("--min-negatives", "x")):
            refused(2, flag, head + "branch,hard,5000,1,,,\n", flag, value)
        refused(2, "--floor", head + "branch,hard,5000,1,,,\n", "--floor", "0.5", "--ceiling", "0.4")
        # A column too many is named, not refused.
        path = self.write("more.csv", "by,segment,negatives,loss,epoch\nbranch,hard,5000,1.2,3\nbranch,random,5000,0.8,3\n")
        code, _, err = self.run_quarry("feedback", "model", path, "--set", self.path("branches"), "--out", self.path("more.toml"))
        self.assertEqual(code, 0, err)
        self.assertIn("column epoch", err)

    def test_shares_that_do_not_fit(self):
        self.write("narrow.toml", BRANCHES.replace("pool = 40", "pool = 5"))
        self.mine("narrow", "--out", self.path("narrow"))
        self.fails(2, ["do not fit", "pool = 5"], "feedback", "model", self.outputs(self.GOOD), "--set", self.path("narrow"), "--out", self.path("n.toml"))
        self.assertFalse(os.path.exists(self.path("n.toml")))

    def test_store(self):
        store = self.path("store")
        self.mine("branches", "--store", store)

        def files():
            return {os.path.join(d, n): text_of(os.path.join(d, n)) for d, _, names in os.walk(store) for n in names if not n.endswith(".npy")}

        before = files()
        out = self.path("of_store.toml")
        self.ok("feedback", "model", self.outputs(self.GOOD), "--set", store + "@1", "--out", out)
        self.assertEqual(files(), before)  # not a byte
        self.ok("feedback", "model", self.outputs(self.GOOD), "--set", store + "@latest", "--out", out, "--overwrite", "--record")
        after = files()
        self.assertEqual({k for k in after if after[k] != before.get(k)}, {os.path.join(store, "log")})
        self.assertIn("feedback of a model: 2 of 2 shares changed", self.ok("log", store))
        log = json.loads(self.ok("log", store, "--json"))
        event = log["events"][-1]
        self.assertEqual(log["versions"][0]["model_feedback"], {k: event[k] for k in ("segments", "changed", "negatives", "outputs_xxh3_128", "recipe_xxh3_128")})
        self.assertEqual((event["event"], event["version"], event["segments"], event["changed"], event["negatives"]),
                         ("model_feedback", 1, 2, 2, 10000))
        self.assertEqual((len(event["outputs_xxh3_128"]), len(event["recipe_xxh3_128"])), (32, 32))
        self.ok("verify", store)
        recorded = ["feedback", "model", self.outputs(self.GOOD), "--set", store + "@1", "--out", self.path("locked.toml"), "--record"]
        with open(os.path.join(store, "LOCK"), "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fails(4, "another run", *recorded)
        self.assertFalse(os.path.exists(self.path("locked.toml")))
        with open(os.path.join(store, "log"), "r+b") as log:
            log.seek(20)
            log.write(b"#")
        self.fails(3, "log: line", *recorded)
        self.assertFalse(os.path.exists(self.path("locked.toml")))
        self.ok(*recorded[:-1])  # reads no log
        self.fails(5, "is a store", "feedback", "model", self.outputs(self.GOOD), "--set", store, "--out", os.path.join(store, "policy.toml"))


if __name__ == "__main__":
    main(__doc__)
