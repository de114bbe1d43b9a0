#!/usr/bin/env python3
"""quarry report --store: what the log of a store says stands in its page digit by digit, nothing stands there that log and
manifests have not, and the public page tells no name.

  tests/report_history_test.py PROGRAM

Lines of the log are read here; what counts of them is worked out again from docs/report.md and docs/store.md.
"""
import json
import os
import re

from pages import Digits, Tree, numbers, page_rows, values, visible
from program import main, manifest_of, read_csv, text_of, write_csv
from reviewed import AS_OF, Reviewed

HIDDEN_KPIS = {"runs/eval/mrr": "0.4375", "recall.user_123456": "0.5625"}
SECRETS = ["Ada Lovelace", "Shop-17", "two-tower-x", "first of all", "nightly", "reviewed", *HIDDEN_KPIS, "asked/why", "ada", "bo"]
OUTPUTS = "by,segment,negatives,loss\nbranch,hard,4000,0.9\nbranch,random,3000,0.3\nbranch,seen,2000,0.4\n"


def log_of(store):
    """Events, numbers as their digits."""
    return [json.loads(line[17:], parse_int=Digits, parse_float=Digits) for line in text_of(os.path.join(store, "log")).splitlines()]


class HistoryPage(Reviewed):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.store = cls.path("store")
        cls.mine("--store", cls.store, "--seed", "1", "--model", "two-tower-x", "--note", "first of all", "--tag", "nightly")
        cls.mine("--store", cls.store, "--seed", "2")
        cls.mine("--store", cls.store, "--seed", "3")
        cls.figures = [cls.review(1, "1"), cls.review(1, "2"), cls.review(2, None), cls.review(3, None, "unsure"), cls.review(1, None, "unsure")]
        wishes = cls.table("wishes.csv", ["user", "item", "time", "kind"],
                           [[cls.user_ids[u], cls.item_ids[9], AS_OF, ["avoid", "avoid", "hidden"][u % 3]] for u in range(6)])
        more = cls.table("more.csv", ["user", "item", "time", "kind"], [[cls.user_ids[7], cls.item_ids[3], AS_OF, "not_interested"]])
        for out, files, flags in (("w1.csv", [wishes], []), ("w2.csv", [wishes], ["--map", "hidden=asked/why"]), ("w3.csv", [more], [])):
            cls.do("feedback", "users", *files, "--set", cls.store + "@2", "--out", cls.path(out), "--allow-inert", *flags)
        cls.write("outputs.csv", OUTPUTS)
        for eta, out in (("0.5", "next.toml"), ("0", "same.toml")):
            cls.do("feedback", "model", cls.path("outputs.csv"), "--set", cls.store + "@1", "--out", cls.path(out), "--eta", eta, "--record")
        cls.do("log", cls.store, "kpi", "v1", "recall@20=0.5", "ndcg@10=1e-05", *[f"{n}={v}" for n, v in HIDDEN_KPIS.items()])
        cls.do("log", cls.store, "kpi", "v1", "recall@20=0.222")
        cls.do("log", cls.store, "kpi", "v3", "recall@20=0.3125")
        for version in "124":
            cls.do("audit", cls.store + "@" + version, "--record", codes=(0, 8))
        cls.do("policy", cls.store, "--set", "latest_needs=approval,audit", "--set", "audit_gates=leak.positives,drift.popularity",
               "--set", "audit_limits=default")
        cls.do("approve", cls.store + "@2", "--by", "Ada Lovelace", "--reason", "gates pass, Shop-17 agrees")
        cls.do("reject", cls.store + "@3", "--by", "Bo", "--reason", "recall fell")
        cls.log = log_of(cls.store)
        cls.own, cls.public = cls.report(cls.store), cls.report(cls.store, "--public")

    @classmethod
    def do(cls, *args, codes=(0,)):
        code, out, err = cls.run_quarry(*args)
        assert code in codes, (args, err)
        return out

    @classmethod
    def review(cls, version, false_from, verdict="negative"):
        """Reviewers differ a little; negatives of a row whose place begins with `false_from` are false. The JSON of the import."""
        name = cls.path("sample.csv")
        cls.do("review", "export", f"{cls.store}@{version}", "--out", name, "--overwrite", "--sample", "40", "--reviewers", "ada,bo", "--each", "2")
        lines = read_csv(name)
        for n, line in enumerate(lines):
            row = line["review_id"].split(":")[1]
            line["verdict"] = "positive" if false_from and row.startswith(false_from) and n % 7 else verdict
        done = write_csv(cls.path("done.csv"), list(lines[0]), [list(line.values()) for line in lines])
        out = cls.path(f"said{version}{false_from}{verdict}.csv")
        return json.loads(cls.do("review", "import", done, "--set", f"{cls.store}@{version}", "--out", out, "--json"),
                          parse_int=Digits, parse_float=Digits)

    @classmethod
    def report(cls, store, *flags):
        page = cls.path("page.html")
        cls.do("report", "--store", store, "--out", page, *flags)
        tree = Tree(text_of(page))
        assert not tree.faults, tree.faults
        return tree.root

    def logged(self, kind):
        """Newest first."""
        return [e for e in reversed(self.log) if e["event"] == kind]

    def section(self, page, name):
        return next(page.all("section", id=name))

    def box(self, page, title):
        return next(box for box in page.all("div") if box.attributes.get("aria-label") == title)

    def rows(self, page, title):
        return page_rows(next(self.box(page, title).all("table")))

    # --- each part of the log -----------------------------------------------------------------------------------------

    def test_reviews_have_the_numbers_of_the_log(self):
        events = self.logged("review")
        self.assertEqual(len(events), 5)
        shapes = set()
        for page in (self.own, self.public):
            rows = self.rows(page, "Reviews")
            self.assertEqual(len(rows), len(events))
            for row, e in zip(rows, events):
                error = [e["low"], e["high"]] if e["low"] is not None else []
                covered = [e["covered"]] + ([e["population"]] if e["covered"] != e["population"] else [])
                wanted = [e["version"], e["time"], e["reviewers"], e["false_negatives"], e["confirmed"], e["unsure"], e["not_judged"],
                          e["share"], *error, e["upper"], e["standard_error"], *covered, e["agreement"], e["alpha"]]
                self.assertEqual(values(row), list(numbers(wanted)))
                shapes.add((e["share"] is None, bool(error), e["upper"] is None))
        self.assertEqual(shapes, {(False, True, True), (False, False, False), (True, False, True)})  # else a case is missing

    def test_the_log_has_what_the_import_found(self):
        for event, found in zip(reversed(self.logged("review")), self.figures):
            for key in ("share", "standard_error", "low", "high", "upper", "population", "covered"):
                self.assertEqual(event[key], found["estimate"][key], key)
            self.assertEqual((event["agreement"], event["alpha"]), (found["agreement"]["percent"], found["agreement"]["alpha"]))
            self.assertEqual(event["reviewers"], "2")
            self.assertNotIn("ada", json.dumps(event))

    def test_the_line_takes_the_newest_review_with_a_share(self):
        marks = [m for m in self.section(self.own, "reviews").all("circle") if "data-value" in m.attributes]
        events = [e for e in self.logged("review") if e["share"] is not None]
        newest = [next(e for e in events if e["version"] == v) for v in "12"]
        self.assertEqual([m.attributes["data-value"] for m in marks], [e["share"] for e in newest])
        said = {v["version"]: v["review"] for v in json.loads(self.ok("log", self.store, "--json"))["versions"]}
        self.assertEqual([float(e["share"]) for e in newest], [said[1]["share"], said[2]["share"]])
        ends = [(n.attributes["data-low"], n.attributes["data-high"]) for n in self.section(self.own, "reviews").all("path") if "data-low" in n.attributes]
        self.assertEqual(ends, [(newest[0]["low"], newest[0]["high"])])

    def test_feedback_of_users_counts_each_file_once(self):
        first, second, third = reversed(self.logged("feedback"))
        self.assertEqual(first["files"], second["files"])
        for page in (self.own, self.public):
            heads = [th.words() for th in self.box(page, "Events of users").all("th")]
            rows = self.rows(page, "Events of users")
            self.assertEqual(len(rows), 2)
            for row, event in zip(rows, (third, second)):
                cells = dict(zip(heads, row.children))
                for kind in heads[2:]:
                    self.assertEqual(values_of(cells[kind]), [event["kinds"][kind]] if kind in event["kinds"] else [])
                shown = set(event["kinds"]) & set(heads)
                self.assertEqual(set(event["kinds"]) - shown, {"asked/why"} & set(event["kinds"]) if page is self.public else set())
        said = {v["version"]: v["feedback"] for v in json.loads(self.ok("log", self.store, "--json"))["versions"]}[2]
        self.assertEqual({k: str(n) for k, n in said.items()}, {**second["kinds"], **third["kinds"]})

    def test_feedback_of_models(self):
        events = self.logged("model_feedback")
        self.assertEqual([e["recipe_xxh3_128"] is None for e in events], [True, False])
        for page in (self.own, self.public):
            for row, e in zip(self.rows(page, "Feedback of models"), events):
                self.assertEqual(values(row), [e["version"], e["time"], e["segments"], e["negatives"], e["changed"]])
        self.assertIn(events[1]["recipe_xxh3_128"][:12], self.section(self.own, "feedback").words())
        self.assertNotIn(events[1]["recipe_xxh3_128"][:8], self.section(self.public, "feedback").words())

    def test_the_policy_in_words(self):
        policy = self.logged("policy")[0]
        lacking = {v["version"]: v["lacks"] for v in json.loads(self.ok("log", self.store, "--json"))["versions"]}
        self.assertIn("gate drift.popularity (not checked)", lacking[2])
        self.assertFalse(all(lacking[v] == lacking[1] for v in lacking))
        for page in (self.own, self.public):
            words = self.section(page, "policy").words()
            for word in ("not rejected", "an approval", "newest audit", *policy["audit_gates"], policy["audit_limits"][:12]):
                self.assertIn(word, words)
            for row in self.rows(page, "Versions"):
                cell = next(td for td in row.children if td.attributes["data-head"] == "lacks")
                self.assertEqual(cell.words(), ", ".join(lacking[int(row.children[0].attributes["data-value"])]) or "–")

    def test_no_policy_and_part_of_one_and_a_broken_one(self):
        store = self.path("bare")
        self.mine("--store", store)
        words = self.section(self.report(store), "policy").words()
        self.assertIn("no policy", words)
        self.assertNotIn("lacks", [th.words() for th in self.box(self.report(store), "Versions").all("th")])
        self.ok("policy", store, "--set", "latest_needs=approval")
        words = self.section(self.report(store), "policy").words()
        self.assertIn("an approval", words)
        self.assertNotIn("audit", words)
        with open(os.path.join(store, "policy.toml"), "w") as file:
            file.write('latest_needs = ["applause"]\n')
        self.fails(3, ["policy.toml:1", "applause"], "report", "--store", store, "--out", self.path("no.html"))
        self.assertFalse(os.path.exists(self.path("no.html")))

    def test_kpis_of_each_version(self):
        newest = {}
        for e in reversed(self.logged("kpi")):
            newest[e["version"], e["name"]] = e["value"]
        for page in (self.own, self.public):
            heads = [th.words() for th in self.box(page, "KPIs of each version").all("th")]
            self.assertEqual(heads, ["version", "recall@20", "ndcg@10", *(HIDDEN_KPIS if page is self.own else [])])
            rows = self.rows(page, "KPIs of each version")
            self.assertEqual([values_of(r.children[0]) for r in rows], [["3"], ["1"]])
            for row in rows:
                version = row.children[0].attributes["data-value"]
                for name, cell in list(zip(heads, row.children))[1:]:
                    self.assertEqual(values_of(cell), [newest[version, name]] if (version, name) in newest else [])
        self.assertIn("Left out: 2 KPIs", self.section(self.public, "kpis").words())
        self.assertNotIn("Left out", self.own.words())

    # --- the page as a whole ------------------------------------------------------------------------------------------

    def test_no_number_is_invented(self):
        known = set(numbers(self.log))
        for version in (1, 2, 3, 4):
            m = manifest_of(self.store, version)
            known |= {str(m[key]) for key in ("created", "rows", "k")}
        counts = {str(len(e["gates"])) for e in self.logged("audit")}
        for page in (self.own, self.public):
            there = set(values(page))
            self.assertLessEqual(there, known | counts)
            self.assertGreater(len(there), 50)

    def test_the_public_page_tells_no_name(self):
        own, public = self.own.words(), self.public.words()
        for secret in SECRETS[:-2]:
            self.assertIn(visible(secret), own, secret + ": else the test sees nothing")
        for secret in [*SECRETS[:-2], self.root, "canary"]:
            self.assertNotIn(secret, public)
        attributes = " ".join(str(v) for n in self.public.all() for v in n.attributes.values())
        for secret in [*SECRETS[:-2], *HIDDEN_KPIS.values(), self.root, "canary"]:
            self.assertNotIn(secret, attributes)
        for page in (own, public):  # names of reviewers are in no log
            for name in SECRETS[-2:]:
                self.assertIsNone(re.search(rf"\b{name}\b", page))
        self.assertLess(set(values(self.public)), set(values(self.own)))
        footer = next(self.public.all("footer")).words()
        self.assertIn("2 KPIs and 1 kind of events", footer)

    def test_cells_of_tables_that_fold_have_their_heads(self):
        folding = 0
        for page in (self.own, self.public):
            for table in page.all("table"):
                heads = [th.words() for th in table.all("th")]
                self.assertEqual(table.has("fold"), len(heads) > 2, heads)
                self.assertEqual(table.has("wide"), len(heads) > 8, heads)
                for row in page_rows(table):
                    self.assertEqual([td.attributes["data-head"] for td in row.children], heads)
                    folding += 1
        self.assertGreater(folding, 40)
        style = next(self.own.all("style")).text
        phone = style[style.index("@media screen and (max-width:860px)"):style.index("svg{")]
        self.assertRegex(phone, r"\.fold td::before\{content:attr\(data-head\)")
        paper = style[style.index("@media print"):]
        self.assertRegex(paper, r"\.wide td::before\{content:attr\(data-head\)")
        self.assertRegex(paper, r"\.scroll\{overflow:visible;max-height:none")

    def test_links_lead_somewhere_and_bytes_are_equal(self):
        links = [a.attributes["href"][1:] for a in self.own.all("a")]
        self.assertEqual(links, [s.attributes["id"] for s in self.own.all("section")])
        self.assertGreater(len(links), 8)
        for flags in ([], ["--public"]):
            self.report(self.store, *flags)
            first = text_of(self.path("page.html"))
            self.report(self.store, *flags)
            self.assertEqual(text_of(self.path("page.html")), first)


def values_of(cell):
    return [cell.attributes["data-value"]] if "data-value" in cell.attributes else values(cell)


if __name__ == "__main__":
    main(__doc__)
