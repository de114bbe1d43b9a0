#!/usr/bin/env python3
"""quarry report: every number of an audit stands in its page exactly, none stands there that the audit has not, nothing is
loaded from elsewhere, texts cannot become tags, marks of charts lie where their values say.

  report_page_test.py PROGRAM [unittest arguments]

Reads pages with a parser of its own. Numbers are compared as the digits that the JSON has.
"""
import base64
import collections
import copy
import decimal
import hashlib
import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from pages import Digits, Tree, numbers, page_rows, values, visible

AUDITS = pathlib.Path(__file__).resolve().parent / "audits"
PROGRAM = None


def load(path):
    return json.loads(path.read_text(encoding="utf-8"), parse_int=Digits, parse_float=Digits)


def tables_of(audit):
    return [t for s in audit["sections"] for t in s["tables"]] + audit["lists"]


class ReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.rich = load(AUDITS / "rich.json")
        cls.page, cls.text = cls.report(AUDITS / "rich.json")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return pathlib.Path(cls.folder.name) / name

    @classmethod
    def run_program(cls, *arguments):
        return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120)

    @classmethod
    def report(cls, *arguments):
        out = cls.path("out.html")
        ran = cls.run_program("report", *arguments, "--out", out)
        assert ran.returncode == 0, ran.stderr
        text = out.read_bytes().decode("utf-8")
        tree = Tree(text)
        assert not tree.faults, tree.faults
        return tree.root, text

    def write(self, value, name="audit.json"):
        path = self.path(name)

        def plain(v):
            if isinstance(v, Digits):
                return "@" + v + "@"
            if isinstance(v, dict):
                return {k: plain(e) for k, e in v.items()}
            return [plain(e) for e in v] if isinstance(v, list) else v
        path.write_text(re.sub(r'"@([^"@]*)@"', r"\1", json.dumps(plain(value))), encoding="utf-8")
        return path

    def table_named(self, page, title):
        for box in page.all("div", _class="scroll"):
            if box.attributes.get("aria-label") == visible(title):
                return next(box.all("table"))
        self.fail(f"no table {title!r}")

    # --- numbers ---

    def test_gates_and_metrics_have_their_numbers(self):
        rows = [r for r in page_rows(next(self.page.all("table", _class="gates")))]
        self.assertEqual(len(rows), len(self.rich["gates"]))
        for row, gate in zip(rows, self.rich["gates"]):
            limit = gate["limit"] if isinstance(gate["limit"], list) else [gate["limit"]]
            self.assertEqual(values(row), list(numbers([gate["value"], *limit])), gate["id"])
            self.assertEqual(next(row.all("div", _class="id")).words(), visible(gate["id"]))
            badge = next(n for n in row.all("span") if n.has("status"))
            self.assertTrue(badge.has(gate["status"]))
            self.assertIn(gate["status"].replace("_", " "), badge.words())
        cards = [n for n in self.page.all("div", _class="metric")]
        metrics = [m for s in self.rich["sections"] for m in s["metrics"]]
        self.assertEqual(len(cards), len(metrics))
        for card, m in zip(cards, metrics):
            self.assertEqual(values(card), list(numbers([m["value"], m["low"], m["high"]])), m["id"])

    def test_tables_and_lists_have_their_numbers_cell_by_cell(self):
        checked = 0
        for table in tables_of(self.rich):
            if not table["rows"]:
                continue
            rows = page_rows(self.table_named(self.page, table["title"]))
            self.assertEqual(len(rows), len(table["rows"]))
            for row, cells in zip(rows, table["rows"]):
                self.assertEqual(len(row.children), len(cells))
                for td, cell in zip(row.children, cells):
                    if isinstance(cell, Digits):
                        self.assertEqual(td.attributes.get("data-value"), str(cell))
                        checked += 1
                    else:
                        self.assertNotIn("data-value", td.attributes)
                        self.assertEqual(td.words(), "–" if cell is None else visible(cell))
        self.assertGreater(checked, 400)

    def test_no_number_is_invented(self):
        there = set(values(self.page))
        self.assertLessEqual(there, set(numbers(self.rich)))
        self.assertGreaterEqual(there, set(numbers(
            [self.rich["gates"], tables_of(self.rich), self.rich["settings"],
             [s["metrics"] for s in self.rich["sections"]]])))

    def test_shown_words_are_near_their_numbers(self):
        """What a person reads, taken back to a number, is the number up to its digits."""
        checked = 0
        for node in self.page.all():
            if "data-value" not in node.attributes or node.tag not in ("td", "span"):
                continue
            words, exact = node.words(), decimal.Decimal(float(node.attributes["data-value"]))
            m = re.fullmatch(r"(−?)([\d,.]+)(?:×10([⁻⁰¹²³⁴-⁹]+))?( %| bits| days?| h| min| s)?", words)
            if m is None:
                self.assertRegex(words, r"^\d{4}-\d\d-\d\d \d\d:\d\d UTC$")
                continue
            power = (m[3] or "0").translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))
            shown = decimal.Decimal(("-" if m[1] else "") + m[2].replace(",", "") + "e" + power)
            scale = decimal.Decimal({" %": "0.01", " min": "60", " h": "3600"}.get(m[4], "1"))
            self.assertLessEqual(abs(shown * scale - exact), abs(exact) * decimal.Decimal("0.006"), words)
            if exact != 0:
                self.assertNotEqual(shown, 0)
            if m[4] == " %" and abs(exact) < 1:
                self.assertLess(abs(shown), 100)
            checked += 1
        self.assertGreater(checked, 400)

    def test_an_earlier_audit_stands_beside(self):
        earlier = load(AUDITS / "earlier.json")
        page, _ = self.report(AUDITS / "rich.json", "--baseline-audit", AUDITS / "earlier.json")
        self.assertLessEqual(set(values(page)), set(numbers([self.rich, earlier])))
        for row, gate in zip(page_rows(next(page.all("table", _class="gates"))), self.rich["gates"]):
            then = next(g for g in earlier["gates"] if g["id"] == gate["id"])
            was = [n for n in row.all("div", _class="was")]
            self.assertIn(then["status"].replace("_", " "), was[0].words())
            self.assertEqual(values(was[1]), list(numbers([then["value"]])))
        then = {m["id"]: m for s in earlier["sections"] for m in s["metrics"]}
        metrics = [m for s in self.rich["sections"] for m in s["metrics"]]
        compared = 0
        for card, m in zip(page.all("div", _class="metric"), metrics):
            was = list(card.all("div", _class="was"))
            self.assertEqual(bool(was), m["id"] in then)
            if was:
                self.assertEqual(values(was[0]), list(numbers([then[m["id"]]["value"]])))
                compared += 1
        self.assertGreater(compared, 10)

    # --- the page ---

    def test_nothing_is_loaded_and_no_text_is_a_tag(self):
        for text in (self.text, self.report(AUDITS / "rich.json", "--public")[1]):
            page = Tree(text).root
            own = "".join(n.text for tag in ("style", "script") for n in page.all(tag))
            self.assertNotRegex(own, r"https?://|@import|url\(|//")
            self.assertEqual(len(list(page.all("script"))), 1)
            for node in page.all():
                self.assertNotIn(node.tag, ("link", "img", "iframe", "object", "embed", "base", "form", "use", "image"))
                for name, value in node.attributes.items():
                    self.assertFalse(name.startswith("on"), (node.tag, name))
                    self.assertNotIn(name, ("src", "srcset", "style", "action", "xlink:href", "data"))
                    if name == "href":
                        self.assertRegex(value, r"^#[a-z]+\d*$")
                        self.assertTrue(list(page.all(id=value[1:])), value)

    def test_the_policy_names_the_script(self):
        script = next(self.page.all("script")).text
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy = next(n for n in self.page.all("meta") if n.attributes.get("http-equiv"))
        self.assertIn(f"script-src 'sha256-{digest}'", policy.attributes["content"])
        self.assertIn("default-src 'none'", policy.attributes["content"])

    def test_texts_arrive_whole_and_harmless(self):
        words = self.page.words()
        for gate in self.rich["gates"]:
            for key in ("title", "why", "what_to_do", "definition", "source"):
                self.assertIn(visible(gate[key]), words, gate["id"])
        raw = self.text.replace("\n", "").replace("\t", "")
        self.assertIsNone(re.search("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff]", raw))

    def test_the_verdict_comes_first(self):
        main = next(self.page.all("main"))
        self.assertTrue(main.children[0].has("verdict") and main.children[0].has("fail"))
        heads = [n for n in main.children if n.tag in ("header", "section")]
        self.assertEqual(heads[1].attributes["id"], "gates")
        self.assertEqual([h.children[0].words() for h in heads[2:]],
                         [s["title"] for s in self.rich["sections"]] + ["Lists", "Settings", "Definitions"])
        pointed = [n.attributes["href"] for n in main.children[0].all("a")]
        bad = [i for s in ("fail", "warn") for i, g in enumerate(self.rich["gates"]) if g["status"] == s]
        self.assertEqual(pointed, [f"#g{i}" for i in bad])
        counts = collections.Counter(g["status"] for g in self.rich["gates"])
        for status, count in counts.items():
            badge = next(n for n in next(main.children[0].all("ul", _class="counts")).all("span") if n.has(status))
            self.assertIn(f"{count} {status.replace('_', ' ')}", badge.words())

    def test_equal_bytes_again(self):
        self.assertEqual(self.report(AUDITS / "rich.json")[1], self.text)

    def test_an_empty_audit_has_a_report(self):
        page, text = self.report(AUDITS / "empty.json")
        self.assertTrue(next(page.all("header")).has("pass"))
        self.assertIn("No gates", text)

    def test_public_holds_metrics_and_statuses_only(self):
        page, text = self.report(AUDITS / "rich.json", "--public", "--baseline-audit", AUDITS / "earlier.json")
        earlier = load(AUDITS / "earlier.json")
        allowed = [[[m["value"], m["low"], m["high"]] for s in a["sections"] for m in s["metrics"]] + [a["set"], a["baseline"]]
                   for a in (self.rich, earlier)]
        self.assertLessEqual(set(values(page)), set(numbers(allowed)))
        self.assertFalse(list(page.all("svg")))
        self.assertEqual([t.attributes.get("class") for t in page.all("table")], ["gates"])
        shown = page.words()
        secret = [g[k] for g in self.rich["gates"] for k in ("why", "what_to_do")]
        secret += [s["intro"] for s in self.rich["sections"]]
        secret += [t["title"] for t in tables_of(self.rich)]
        secret += [c for t in self.rich["lists"] for r in t["rows"] for c in r if isinstance(c, str) and not isinstance(c, Digits)]
        secret += ["/home/someone", "held_out_days", self.rich["set"]["name"]]
        kept = [g[k] for g in self.rich["gates"] for k in ("title", "definition", "source")] + [self.rich["set"]["model"]]
        for words in map(visible, secret):
            if len(words) > 3 and not any(words in visible(k) for k in kept):
                self.assertFalse(words in shown, words)
        for gate in self.rich["gates"]:
            self.assertIn(visible(gate["title"]), shown)
        cards = list(page.all("div", _class="metric"))
        self.assertEqual(len(cards), sum(len(s["metrics"]) for s in self.rich["sections"]))

    # --- charts ---

    def charts(self):
        """(SVG, table) of each table that has a chart."""
        drawn = {n.attributes["aria-label"]: n for n in self.page.all("svg")}
        for table in tables_of(self.rich):
            name = f"Chart: {visible(table['title'])}. The table holds its numbers."
            if table.get("chart") and table["rows"]:
                yield drawn.pop(name), table
        self.assertFalse(drawn)

    def scale(self, svg, axis):
        """Ticks as (value, place); they lie on a line, or on a line of logarithms."""
        side = "x1" if axis == "x" else "y1"
        return [(float(n.attributes["data-tick"]), float(n.attributes[side]))
                for n in svg.all("line", data_axis=axis)]

    def place(self, ticks, value, log=False):
        f = math.log10 if log else float
        (v0, p0), (v1, p1) = ticks[0], ticks[-1]
        return p0 + (f(value) - f(v0)) / (f(v1) - f(v0)) * (p1 - p0)

    def test_marks_have_the_values_of_their_cells(self):
        seen = 0
        for svg, table in self.charts():
            columns = {c["id"]: i for i, c in enumerate(table["columns"])}
            for mark in (n for n in svg.all() if "data-value" in n.attributes):
                row = table["rows"][int(mark.attributes["data-row"])]
                self.assertEqual(mark.attributes["data-value"], str(row[columns[mark.attributes["data-col"]]]))
                self.assertIn(mark.attributes["data-col"], table["chart"]["y"])
                self.assertTrue(list(mark.all("title")))
                seen += 1
            for mark in (n for n in svg.all() if "data-low" in n.attributes):
                row = table["rows"][int(mark.attributes["data-row"])]
                ends = [str(v) for c, v in zip(table["columns"], row) if c["id"].split("_")[-1] in ("low", "high")]
                self.assertEqual([mark.attributes["data-low"], mark.attributes["data-high"]], ends)
        self.assertGreater(seen, 150)

    def test_every_number_is_drawn_or_said_to_be_left_out(self):
        for svg, table in self.charts():
            columns = {c["id"]: i for i, c in enumerate(table["columns"])}
            wanted = sum(1 for row in table["rows"] for y in table["chart"]["y"] if isinstance(row[columns[y]], Digits))
            drawn = sum(1 for n in svg.all() if "data-value" in n.attributes)
            caption = "".join(n.words() for n in svg.parent.all("figcaption"))
            self.assertEqual(drawn == wanted, "first" not in caption and "left out, which" not in caption and
                             "without rank" not in caption, table["id"])

    def test_marks_lie_where_their_values_say(self):
        kinds = collections.Counter()
        for svg, table in self.charts():
            chart = table["chart"]
            y_ticks, x_ticks = self.scale(svg, "y"), self.scale(svg, "x")
            stands = bool(y_ticks)
            stacked = collections.Counter()
            for mark in (n for n in svg.all() if "data-value" in n.attributes):
                a = mark.attributes
                value = float(a["data-value"])
                if mark.tag == "circle" and not stands:
                    self.assertTrue(chart["log_x"])
                    self.assertAlmostEqual(float(a["cx"]), self.place(x_ticks, value, log=True), delta=0.03, msg=table["id"])
                    kinds["dot"] += 1
                elif mark.tag == "circle":
                    self.assertAlmostEqual(float(a["cy"]), self.place(y_ticks, value), delta=0.03, msg=table["id"])
                    if "data-x" in a:
                        self.assertAlmostEqual(float(a["cx"]), self.place(x_ticks, a["data-x"] and float(a["data-x"]), chart["log_x"]),
                                               delta=0.03, msg=table["id"])
                    kinds["point"] += 1
                elif stands:
                    zero, top = self.place(y_ticks, 0), self.place(y_ticks, value)
                    self.assertAlmostEqual(float(a["height"]), abs(top - zero), delta=0.03, msg=table["id"])
                    self.assertAlmostEqual(float(a["y"]), min(top, zero), delta=0.03)
                    kinds["standing bar"] += 1
                else:
                    begin = stacked[a["data-row"]] if chart["kind"] == "stacked_bar" else 0
                    stacked[a["data-row"]] += value
                    p0, p1 = self.place(x_ticks, begin), self.place(x_ticks, begin + value)
                    self.assertAlmostEqual(float(a["width"]), abs(p1 - p0), delta=0.03, msg=table["id"])
                    self.assertAlmostEqual(float(a["x"]), min(p0, p1), delta=0.03, msg=table["id"])
                    kinds["stacked bar" if chart["kind"] == "stacked_bar" else "lying bar"] += 1
            for line in (n for n in svg.all("line") if "data-limit" in n.attributes):
                self.assertAlmostEqual(float(line.attributes["x1"]),
                                       self.place(x_ticks, float(line.attributes["data-limit"])), delta=0.03)
                kinds["limit"] += 1
            for mark in (n for n in svg.all("path") if "data-low" in n.attributes):
                at = re.match(r"M([\d.]+) ([\d.]+)([HV])([\d.]+)", mark.attributes["d"])
                ends = [float(mark.attributes["data-low"]), float(mark.attributes["data-high"])]
                ticks, first = (y_ticks, float(at[2])) if at[3] == "V" else (x_ticks, float(at[1]))
                self.assertEqual(at[3] == "V", stands)
                self.assertAlmostEqual(first, self.place(ticks, ends[0]), delta=0.03, msg=table["id"])
                self.assertAlmostEqual(float(at[4]), self.place(ticks, ends[1]), delta=0.03, msg=table["id"])
                kinds["interval"] += 1
        for kind in ("point", "standing bar", "lying bar", "stacked bar", "dot", "limit", "interval"):
            self.assertGreater(kinds[kind], 4, kind)

    def test_ticks_lie_evenly(self):
        for svg, table in self.charts():
            for axis, log in (("x", table["chart"]["log_x"]), ("y", False)):
                ticks = self.scale(svg, axis)
                if axis == "y" and not ticks or axis == "x" and not ticks:
                    continue
                self.assertGreater(len(ticks), 1, table["id"])
                for value, place in ticks:
                    self.assertAlmostEqual(place, self.place(ticks, value, log), delta=0.03)

    def test_every_chart_draws_inside_its_box(self):
        for svg, table in self.charts():
            _, _, width, height = map(float, svg.attributes["viewbox"].split())
            for n in svg.all():
                a = n.attributes
                if n.tag == "rect" and "data-value" in a:
                    self.assertLessEqual(float(a["x"]) + float(a["width"]), width + 0.01)
                    self.assertLessEqual(float(a["y"]) + float(a["height"]), height)
                    self.assertGreaterEqual(float(a["x"]), 0)
                if n.tag == "circle" and "data-value" in a:
                    self.assertTrue(0 <= float(a["cx"]) <= width and 0 <= float(a["cy"]) <= height)

    def test_a_chart_of_limits_alone_is_drawn(self):
        audit = load(AUDITS / "empty.json")
        columns = [{"id": "what", "name": "what", "type": "text", "unit": None}, {"id": "limit", "name": "limit", "type": "number", "unit": None}]
        for y in (["limit"], ["limit", "limit"]):
            audit["sections"] = [{"id": "x", "title": "x", "intro": "", "metrics": [], "tables": [
                {"id": "x.t", "title": "t", "definition": "what limits are", "columns": columns, "rows": [["a", 1], ["b", 2]],
                 "chart": {"kind": "bar", "x": "what", "y": y, "log_x": False}}]}]
            page, _ = self.report(self.write(audit))
            self.assertTrue(any("data-value" in n.attributes for n in page.all("rect")))
            self.assertIn("what limits are", next(n for n in page.all("section") if n.attributes.get("id") == "definitions").words())

    def test_numbers_at_the_ends_of_doubles_are_drawn(self):
        audit = load(AUDITS / "empty.json")
        column = lambda i, kind: {"id": i, "name": i, "type": kind, "unit": None}
        extremes = ["1.7976931348623157e308", "-1.7976931348623157e308", "4.9e-324", "0", "-1e-300", "1e15"]
        for kind in ("bar", "line", "grouped_bar", "stacked_bar", "funnel"):
            for x in ("t", "n"):
                audit["sections"] = [{"id": "s", "title": "S", "intro": "", "metrics": [], "tables": [
                    {"id": "e" + str(n), "title": f"E{n}", "definition": "",
                     "chart": {"kind": kind, "x": x, "y": ["v"], "log_x": n % 2 == 1},
                     "columns": [column("t", "text"), column("n", "number"), column("v", "number")],
                     "rows": [[f"r{i}", Digits(extremes[(i + 1) % 6]), Digits(v)] for i, v in enumerate(some)]}
                    for n, some in enumerate((extremes, extremes[:1], extremes[1:2], extremes[2:3], ["7"], ["5", "5"]))]}]
                _, text = self.report(self.write(audit))
                self.assertNotRegex(re.sub(r"<title>.*?</title>", "", text[text.index("<main"):]), r"[\"= ](-?nan|-?inf)\b")

    # --- what is refused ---

    def refuse(self, change, *words, code=3):
        audit = copy.deepcopy(self.rich)
        change(audit)
        self.refuse_file(self.write(audit, "bad.json"), *words, code=code)

    def refuse_file(self, path, *words, code=3):
        out = self.path("kept.html")
        out.write_text("before")
        ran = self.run_program("report", path, "--out", out)
        self.assertEqual(ran.returncode, code, ran.stderr)
        for word in words:
            self.assertIn(word, ran.stderr)
        self.assertEqual(out.read_text(), "before")
        self.assertFalse([n for n in os.listdir(self.folder.name) if ".tmp-" in n])

    def test_what_is_not_of_the_format_is_refused_by_place(self):
        def at(*path):
            def change(audit, value=None, drop=False):
                for key in path[:-1]:
                    audit = audit[key]
                if drop:
                    del audit[path[-1]]
                else:
                    audit[path[-1]] = value
            return change

        def to(value, *path):
            return lambda audit: at(*path)(audit, value)

        def without(*path):
            return lambda audit: at(*path)(audit, drop=True)

        self.refuse(to("other", "format"), "bad.json", "format", "'other'")
        self.refuse(to(2, "format_version"), "format_version", "is 2", "reads 1")
        self.refuse(to("pass", "verdict"), "verdict", "2 of the gates fail")
        for key in ("gates", "sections", "lists", "settings", "set", "baseline", "verdict", "format"):
            self.refuse(without(key), "bad.json", f"has no key '{key}'")
        self.refuse(without("set", "rows"), "set", "no key 'rows'")
        self.refuse(to("12", "set", "rows"), "set.rows: is a text ('12')", "a number is needed")
        self.refuse(to("maybe", "gates", 3, "status"), "gates[3].status", "'maybe'", "not_checked")
        self.refuse(to("<", "gates", 0, "op"), "gates[0].op", "'<'")
        self.refuse(to([1], "gates", 4, "limit"), "gates[4].limit", "a range has 2")
        self.refuse(to([2, 1], "gates", 4, "limit"), "gates[4].limit", "ends below")
        self.refuse(to([0, 1], "gates", 0, "limit"), "gates[0].limit", "'in' takes a range")
        self.refuse(to("leak.positives", "gates", 1, "id"), "gates[1]", "stands twice")
        self.refuse(to({}, "sections", 0, "metrics"), "sections[0].metrics: is an object; an array is needed")
        self.refuse(to(True, "sections", 2, "metrics", 1, "value"), "sections[2].metrics[1].value", "true")
        self.refuse(to(9, "sections", 0, "metrics", 0, "low"), "sections[0].metrics[0].low", "above 'high'")
        self.refuse(to("x", "sections", 1, "tables", 0, "rows", 2, 1), "sections[1].tables[0].rows[2][1]", "number or null")
        self.refuse(to([], "sections", 1, "tables", 0, "rows", 2), "rows[2]: has 0 values, the table 5 columns")
        self.refuse(to("pie", "sections", 1, "tables", 0, "chart", "kind"), "chart.kind", "'pie'", "grouped_bar")
        self.refuse(to(["nope"], "sections", 1, "tables", 0, "chart", "y"), "chart.y[0]", "no column 'nope'")
        self.refuse(to(["stratum"], "sections", 1, "tables", 0, "chart", "y"), "column of texts")
        self.refuse(to([], "sections", 1, "tables", 0, "chart", "y"), "names no column")
        self.refuse(to("yes", "sections", 1, "tables", 0, "chart", "log_x"), "chart.log_x", "true or false")
        self.refuse(to("date", "lists", 0, "columns", 0, "type"), "lists[0].columns[0].type", "'date'")
        self.refuse(to({"a": 1}, "settings", "strict"), "settings.strict", "flat")
        self.refuse(to([[1]], "settings", "strict"), "settings.strict[0]", "flat")

    def test_what_is_no_json_is_refused(self):
        good = (AUDITS / "empty.json").read_text()
        bad = self.path("bad.json")
        for text, *words in (
                ("", "is no JSON"), ("{", "is no JSON"), ("[]", "an object is needed"),
                (good.replace('"k": 1', '"k": NaN'), "is no JSON", "NaN"),
                (good.replace('"k": 1', '"k": 1e999'), "is no JSON"),
                (good.replace('"k": 1', '"k": 1, "k": 2'), "'k' stands twice"),
                (good + "x", "is no JSON"),
                ("[" * 100000, "deeper than 32"), ('{"a":' * 40, "deeper than 32"),
                (good.replace('"recipe": ""', '"recipe": "\\ud800"'), "is no JSON")):
            bad.write_text(text)
            self.refuse_file(bad, "bad.json", *words)
        bad.write_bytes(good.replace('"recipe": ""', '"recipe": "\xff"').encode("latin-1"))
        self.refuse_file(bad, "is no JSON")
        with open(bad, "wb") as file:
            file.truncate((256 << 20) + 1)
        self.refuse_file(bad, "bad.json")
        bad.write_text("[" + "0," * (4 << 20) + "0]")
        self.refuse_file(bad, "4194304 values")
        self.refuse_file(self.path("nowhere.json"), "nowhere.json", code=5)
        self.refuse_file(pathlib.Path(self.folder.name), code=3)

    def test_flags_that_do_not_go_together(self):
        audit, out = AUDITS / "empty.json", self.path("x.html")
        for flags in ([], [audit, "--store", "s"], [audit, "--audit", "1=a"],
                      ["--store", "s", "--baseline-audit", audit]):
            ran = self.run_program("report", *flags, "--out", out)
            self.assertEqual(ran.returncode, 2, ran.stderr)
        self.assertEqual(self.run_program("report", audit).returncode, 2)
        copied = self.path("same.json")
        copied.write_bytes(audit.read_bytes())
        ran = self.run_program("report", copied, "--out", copied)
        self.assertEqual(ran.returncode, 2)
        self.assertEqual(copied.read_bytes(), audit.read_bytes())
        self.assertEqual(self.run_program("report", audit, "--out", self.path("no/where.html")).returncode, 5)


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv.pop(1))
    unittest.main()
