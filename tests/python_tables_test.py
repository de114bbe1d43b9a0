#!/usr/bin/env python3
"""Events and catalogue as tables in memory: the negatives of the same table in a CSV, whatever holds the columns.

  tests/python_tables_test.py [PROGRAM]     PROGRAM: what makes the data; default: the one in the package

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped. What needs pandas, polars, pyarrow
or torch is skipped where they are missing."""
import array
import datetime
import enum
import unittest

from python_package import main, or_skip

with or_skip():
    import numpy as np

    import quarry

from python_world import CURRICULUM, needs_torch, torch
from tables_world import COLOURS, RECIPE, TablesWorld, pandas, part, polars, pyarrow, text_of, write

needs_pandas = unittest.skipIf(pandas is None, "no pandas")
needs_polars = unittest.skipIf(polars is None, "no polars")
needs_pyarrow = unittest.skipIf(pyarrow is None, "no pyarrow")

SEGMENTS = """name = "segments"
k = 5
metric = "ip"
[safety]
filters = ["positives", { kind = "segment", column = "%s" }]
[[branch]]
name = "random"
share = 1
source = "uniform"
"""


class TablesTest(TablesWorld):
    def test_lists_and_arrays(self):
        self.assert_same_log(self.events)
        self.assert_same_log([self.events])
        self.assert_same_items(self.catalogue)
        users, items, times = (np.array(self.events[name]) for name in ("user", "item", "time"))
        kinds, values = np.array(self.events["kind"]), np.array(self.events["value"], float)
        gaps = np.isnan(values)
        moments = times.astype("datetime64[s]")
        spread = np.zeros((len(users), 3), np.int32)
        spread[:, 1] = users
        self.assertEqual(kinds.dtype.kind, "U")
        forms = {
            "user": [users, users.astype(np.uint8), users.astype(">i4"), spread[:, 1], users.astype(object), users.astype(str), tuple(users.tolist()),
                     [np.int16(one) for one in users], array.array("i", users.tolist()), np.ma.array(users), users.astype(np.uint64)],
            "item": [items.astype(np.uint16), items.astype("U5"), items[::-1][::-1], [str(one) for one in items],
                     [str(one) if one % 2 else int(one) for one in items]],
            "time": [times, times + 0.75, moments, moments.astype("datetime64[ns]") + 999_999_999, moments.astype("datetime64[us]"),
                     moments.astype(">M8[ms]"), moments.astype(str), np.char.add(moments.astype(str), "Z").astype(object), times.astype(str),
                     [float(one) for one in times], np.ma.array(moments)],
            "kind": [kinds, kinds.astype(object), kinds.astype(">U9"), kinds.tolist(), np.ma.array(kinds)],
            "value": [values, values.astype(">f8"), np.ma.array(np.where(gaps, 77, values), mask=gaps), values.astype(object),
                      [np.float64(one) for one in values], [None if gap else f" {one!r} " for gap, one in zip(gaps, values.tolist())]]}
        if hasattr(np.dtypes, "StringDType"):
            forms["kind"].append(kinds.astype(np.dtypes.StringDType()))
        for name, columns in forms.items():
            for column in columns:
                with self.subTest(column=name, type=type(column), dtype=getattr(column, "dtype", type(column[0]))):
                    self.assert_same_log({**self.events, name: column})
        whole = [None if one is None else round(one) for one in self.events["value"]]
        coarse = self.mine(events=write("other.csv", {**self.events, "value": whole}))
        for column in (whole, np.array([np.nan if one is None else one for one in whole], np.float32),
                       np.ma.array(np.where(gaps, 77, values.round()).astype(int), mask=gaps)):
            self.assert_same(self.mine(events={**self.events, "value": column}), coarse)

    def test_texts_of_an_enum_are_their_values(self):
        class Kind(str, enum.Enum):
            LIKE = "like"
            VIEW = "view"

        of = {kind.value: kind for kind in Kind}
        self.assert_same_log({**self.events, "kind": [of.get(kind, kind) for kind in self.events["kind"]]})

    def test_forms_of_a_catalogue(self):
        new, level, maker, first = (self.attributes[name] for name in ("new", "level", "maker", "first_seen"))
        since = np.array(self.attributes["since"], "datetime64[D]")
        known = [one is not None for one in first]
        forms = {
            "new": [np.array(new, object), np.ma.array([bool(one) for one in new], mask=[one is None for one in new]), [text_of(one) for one in new]],
            "level": [np.array(level, float), np.array(level, np.float32), np.array(level, np.float16), [text_of(one) for one in level]],
            "maker": [np.array(maker, float), np.array(maker, object), [text_of(one) for one in maker]],
            "since": [since, np.array(self.attributes["since"])],
            "first_seen": [np.array(first, float), np.array([0 if one is None else one for one in first]).astype("datetime64[s]")],
            "colour": [np.array(self.attributes["colour"]), [one or None for one in self.attributes["colour"]],
                       np.ma.array([one or "grün" for one in self.attributes["colour"]], mask=[not one for one in self.attributes["colour"]])],
            "title": [np.array(self.attributes["title"]), [None] * 600]}
        forms["first_seen"][1][~np.array(known)] = np.datetime64("NaT")
        for name, columns in forms.items():
            for column in columns:
                with self.subTest(column=name, dtype=getattr(column, "dtype", type(column[0]))):
                    self.assert_same_items({**self.catalogue, name: column})
        order = np.random.default_rng(3).permutation(600)
        self.assert_same_items(part(self.catalogue, order))
        self.assert_same_items(self.attributes)  # a row per item, in their order
        some = part(self.catalogue, order[:400])
        self.assert_same(self.mine(catalogue=some), self.mine(catalogue=write("other.csv", some)))
        self.assert_same(self.mine(catalogue={("sku" if name == "item" else "born" if name == "first_seen" else name): column for name, column in some.items()},
                                   catalogue_columns={"item": "sku", "first_seen": "born"}), self.mine(catalogue="other.csv"))

    def test_many_items_in_order(self):
        """More than a reader takes at once."""
        items = np.random.default_rng(5).standard_normal((9001, 24)).astype(np.float32)
        table = {"group": (np.arange(9001) // 30).tolist()}
        path = write("many.csv", {"item": list(range(9001)), **table})
        got, wanted = (self.miner(SEGMENTS % "group", items=items, events=self.events, catalogue=one).mine(*self.everyone, segments=[str(i + 100) for i in range(200)])
                       for one in (table, path))
        self.assert_same(got, wanted)
        self.assertEqual(((got.item // 30) == np.arange(100, 300)[:, None]).all(), True)

    def test_names_of_values(self):
        """A row's segment names values as texts: numbers, truth values and dates are those of the file."""
        instants = np.array(self.attributes["since"], "datetime64[ms]") + 1
        table = {**self.catalogue, "at": instants, "big": [2**63 + i % 2 for i in range(600)], "tiny": [(i % 5) * 1.5e-7 for i in range(600)]}
        files = write("named.csv", {**table, "at": [str(one.astype("datetime64[s]")).replace("T", " ") + "Z" for one in instants],
                                    "tiny": [("0", "1.5e-7", "3e-7", "4.5e-7", "6e-7")[i % 5] for i in range(600)]})
        for name, named in (("new", ["true", "false"]), ("level", ["2", "0.25", "1.5"]), ("maker", ["7", "12"]), ("since", ["2019-01-01"]),
                            ("colour", [COLOURS[0], COLOURS[1], COLOURS[4]]), ("group", ["5"]), ("at", ["2019-01-01 00:00:00Z", "2018-01-01 00:00:00Z"]),
                            ("big", [str(2**63), str(2**63 + 1)]), ("tiny", ["1.5e-7", "0"])):
            segments = [named[row % len(named)] for row in range(200)]
            got, wanted = (self.miner(SEGMENTS % name, catalogue=one).mine(*self.everyone, segments=segments) for one in (table, files))
            self.assert_same(got, wanted)
            self.assertGreater((wanted.item >= 0).sum(), 100, name)

    def test_numbers_are_written_as_convert_does(self):
        from quarry._columns import number_text
        random = np.random.default_rng(4)
        numbers = [*(random.standard_normal(300) * 10.0 ** random.integers(-300, 300, 300)).tolist(), 0.0, 1.0, -3.0, 1e15, 1e14, 123456789012345680.0, 5e-324,
                   1.7e308, 1e-6, 1e-5, 9.9e-7, 123e-6, 0.1, 1e16,
                   1e22, -2.5e-7, 12345678901234.5, 1e10, 9999999999.5, 10000000000.5, -0.0,
                   *(random.integers(1, 10**6, 100) / 10.0 ** 6).tolist()]
        for number in numbers:
            self.assertEqual(float(number_text(number)), number)
        if pyarrow is not None:
            self.assertEqual([number_text(number) for number in numbers], pyarrow.array(numbers).cast(pyarrow.string()).to_pylist())

    def test_times_are_exact(self):
        """To the second, in any unit, at both ends of what is allowed and of the unit."""
        def as_of(column):
            return self.miner("random", events={"user": [0], "item": [1], "time": column, "kind": ["like"]}).as_of

        moments = [0, 1, 86399, 1_600_000_000, 9_223_372_035, 253402300799]
        for unit, per in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9), ("ps", 10**12), ("25s", 25), ("7ms", 7)):
            for moment in moments:
                for more in (0, 1, per - 1):
                    count = moment * per + more if not unit[:-1].isdigit() and not unit.startswith("7") else None
                    if count is None:
                        count = moment // 25 if unit == "25s" else moment * 1000 // 7
                        wanted = count * 25 if unit == "25s" else count * 7 // 1000
                    else:
                        wanted = count // per
                    if count < 2**63 and wanted <= moments[-1]:
                        column = np.array([count], np.int64).view(f"datetime64[{unit}]")
                        self.assertEqual(as_of(column), wanted, (unit, moment, more))
        for text, unit in (("1970", "Y"), ("9999", "Y"), ("2024-02", "M"), ("9999-12", "M"), ("2024-05-02", "W"), ("9999-12-31", "D"), ("2024-05-01T07", "h"),
                           ("2024-05-01T07:09", "m")):
            day = np.array([text], f"datetime64[{unit}]")
            wanted = datetime.datetime.fromisoformat(str(day.astype("datetime64[s]")[0])).replace(tzinfo=datetime.timezone.utc).timestamp()
            self.assertEqual(as_of(day), wanted)
        self.assertEqual(as_of([20240501.0]), 20240501)
        self.assertEqual(as_of([1_600_000_000.999]), 1_600_000_000)

    def test_ids(self):
        for name, user_id, item_id in (("texts", "user {}".format, "ítem {}".format), ("numbers", lambda i: 10**12 + 7 * i, lambda i: 3 * (599 - i) - 50)):
            ids = {"user_ids": [user_id(i) for i in range(200)], "item_ids": [item_id(i) for i in range(600)]}
            log = {**self.events, "user": [user_id(i) for i in self.events["user"]], "item": [item_id(i) for i in self.events["item"]]}
            catalogue = {**self.catalogue, "item": ids["item_ids"]}
            files = {"events": write("log_ids.csv", log), "catalogue": write("items_ids.csv", catalogue)}
            wanted = self.mine(**ids, **files)
            for user, item in ((log["user"], log["item"]), (np.array(log["user"]), np.array(log["item"])),
                               ([str(one) for one in log["user"]], np.array(log["item"], object))):
                self.assert_same(self.mine(**ids, events={**log, "user": user, "item": item}, catalogue=catalogue), wanted)
            self.assert_same(self.mine(**ids, events=log, catalogue=self.attributes), wanted)
            # What has no vector is refused, or left out as of a file.
            fewer = {**ids, "items": self.items[:500], "item_ids": ids["item_ids"][:500]}
            with self.assertRaisesRegex(quarry.InputError, r"^events: \d+ ids have no embedding, repeats counted: item .* \(row \d+\).*unknown_ids='drop'"):
                self.miner(RECIPE, **fewer, events=log)
            with self.assertRaisesRegex(quarry.InputError, r"^catalogue: 100 ids have no embedding.*\(row 500\)"):
                self.miner("naive", **fewer, events=None, catalogue=catalogue, allow_inert=True)
            few = [self.miner(RECIPE, **fewer, events=events, catalogue=items, unknown_ids="drop")
                   for events, items in ((log, catalogue), (files["events"], files["catalogue"]))]
            batch = np.arange(200), (np.arange(200) * 7) % 500
            self.assert_same(few[0].mine(*batch, times=self.times), few[1].mine(*batch, times=self.times))
            self.assertEqual(few[0].warnings, few[1].warnings)
            self.assertRegex(" ".join(few[0].warnings), "left out for unknown ids")
        texts = {"user_ids": [f"u{i}" for i in range(200)], "item_ids": [f"i{i}" for i in range(600)]}
        for unknown in ("reject", "drop"):  # row numbers where there are ids
            with self.assertRaisesRegex(quarry.InputError, r"^events: column 'user' holds whole numbers \(row 0: 0\) and none of user_ids is one"):
                self.miner(RECIPE, **texts, events=self.events, unknown_ids=unknown)
            with self.assertRaisesRegex(quarry.InputError, r"^catalogue: column 'item' holds whole numbers .* none of item_ids"):
                self.miner("naive", **texts, events=None, catalogue=self.catalogue, unknown_ids=unknown, allow_inert=True)

    def test_other_names_and_one_kind(self):
        mapped = {"uid": self.events["user"], "sku": self.events["item"], "ts": self.events["time"], "what": self.events["kind"], "x": self.events["value"],
                  "nested": [[1]] * self.rows}
        self.assert_same_log(mapped, event_columns={"user": "uid", "item": "sku", "time": "ts", "kind": "what", "value": "x"})
        likes = {name: self.events[name] for name in ("user", "item", "time")}
        one = self.mine(CURRICULUM, events=likes, event_kind="like")
        self.assert_same(one, self.mine(CURRICULUM, events=write("other.csv", likes), event_kind="like"))
        with self.assertRaisesRegex(quarry.ConfigError, "event_kind= like would hide the column 'kind' of events"):
            self.mine(CURRICULUM, events=self.events, event_kind="like")
        # A value that no rule compares is not read, whatever it is.
        self.assert_same(self.mine(CURRICULUM, events={**self.events, "value": [object()] * self.rows}), self.mine(CURRICULUM))
        self.assertRegex(self.miner(RECIPE, events={**likes, "kind": self.events["kind"]}).warnings[0], "no column 'value'")

    def test_paths_and_tables_are_one_log(self):
        thirds = [part(self.events, range(first, self.rows, 3)) for first in range(3)]
        path = write("third.csv", thirds[1])
        other = {"value": np.array(thirds[2]["value"], float), "kind": np.array(thirds[2]["kind"]), "extra": [{}] * len(thirds[2]["user"]),
                 **{name: np.array(thirds[2][name]) for name in ("time", "item", "user")}}
        self.assert_same_log([thirds[0], path, other])
        self.assert_same_log((other, thirds[0], path))
        with self.assertRaisesRegex(quarry.InputError, r"^events\[2\]: column 'item', row 1: -5|^events\[2\]: 1 id has no embedding: item '-5' \(row 1\)"):
            self.mine(events=[path, thirds[0], {"user": [0, 1], "item": [2, -5], "time": [1, 2], "kind": ["like"] * 2}])
        nothing = {name: [] for name in self.events}
        self.assert_same(self.mine(events=nothing, allow_inert=True), self.mine(events=write("none.csv", nothing), allow_inert=True))
        self.assert_same_log([self.events, {name: np.zeros(0) for name in self.events}])

    def test_what_a_miner_took_stays(self):
        """Whatever becomes of the arrays, also when the log is read again."""
        def arrays():
            return ({name: np.array(column, float if name == "value" else None) for name, column in self.events.items()},
                    {name: np.array(column, float if name in ("first_seen", "retired", "level", "maker") else object if name == "new" else None)
                     for name, column in self.attributes.items()})

        for recipe in (RECIPE, CURRICULUM):
            log, catalogue = arrays()
            miner = self.miner(recipe, events=log, catalogue=catalogue)
            files = self.miner(recipe)
            for table in (log, catalogue):
                for column in table.values():
                    column[:] = column[::-1].copy()
                table.clear()
            self.assert_same(miner.mine(*self.everyone, times=self.times), files.mine(*self.everyone, times=self.times))
            more = np.concatenate([self.items, self.later[1][:50]])
            for update in (lambda m: m.set_round(6), lambda m: m.update_events([3, 5], [7, 9], [1_630_000_000, 1_640_000_000], "like"),
                           lambda m: m.update_events(files=write("later.csv", part(self.events, range(40)))), lambda m: m.update_items(self.later[0], version=1),
                           lambda m: m.update_items(more, users=self.later_users, version=2)):
                update(miner), update(files)
                self.assert_same(miner.mine(*self.everyone, times=self.times), files.mine(*self.everyone, times=self.times))
            self.assertEqual(miner.as_of, files.as_of)

    @needs_torch
    def test_tensors(self):
        self.assert_same_log({**self.events, "user": torch.tensor(self.events["user"]), "time": torch.tensor(self.events["time"], dtype=torch.int32),
                              "value": torch.tensor([np.nan if one is None else one for one in self.events["value"]], dtype=torch.float64)})

    @needs_pandas
    def test_pandas(self):
        log, items = pandas.DataFrame(self.events), pandas.DataFrame(self.catalogue)
        self.assert_same_log(log)
        self.assert_same_items(items)
        self.assert_same_items(items.drop(columns="item"))
        moments = pandas.to_datetime(log["time"], unit="s")
        forms = {"user": [log["user"].astype("Int32"), log["user"].astype("category"), log["user"].astype(str)],
                 "item": [log["item"].astype("uint16"), log["item"].astype(str).astype("category")],
                 "time": [moments, moments.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"), moments.dt.as_unit("ns") + pandas.Timedelta(999, "ms"),
                          log["time"].astype("Float64"), moments.astype(str), moments.astype("category")],
                 "kind": [log["kind"].astype("category"), log["kind"].astype(object), log["kind"].astype("string")],
                 "value": [log["value"].astype("Float64"), pandas.arrays.SparseArray(log["value"].to_numpy())]}
        if pyarrow is not None:
            forms["kind"].append(log["kind"].astype(pandas.ArrowDtype(pyarrow.string())))
            forms["time"].append(moments.astype(pandas.ArrowDtype(pyarrow.timestamp("us", "Europe/Paris"))))
            forms["user"].append(log["user"].astype("int64[pyarrow]"))
            forms["value"].append(log["value"].astype("double[pyarrow]"))
        for name, columns in forms.items():
            for column in columns:
                with self.subTest(column=name, dtype=column.dtype):
                    self.assert_same_log(log.assign(**{name: column}))
                    self.assert_same_log({**self.events, name: column})
        for name, columns in {"new": [items["new"].astype("boolean")], "maker": [items["maker"].astype("Int64"), items["maker"].astype("Int16").astype("category")],
                              "colour": [items["colour"].astype("category"), items["colour"].astype("category").cat.reorder_categories(sorted(COLOURS, reverse=True))],
                              "first_seen": [pandas.to_datetime(items["first_seen"], unit="s"), items["first_seen"].astype("Int64")],
                              "since": [pandas.to_datetime(items["since"]).dt.date.astype(str)], "level": [items["level"].astype("category")]}.items():
            for column in columns:
                with self.subTest(column=name, dtype=column.dtype):
                    self.assert_same_items(items.assign(**{name: column}))
        shuffled = items.sample(frac=1, random_state=1)
        self.assert_same_items(shuffled)
        self.assert_same_log(log.sample(frac=1, random_state=1))
        for table, words in ((items.set_index("item"), "'item' is the index and no column"),
                             (shuffled.drop(columns="item"), "has no column 'item', and its index is not 0, 1, 2"),
                             (pandas.concat([items, items["maker"]], axis=1), "two columns are called 'maker'"),
                             (items.rename(columns={"maker": 7}), "column 8 is called 7"),
                             (items.assign(maker=pandas.Timedelta(1, "s")), "column 'maker': is timedelta64"),
                             (items.assign(maker=pandas.Period("2024-01", "M")), "column 'maker', row 0: Period"),
                             (items["maker"], "catalogue: is a Series")):
            with self.subTest(words=words), self.assertRaisesRegex(quarry.InputError, "^catalogue: .*" + words if "is a Series" not in words else words):
                self.mine(catalogue=table)
        with self.assertRaisesRegex(quarry.InputError, r"^events: column 'user': holds floating-point numbers \(row 1 has none\)"):
            self.mine(events=log.assign(user=log["user"].where(log.index != 1)))
        with self.assertRaisesRegex(quarry.InputError, r"^events: row 1: the user id is empty"):
            self.mine(events=log.assign(user=log["user"].astype("Int64").where(log.index != 1)))
        with self.assertRaisesRegex(quarry.InputError, r"^events: column 'time', row 1: time '' "):
            self.mine(events=log.assign(time=moments.where(log.index != 1)))

    @needs_polars
    def test_polars(self):
        log, items = (polars.DataFrame(dict(table), strict=False) for table in (self.events, self.catalogue))
        self.assert_same_log(log)
        self.assert_same_items(items)
        kind, time = polars.col("kind"), polars.col("time")
        for forms in (kind.cast(polars.Categorical), kind.cast(polars.Enum(sorted(set(self.events["kind"])))), polars.from_epoch(time, time_unit="s"),
                      polars.from_epoch(time, time_unit="s").dt.replace_time_zone("UTC").dt.convert_time_zone("Asia/Tokyo"),
                      polars.col("user").cast(polars.UInt16), polars.col("user").cast(polars.String)):
            with self.subTest(forms=str(forms)):
                self.assert_same_log(log.with_columns(forms))
        self.assert_same_log(log.sample(fraction=1, shuffle=True, seed=1))
        self.assert_same_log([log.head(100), part(self.events, range(100, self.rows))])

    @needs_pyarrow
    def test_places_beyond_a_dictionary(self):
        pa = pyarrow
        for index, values in ((pa.int32(), [1, 2]), (pa.int64(), ["1", "2"]), (pa.int64(), [1, 2])):
            for place in (7, 2**31 - 1) + ((2**32,) if index == pa.int64() else ()):
                coded = pa.DictionaryArray.from_arrays(pa.array([0, place, 1], index), pa.array(values), safe=False)
                with self.assertRaisesRegex(quarry.InputError, f"^events: column 'user', row 1: is of category {place}; there are 2"):
                    self.mine(events={"user": coded, "item": [1, 2, 3], "time": [5, 6, 7], "kind": ["like"] * 3})

    @needs_pyarrow
    def test_arrow(self):
        pa = pyarrow
        log, items = pa.table(self.events), pa.table(self.catalogue)
        self.assert_same_log(log)
        self.assert_same_items(items)
        self.assert_same_log(log.to_batches()[0])
        self.assert_same_log(pa.concat_tables([log.slice(0, 1000), log.slice(1000, 1), log.slice(1001)]))
        self.assert_same_log(pa.concat_tables([log, log.slice(5)]).slice(0, self.rows))
        seconds = log["time"].cast(pa.timestamp("s"))
        forms = {"user": [log["user"].cast(pa.uint8()), log["user"].cast(pa.string()), log["user"].dictionary_encode()],
                 "item": [log["item"].cast(pa.large_string()), log["item"].cast(pa.decimal128(20, 0))],
                 "time": [seconds, seconds.cast(pa.timestamp("ns", "Asia/Tokyo")), seconds.cast(pa.string()), log["time"].cast(pa.float64())],
                 "kind": [log["kind"].dictionary_encode(), log["kind"].cast(pa.large_string()),
                          pa.chunked_array([log["kind"].chunk(0)[:9].dictionary_encode(), log["kind"].chunk(0)[9:].dictionary_encode()])],
                 "value": [log["value"].cast(pa.decimal128(9, 4)), log["value"].cast(pa.string())]}
        wide = log["kind"].cast(pa.large_string()).combine_chunks()
        forms["kind"].append(pa.concat_arrays([wide[:7], wide]).slice(7))
        if hasattr(pa, "string_view"):
            forms["kind"].append(log["kind"].cast(pa.string_view()))
        if hasattr(pa, "run_end_encoded"):
            import pyarrow.compute as pc
            forms["kind"].append(pc.run_end_encode(log["kind"].combine_chunks()))
        for name, columns in forms.items():
            for column in columns:
                with self.subTest(column=name, type=column.type):
                    self.assert_same_log({**self.events, name: column})
                    if name not in ("kind",) or not str(column.type).startswith("run"):
                        self.assert_same_log(log.set_column(log.schema.get_field_index(name), name, column))
        for name, column in (("since", pa.array(self.attributes["since"]).cast(pa.date32())), ("since", pa.array(self.attributes["since"]).cast(pa.date64())),
                             ("maker", items["maker"].cast(pa.int16())), ("maker", items["maker"].dictionary_encode()), ("level", items["level"].cast(pa.float16())),
                             ("colour", items["colour"].dictionary_encode()), ("title", pa.nulls(600)),
                             ("retired", items["retired"].cast(pa.timestamp("s")).cast(pa.timestamp("ms")))):
            with self.subTest(column=name, type=column.type):
                self.assert_same_items({**self.catalogue, name: column})
        since, segments = pa.array(self.attributes["since"]), ["2019-01-01", "2018-01-01"] * 100
        wanted = self.miner(SEGMENTS % "since").mine(*self.everyone, segments=segments)
        for dates in (since.cast(pa.date32()), since.cast(pa.date64()), since.dictionary_encode()):
            self.assert_same(self.miner(SEGMENTS % "since", catalogue={**self.catalogue, "since": dates}).mine(*self.everyone, segments=segments), wanted)
        self.assertGreater((wanted.item >= 0).sum(), 100)
        for column, words in ((pa.array([[1]] * 600), "is list<"), (pa.array([b"x"] * 600), "is binary"), (pa.array([{"a": 1}] * 600), "is struct"),
                              (pa.array([1] * 600, pa.duration("s")), "is duration")):
            with self.assertRaisesRegex(quarry.InputError, "^catalogue: column 'maker': " + words):
                self.mine(catalogue={**self.catalogue, "maker": column})
        broken = pa.Array.from_buffers(pa.string(), 2, [None, pa.py_buffer(np.array([0, 1, 3], np.int32).tobytes()), pa.py_buffer(b"a\xff\xfe")])
        with self.assertRaisesRegex(quarry.InputError, "column 'user', row 1: .*is not UTF-8"):
            self.mine(events={"user": broken, "item": [1, 2], "time": [1, 2], "kind": ["like"] * 2})
        with self.assertRaisesRegex(quarry.InputError, "^events: is a ChunkedArray, which is no table of columns"):
            self.mine(events=log["user"])


if __name__ == "__main__":
    main()
