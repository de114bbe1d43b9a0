#!/usr/bin/env python3
"""Events and catalogue as tables in memory: every mistake is named, with argument, column, row and value, and breaks nothing.

  tests/python_tables_words_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import datetime
import decimal
import unittest

from python_package import main, or_skip

with or_skip():
    import numpy as np

    import quarry

from tables_world import RECIPE, TablesWorld, pandas, part, polars, pyarrow, write


class TablesWordsTest(TablesWorld):
    def test_mistakes_in_events_are_named(self):
        three = {"user": [0, 5, 199], "item": [2, 599, 0], "time": [100, 200, 300], "kind": ["like", "view", "like"], "value": [None, 2.0, 3.0]}
        nat, inf = np.datetime64("NaT"), float("inf")

        def other(name, entry):
            return {**three, name: [three[name][0], entry, three[name][2]]}

        cases = [
            (r"^events: column 'user': is the number 0: one row is no table, pandas.DataFrame\(records\) makes one of them",
             [{"user": 0, "item": 1, "time": 5, "kind": "like"}]),
            ("^events: there is no column 'time'; the columns are 'user', 'item', 'kind'", {name: three[name] for name in ("user", "item", "kind")}),
            ("^events: there is no column 'user'; the columns are .*event_columns={'user': COLUMN}", {}),
            ("^events: there is no column 'kind'.*event_kind", {name: three[name] for name in ("user", "item", "time")}),
            ("^events: column 'item' has 2 entries, column 'user' has 3; columns of one table", {**three, "item": [1, 2]}),
            ("^events: column 'value' has 4 entries", {**three, "value": np.zeros(4)}),
            ("^events: column 5 is called 7; names of columns are texts", {**three, 7: [1]}),
            ("^events: column 5 is called ''", {**three, "": [1, 2, 3]}),
            ("^events: column 'kind': is a str, no column", {**three, "kind": "like"}),
            ("^events: column 'user': is a NoneType, no column", {**three, "user": None}),
            ("^events: column 'user': is a set, no column", {**three, "user": {1, 2, 3}}),
            (r"^events: column 'user': is the number 5: one row is no table", {**three, "user": 5}),
            (r"^events: column 'user': has shape \(3, 1\)", {**three, "user": np.zeros((3, 1), int)}),
            (r"^events: column 'user', row 0: list \[0\] is none of text", {**three, "user": [[0], [5], [199]]}),
            (r"^events: 1 id has no embedding: a user \(row 1\)", other("user", -1)),
            (r"^events: 1 id has no embedding: a user \(row 1\); ids are row numbers.* give user_ids= and item_ids=", other("user", 200)),
            (r"^events: 1 id has no embedding: item '4294967296' \(row 1\)", other("item", 2**32)),
            (rf"^events: 1 id has no embedding: item '{2**64}' \(row 1\)", other("item", 2**64)),
            (rf"^events: 1 id has no embedding: item '{2**64 - 1}' \(row 1\)", {**three, "item": np.array([1, 2**64 - 1, 2], np.uint64)}),
            (r"^events: 1 id has no embedding: item '007' \(row 1\)", other("item", "007")),
            ("^events: row 1: the item id is empty", other("item", None)),
            ("^events: row 1: the item id is empty", {**three, "item": ["1", "", "2"]}),
            (r"^events: column 'item': holds floating-point numbers; ids.*astype\('int64'\)", {**three, "item": np.array([1.0, 2.0, 3.0])}),
            (r"^events: column 'item': holds floating-point numbers \(row 1 has none\)", {**three, "item": np.array([1.0, np.nan, 3.0])}),
            ("^events: column 'item': holds truth values; ids are texts or whole numbers", {**three, "item": [True, False, True]}),
            (r"^events: column 'item': holds times \(datetime64\[s\]\)", {**three, "item": np.zeros(3, "datetime64[s]")}),
            ("^events: column 'item', row 1: bool True is of another kind", other("item", True)),
            ("^events: column 'item', row 1: float 2.5 is of another kind", {**three, "item": ["1", 2.5, "2"]}),
            (r"^events: column 'item', row 1: object <object .* is none of text", other("item", object())),
            ("^events: column 'item', row 1: .*half a surrogate", other("item", "\ud800")),
            ("^events: column 'item', row 1: .*is not UTF-8", {**three, "item": np.array(["1", "\ud800", "2"])}),
            ("^events: column 'item': is .S1, bytes; decode them", {**three, "item": np.array([b"1", b"2", b"3"])}),
            ("^events: column 'item': is complex128", {**three, "item": np.zeros(3, complex)}),
            (r"^events: column 'time', row 1: time '-3' is before 1970; allowed are 0 to 253402300799", other("time", -3)),
            (r"^events: column 'time', row 1: time '1600000000000' is after the year 9999.*divide by 1000", other("time", 1_600_000_000_000)),
            (rf"^events: column 'time', row 1: time '{2**70}' is after the year 9999", other("time", 2**70)),
            (r"^events: column 'time', row 1: time 20240501 looks like a date.*datetime64", other("time", 20240501)),
            (r"^events: column 'time', row 1: time '20240501' looks like a date", {**three, "time": ["100", "20240501", "300"]}),
            (r"^events: column 'time', row 1: time 'yesterday' is neither an integer", {**three, "time": ["100", "yesterday", "300"]}),
            (r"^events: column 'time', row 1: time '' is neither", {**three, "time": np.array([1, nat, 3], "datetime64[s]")}),
            (r"^events: column 'time', row 1: time '' is neither", other("time", float("nan"))),
            (r"^events: column 'time', row 1: time 'inf' is neither", other("time", inf)),
            (r"^events: column 'time', row 1: time 1969-12-31T23:59:59.999 is before 1970", {**three, "time": np.array([1, -1, 3], "datetime64[ms]")}),
            (r"^events: column 'time', row 1: time 10000-01-01 is after the year 9999", {**three, "time": np.array(["1970", "10000", "1971"], "datetime64[D]")}),
            (r"^events: column 'time', row 1: time .* is after the year 9999", {**three, "time": np.array([0, 2**62, 1]).view("datetime64[Y]")}),
            (r"^events: column 'time', row 1: time .* is before 1970", {**three, "time": np.array([0, 1 - 2**63, 1]).view("datetime64[W]")}),
            (r"^events: column 'time': is datetime64, without a unit", {**three, "time": np.array([0, 1, 1]).view("datetime64")}),
            (r"^events: column 'time': is timedelta64\[s\], spans of time", {**three, "time": np.zeros(3, "timedelta64[s]")}),
            (r"^events: column 'time': holds truth values", {**three, "time": np.zeros(3, bool)}),
            (r"^events: column 'time', row 0: datetime datetime.datetime.*pandas.to_datetime", {**three, "time": [datetime.datetime(2024, 5, 1)] * 3}),
            (r"^events: row 1: the kind of event \(column 'kind'\) is empty", other("kind", None)),
            (r"^events: row 1: the kind of event \(column 'kind'\) is empty", other("kind", "")),
            (r"^events: column 'value', row 1: value 'inf' is not a finite number in \[-3.4e38, 3.4e38\]", other("value", inf)),
            (r"^events: column 'value', row 1: value '1.*' is not a finite number", other("value", 1e300)),
            (r"^events: column 'value', row 1: value 'many' is not a finite number", {**three, "value": ["1", "many", "2"]}),
            (r"^events: column 'value': holds truth values; numbers are needed", {**three, "value": [True, False, None]}),
            (r"^events: column 'value', row 1: Decimal .* is none of", other("value", decimal.Decimal(2))),
            (r"^events: is a int; give a path, a table", 5),
            (r"^events: is a int; give a path, or a table", [5]),
            (r"^events\[1\]: is a list; give a path, or a table", [three, [1, 2]]),
            (r"^events\[0\]: is a ndarray; give a path, or a table", np.zeros((3, 5)))]
        for words, table in cases:
            with self.subTest(words=words), self.assertRaisesRegex(quarry.InputError, words):
                self.mine(events=table)
        kept = self.miner(RECIPE, events={**three, "user": [0, -1, 10**30], "item": [2**40, 5, "no"]}, unknown_ids="drop", allow_inert=True)
        self.assertIn("left out for unknown ids, in events (ids of users and items): 4", " ".join(kept.warnings))
        with self.assertRaisesRegex(quarry.InputError, "^events: column 'user': has shape .*fields user, item"):
            self.mine(events={"user": np.zeros((3, 1), [("user", int), ("item", int)]), **{name: three[name] for name in ("item", "time", "kind")}})
        self.assert_same(self.mine(), self.wanted)  # none of these broke it

    def test_mistakes_in_a_catalogue_are_named(self):
        def other(**columns):
            return {**self.catalogue, **columns}

        cases = [
            ("^catalogue: has 599 rows, items have 600; a catalogue without the column 'item' has one row per item", part(self.attributes, range(599))),
            ("^catalogue: has 601 rows, items have 600", part(self.attributes, [*range(600), 0])),
            ("^catalogue: there is no column 'sku'.*catalogue_columns={'item': COLUMN}", None),
            ("^catalogue: row 1: item '0' stands already in row 0; a catalogue has one row per item", other(item=[0, 0, *range(2, 600)])),
            ("^catalogue: column 'first_seen', row 3: time '-1' is before 1970", other(first_seen=[None] * 3 + [-1] + [5] * 596)),
            ("^catalogue: column 'retired', row 2: time 20240501 looks like a date", other(retired=[None, None, 20240501] + [None] * 597)),
            ("^catalogue: column 'level', row 1: is inf; numbers are finite", other(level=[0.5, float("inf")] * 300)),
            ("^catalogue: column 'maker', row 0: list .* is none of text", other(maker=[["a"]] * 600)),
            ("^catalogue: column 'maker', row 1: str 'b' is of another kind", other(maker=[1.5, "b"] * 300)),
            ("^catalogue: column 'maker' has 5 entries, column 'item' has 600", other(maker=[1] * 5)),
            ("^catalogue: column 'item': holds floating-point numbers", other(item=np.arange(600.0))),
            ("^catalogue: is a int; give a path, or a table", 5),
            ("^catalogue: is a list; give a path, or a table", [self.catalogue])]
        for words, table in cases:
            more = {"catalogue": self.catalogue, "catalogue_columns": {"item": "sku"}} if table is None else {"catalogue": table}
            with self.subTest(words=words), self.assertRaisesRegex(quarry.InputError, words):
                self.mine(**more)
        self.assert_same(self.mine(), self.wanted)

    # --- NUL bytes, which no file may hold ---------------------------------------------------------
    def refuse_nul(self, table, column, row=r"row 1", value=r"'b\\x00c'", argument="events"):
        """In a file it is refused too; in memory with column, row and value."""
        words = rf"^{argument}: column '{column}'.*, {row}: {value} holds a NUL byte"
        with self.subTest(column=column, type=type(table), of=type(table[column]) if isinstance(table, dict) else ""):
            with self.assertRaisesRegex(quarry.InputError, words):
                self.mine(**{argument: table})

    def test_nul_bytes_are_refused_as_in_files(self):
        def other(name, entries):
            return {**three, name: entries}

        three = {"user": ["0", "5", "199"], "item": ["2", "599", "0"], "time": ["100", "200", "300"], "kind": ["like", "view", "like"],
                 "value": ["1", "2", "3"]}
        with self.assertRaisesRegex(quarry.InputError, "NUL byte"):
            self.mine(events=write("nul.csv", other("kind", ["like", "b\0c", "like"])))
        wrong = ["0", "b\0c", "199"]
        for name in three:
            forms = [wrong, tuple(wrong), np.array(wrong), np.array(wrong, object), np.array(wrong, ">U3"), np.ma.array(wrong)]
            if hasattr(np.dtypes, "StringDType"):
                forms.append(np.array(wrong, np.dtypes.StringDType()))
            for column in forms:
                self.refuse_nul(other(name, column), name)
            self.refuse_nul(other(name, ["0", "5", "\0"]), name, "row 2", r"'\\x00'")
            self.refuse_nul(other(name, ["0", "5\0", "6"]), name, "row 1", r"'5\\x00'")
        self.mine(events=other("kind", np.array(["like\0\0", "view\0", "like"])), allow_inert=True)  # NumPy fills up with them: no values
        self.refuse_nul({**self.catalogue, "colour": ["a", "b\0c", *["d"] * 598]}, "colour", argument="catalogue")
        self.refuse_nul({**self.catalogue, "title": ["a", "b\0c", *["d"] * 598]}, "title", argument="catalogue")
        with self.assertRaisesRegex(quarry.InputError, r"^events\[1\]: column 'item', row 1: 'b\\x00c' holds a NUL byte"):
            self.mine(events=[three, other("item", wrong)])
        with self.assertRaisesRegex(quarry.InputError, r"^catalogue: column 2 is called 'a\\x00b'.*NUL byte"):
            self.mine(catalogue={"item": [0], "first_seen": [None], "a\0b": [1]})
        self.assert_same(self.mine(), self.wanted)

    @unittest.skipIf(pandas is None, "no pandas")
    def test_nul_bytes_in_pandas(self):
        frame = pandas.DataFrame({"user": [0, 5, 199], "item": [2, 599, 0], "time": [100, 200, 300], "kind": ["like", "b\0c", "like"]})
        self.refuse_nul(frame, "kind")
        for kind in ("object", "string", "string[python]", *(["string[pyarrow]", pandas.ArrowDtype(pyarrow.string())] if pyarrow else [])):
            self.refuse_nul(frame.astype({"kind": kind}), "kind")
        self.refuse_nul(frame.astype({"kind": pandas.CategoricalDtype(["like", "b\0c"])}), "kind")
        with self.assertRaisesRegex(quarry.InputError, r"^item_ids: entry 1, 'b\\x00c', holds a NUL byte"):
            self.miner(item_ids=pandas.Series(["a", "b\0c", *map(str, range(598))]))

    @unittest.skipIf(pyarrow is None, "no pyarrow")
    def test_nul_bytes_in_arrow(self):
        whole = pyarrow.table({"user": [0, 5, 199], "item": [2, 599, 0], "time": [100, 200, 300], "kind": ["like", "b\0c", "like"]})
        texts = pyarrow.array(["zero", "like", "b\0c", "like"])
        for column in (texts[1:], texts.cast(pyarrow.large_string())[1:], texts.dictionary_encode()[1:], pyarrow.chunked_array([texts[1:2], texts[2:]]),
                       texts[1:].cast(pyarrow.string_view()) if hasattr(pyarrow, "string_view") else texts[1:]):
            of_dictionary = pyarrow.types.is_dictionary(column.type)  # entries of the dictionary: zero, like, b
            self.refuse_nul(whole.set_column(3, "kind", column), "kind", "row 2" if of_dictionary else "row 1")
        if polars is not None:
            self.refuse_nul(polars.from_arrow(whole), "kind")
            self.refuse_nul(polars.from_arrow(whole).with_columns(polars.col("kind").cast(polars.Categorical)), "kind")

    def test_nul_bytes_in_ids_and_kinds(self):
        ids = ["a", "b\0c", *map(str, range(598))]
        for given in (ids, tuple(ids), np.array(ids), np.array(ids, object)):
            with self.subTest(type=type(given)):
                with self.assertRaisesRegex(quarry.InputError, r"^item_ids: entry 1, 'b\\x00c', holds a NUL byte"):
                    self.miner(item_ids=given)
                with self.assertRaisesRegex(quarry.InputError, r"^user_ids: entry 1 holds a NUL byte"):  # and not who it is
                    self.miner(user_ids=given[:200])
        with self.assertRaisesRegex(quarry.InputError, "^item_ids: entry 0, .*half a surrogate"):
            self.miner(item_ids=["\ud800", *ids[2:], "x"])
        with self.assertRaisesRegex(quarry.ConfigError, r"event_kind 'a\\x00b' holds a NUL byte"):
            self.miner(event_kind="a\0b")
        miner = self.miner(RECIPE)
        for kinds, words in (("a\0b", r"^kinds: is 'a\\x00b', which holds a NUL byte"), (["like", "a\0b"], r"^kinds: entry 1 is 'a\\x00b', which holds")):
            with self.assertRaisesRegex(quarry.InputError, words):
                miner.update_events([1, 2], [3, 4], [5, 6], kinds)
        with self.assertRaisesRegex(quarry.InputError, r"^item_ids: entry 1, .*NUL"):
            miner.update_items(self.items, item_ids=ids)


if __name__ == "__main__":
    main()
