#!/usr/bin/env python3
"""quarry review export, judged by what stands in the sets' columns: cells, allocation and weights of the sample, every line, every
refusal.

  tests/review_test.py PROGRAM
"""
import json
import math
import os
import shutil
import stat
import struct

from program import main, rows_of, text_of
from reviewed import AS_OF, USERS, Reviewed


class ReviewExport(Reviewed):
    def shares(self, populations, size):
        """One at a time to the cell that has least, of equal ones to the largest, then the first by name."""
        given = {name: 0 for name in populations}
        for _ in range(min(size, sum(populations.values()))):
            name = min((n for n in given if given[n] < populations[n]), key=lambda n: (given[n], -populations[n], n))
            given[name] += 1
        return given

    def test_every_line_of_an_export(self):
        rows, manifest = rows_of(self.path("set"))
        for by, size in ((["branch"], 40), (["branch", "stratum"], 35), (["rank"], 30), (["branch", "stratum", "rank"], 61)):
            lines = self.export(self.path("set"), "e.csv", "--by", ",".join(by), "--sample", str(size), "--user-text",
                                self.path("queries.csv") + ":text")
            cells = self.cells(rows, manifest, by)
            given = self.shares({n: len(c) for n, c in cells.items()}, size)
            drawn = {}
            self.assertEqual(len({line["review_id"] for line in lines}), size)
            for line in lines:
                content_hash, r, j = line["review_id"].split(":")
                row, r, j = rows[int(r)], int(r), int(j)
                self.assertEqual(content_hash, manifest["content_hash"])
                self.assertIn((r, j), cells[line["cell"]])
                drawn[line["cell"]] = drawn.get(line["cell"], 0) + 1
                inert = lambda text: "'" + text if text[:1] in ("=", "+", "-", "@") else text
                self.assertEqual(line["item"], inert(self.item_ids[row["item"][j]]))
                self.assertEqual(line["title"], self.titles[row["item"][j]])
                self.assertEqual(line["query"], "'=query no %d" % row["user"])
                self.assertEqual(line["positives"], inert(" | ".join(self.item_ids[i] for i in row["positives"])))
                self.assertEqual(line["positive_titles"], " | ".join(self.titles[i] for i in row["positives"]))
                self.assertEqual(line["branch"], manifest["branches"][row["branch"][j]])
                self.assertEqual(line["stratum"], manifest["strata"][row["stratum"][j]])
                self.assertEqual(line["raw_rank"], str(row["raw_rank"][j] or ""))
                for name in ("score", "gap"):
                    self.assertEqual(struct.pack("<f", float(line[name])), struct.pack("<f", row[name][j]))
                self.assertTrue(line["why"].startswith(line["branch"] + ": "))
                if row["raw_rank"][j]:
                    self.assertIn("rank %d " % row["raw_rank"][j], line["why"])
                self.assertEqual((int(line["population"]), int(line["sampled"])), (len(cells[line["cell"]]), given[line["cell"]]))
                self.assertAlmostEqual(float(line["weight"]), len(cells[line["cell"]]) / given[line["cell"]], places=5)
                self.assertEqual((line["verdict"], line["reviewer"], line["comment"]), ("", "", ""))
            self.assertEqual(drawn, given)
            self.assertNotIn("canary", text_of(self.path("e.csv")))
            meta = json.loads(text_of(self.path("e.csv.meta.json")))
            self.assertNotIn("canary", json.dumps(meta))
            self.assertEqual({c["cell"]: c["sampled"] for c in meta["cells"]}, given)
            self.assertEqual(meta["file"]["bytes"], os.path.getsize(self.path("e.csv")))
            self.assertEqual(stat.S_IMODE(os.stat(self.path("e.csv")).st_mode), 0o600)

    def test_the_draw_depends_on_set_and_seed_alone(self):
        first = [line for line in self.export(self.path("set"), "d1.csv", "--sample", "30")]
        self.export(self.path("sharded"), "d2.csv", "--sample", "30", "--threads", "2")
        self.assertEqual(text_of(self.path("d1.csv")), text_of(self.path("d2.csv")))
        other = self.export(self.path("set"), "d3.csv", "--sample", "30", "--seed", "1")
        self.assertNotEqual([l["review_id"] for l in first], [l["review_id"] for l in other])
        tabs = self.export(self.path("set"), "d4.tsv", "--sample", "30")
        self.assertEqual(first, tabs)

    def test_another_version_draws_anew(self):
        store = self.fresh_store("anew")
        self.export(store + "@1", "v1.csv", "--sample", "30")
        more = self.table("anew.csv", ["who", "what", "time", "kind"], [[self.user_ids[1], self.item_ids[2], AS_OF, "avoid"]])
        done = self.refresh(store, "--more-events", more)
        self.assertLess(done["rows_mined"], done["rows"] / 4)
        drawn = []
        for version in (1, 2):
            rows, _ = rows_of(store, version)
            lines = self.export("%s@%d" % (store, version), "v%d.csv" % version, "--sample", "30")
            places = [line["review_id"].split(":")[1:] for line in lines if line["branch"] != "seen"]
            drawn.append({(rows[int(r)]["row_key"], int(j)) for r, j in places})
        self.assertLess(len(drawn[0] & drawn[1]), len(drawn[0]) / 2)

    def test_overwrite_takes_nothing_but_its_own(self):
        def kept(code, words, path, *args):
            before = text_of(path)
            self.fails(code, words, *args)
            self.assertEqual(text_of(path), before)

        sample, log = self.path("own.csv"), self.path("own_events.csv")
        lines = self.export(self.path("set"), "own.csv", "--sample", "10")
        export = ["review", "export", self.path("set"), "--out", sample, "--overwrite", "--sample", "10"]
        self.ok(*export)
        answers = self.write_lines("own.csv", [dict(line, verdict="positive") for line in lines])
        kept(5, "what people filled in would be lost", answers, *export)
        at = ["review", "import", answers, "--set", self.path("set"), "--overwrite", "--out"]
        kept(2, "is read here", answers, *at, answers)
        os.link(answers, self.path("own_link.csv"))
        kept(2, "is read here", answers, *at, self.path("own_link.csv"))
        os.link(answers, log + ".meta.json")
        kept(2, "is read here", answers, *at, log)
        os.remove(log + ".meta.json")
        self.write("own_events.csv", "mine\n")
        kept(5, "is not what this verb wrote there", log, *at, log)
        os.remove(log)
        self.ok(*at, log)
        self.ok(*at, log)
        # Of another verb, and of this one with a line more.
        records = self.users_file("own_r.csv", [(0, 1, AS_OF, "avoid")])
        wishes = ["feedback", "users", records, "--set", self.path("set"), "--overwrite", "--out"]
        kept(5, "is not what this verb wrote there", log, *wishes, log)
        kept(2, "is read here", records, *wishes, records)
        kept(2, "is read here", self.path("events.csv"), *wishes, self.path("events.csv"))
        self.ok(*wishes, self.path("own_w.csv"))
        with open(self.path("own_w.csv"), "a", encoding="utf-8") as f:
            f.write("more\n")
        kept(5, "is not what this verb wrote there", self.path("own_w.csv"), *wishes, self.path("own_w.csv"))
        # A log that the next version was mined with is an input of it.
        store = self.fresh_store("own")
        used = self.path("own_used.csv")
        at = ["feedback", "users", records, "--out", used, "--set"]
        self.ok(*at, store + "@1")
        self.refresh(store, "--more-events", used)
        kept(2, "is read here", used, *at, store + "@2", "--overwrite")

    def test_the_draw_is_even(self):
        rows, manifest = rows_of(self.path("set"))
        cells = self.cells(rows, manifest, ["branch"])
        draws, seen = 60, {}
        for seed in range(draws):
            for line in self.export(self.path("set"), "u.csv", "--sample", "60", "--seed", str(seed)):
                seen[line["review_id"]] = seen.get(line["review_id"], 0) + 1
        for name, slots in cells.items():
            share = 20 / len(slots)
            if share >= 1:
                continue
            expected = draws * share
            counts = [seen.get("%s:%d:%d" % (manifest["content_hash"], r, j), 0) for r, j in slots]
            chi2 = sum((c - expected) ** 2 / (expected * (1 - share)) for c in counts)
            freedom = len(slots) - 1
            self.assertLess(abs(chi2 - freedom), 5 * math.sqrt(2 * freedom), name)

    def test_reviewers_take_turns(self):
        lines = self.export(self.path("set"), "r.csv", "--sample", "31", "--reviewers", "ada,bo,cy", "--each", "2")
        who = {}
        for line in lines:
            who.setdefault(line["review_id"], []).append(line["reviewer"])
        self.assertEqual({len(set(names)) for names in who.values()}, {2})
        self.assertEqual(len(who), 31)
        loads = sorted(sum(line["reviewer"] == name for line in lines) for name in ("ada", "bo", "cy"))
        self.assertEqual(loads, [20, 21, 21])
        self.assertEqual([line["reviewer"] for line in lines], sorted(line["reviewer"] for line in lines))

    def test_refused_exports(self):
        at = ["review", "export", self.path("set"), "--out", self.path("no.csv")]
        self.fails(2, "nothing to stratify by", *at, "--by", "colour")
        self.fails(2, "raise --sample", *at, "--by", "branch,stratum", "--sample", "5")
        self.fails(2, "stands there twice", *at, "--reviewers", "a,a")
        self.fails(2, "is no name", *at, "--reviewers", "a,,b")
        self.fails(2, "--each 2", *at, "--each", "2", "--reviewers", "a")
        self.fails(2, "no effect without --user-text", *at, "--missing-text", "blank")
        self.fails(2, "ending", "review", "export", self.path("set"), "--out", self.path("no.json"))
        self.fails(5, "cannot be made", "review", "export", self.path("set"), "--out", self.path("lacks/no.csv"))
        some = self.table("some.csv", ["user", "text"], [[self.user_ids[u], "q"] for u in range(USERS - 2)])
        self.fails(3, "has no text for 2 users", *at, "--sample", "10000", "--user-text", some + ":text")
        lines = self.export(self.path("set"), "blank.csv", "--sample", "10000", "--user-text", some + ":text", "--missing-text", "blank")
        self.assertIn("", {line["query"] for line in lines})
        self.fails(5, "exists", "review", "export", self.path("set"), "--out", self.path("blank.csv"))
        shutil.copytree(self.path("set"), self.path("moved"))
        ids = self.table("item_ids2.csv", ["item"], [[i] for i in reversed(self.item_ids)])
        self.fails(3, "ids could be wrong", "review", "export", self.path("moved"), "--out", self.path("no.csv"), "--item-ids", ids)
        self.ok("review", "export", self.path("moved"), "--out", self.path("taken.csv"), "--item-ids", ids, "--allow-changed")
        self.assertFalse(os.path.exists(self.path("no.csv")))


if __name__ == "__main__":
    main(__doc__)
