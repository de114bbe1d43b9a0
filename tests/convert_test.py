#!/usr/bin/env python3
"""quarry.convert of vectors and tables: what goes in comes out, bit for bit; the program reads what was written; what is wrong is named by
file and row.

  tests/convert_test.py

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import csv
import datetime
import decimal
import os
import stat
import subprocess
import sys

from python_package import main, or_skip

with or_skip("pip install pyarrow, or tools/check_python"):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import quarry
    from quarry import arrow, convert

from arrow_tables import ODD_IDS, VECTORS, Folder, command, lists, read, write


class EmbeddingsTest(Folder):
    def test_every_type_and_format(self):
        for kind in ("fixed", "list", "large"):
            for dtype in (np.float32, np.float16):
                for ending in (".parquet", ".pq", ".arrow", ".ipc", ".feather", ".arrows"):
                    with self.subTest(kind=kind, dtype=dtype, ending=ending):
                        values = VECTORS.astype(dtype)
                        write("in" + ending, pa.table({"more": list(range(len(values))), "embedding": lists(values, kind), "sku": ODD_IDS}))
                        done = convert.embeddings("in" + ending, "out.npy", id_column="sku", ids_out="ids.csv", overwrite=True)
                        self.assertEqual((done.rows, done.dim, done.dtype), (*values.shape, np.dtype(dtype).name))
                        found = np.load("out.npy")
                        self.assertEqual((found.dtype, found.tobytes()), (values.dtype, values.tobytes()))
                        self.assertEqual(read("ids.csv"), (["id"], [[one] for one in ODD_IDS]))
        self.assertEqual(stat.S_IMODE(os.stat("out.npy").st_mode), 0o600)

    def test_the_program_knows_the_ids(self):
        """Ids of vectors and of events went by different files and are the same."""
        write("items.parquet", pa.table({"embedding": lists(VECTORS, "fixed"), "sku": ODD_IDS}))
        times = pa.array([1_700_000_000 + n for n in range(len(ODD_IDS))], pa.timestamp("s"))
        write("events.parquet", pa.table({"user": ["u"] * len(ODD_IDS), "item": pa.array(ODD_IDS).dictionary_encode(), "time": times,
                                          "kind": ["like"] * len(ODD_IDS)}))
        for ending in ("csv", "tsv"):
            convert.embeddings("items.parquet", "items.npy", id_column="sku", ids_out=f"ids.{ending}", overwrite=True)
            self.assertEqual(convert.events("events.parquet", f"events.{ending}"), len(ODD_IDS))
            miner = quarry.Miner("items.npy", users=VECTORS[:1], item_ids=f"ids.{ending}:id", user_ids=["u"], events=[f"events.{ending}"],
                                 recipe="random", seed=1)
            self.assertEqual(miner.mine([0], [[0]]).fill[0].tolist().count(0), 0)  # all items are positives of the user

    def test_parts_are_read_by_name(self):
        os.mkdir("parts")
        values = np.arange(60, dtype=np.float32).reshape(20, 3)
        for number, begin in enumerate(range(0, 20, 4)):
            kind = ("fixed", "list", "large")[number % 3]
            part = pa.table({"embedding": lists(values[begin:begin + 4], kind), "id": list(range(begin, begin + 4))})
            write(f"parts/part-{number}.parquet", part, 3)
        open("parts/_SUCCESS", "w").close()
        open("parts/.part-0.parquet.crc", "w").close()
        convert.embeddings("parts", "out.npy", id_column="id", ids_out="ids.tsv")
        np.testing.assert_array_equal(np.load("out.npy"), values)
        self.assertEqual(read("ids.tsv")[1], [[str(n)] for n in range(20)])
        convert.embeddings(["parts/part-3.parquet", "parts/part-1.parquet"], "two.npy")
        np.testing.assert_array_equal(np.load("two.npy"), np.concatenate([values[12:16], values[4:8]]))
        open("parts/notes.txt", "w").close()
        self.refused(["notes.txt", ".parquet"], convert.embeddings, "parts", "three.npy")
        os.remove("parts/notes.txt")
        os.mkdir("parts/day=1")
        self.refused(["day=1", "folder"], convert.embeddings, "parts", "three.npy")

    def test_conversions_of_numbers(self):
        doubles = VECTORS.astype(np.float64) * 1.000000001
        write("in.parquet", pa.table({"embedding": lists(doubles, "list")}))
        self.refused(["list<", "double", "--dtype float32"], convert.embeddings, "in.parquet", "out.npy")
        for dtype in ("float32", "float16"):
            convert.embeddings("in.parquet", "out.npy", dtype=dtype, overwrite=True)
            np.testing.assert_array_equal(np.load("out.npy"), doubles.astype(dtype))
        doubles[3, 2] = 70000.0
        write("in.parquet", pa.table({"embedding": lists(doubles, "list")}))
        self.refused(["in.parquet: row 3", "70000.0", "place 2", "float16"], convert.embeddings, "in.parquet", "x.npy", dtype="float16")

    def test_bad_rows(self):
        good = VECTORS.tolist()

        def table(rows, kind=None):
            return write("bad.parquet", pa.table({"embedding": pa.array(rows, kind or pa.list_(pa.float32()))}), 5)
        self.refused(["bad.parquet: row 11", "5 numbers", "6"], convert.embeddings, table(good[:11] + [good[11][:5]] + good[12:]), "o.npy")
        self.refused(["bad.parquet: row 8", "null"], convert.embeddings, table(good[:8] + [None] + good[8:]), "o.npy")
        self.refused(["bad.parquet: row 7", "null in place 3"], convert.embeddings,
                     table(good[:7] + [[1.0, 2.0, 3.0, None, 5.0, 6.0]]), "o.npy")
        self.refused(["bad.parquet: row 2", "null in place 1"], convert.embeddings,
                     table([good[0], good[1], [1.0, None, 3.0, 4.0, 5.0, 6.0]], pa.list_(pa.float32(), 6)), "o.npy")
        self.refused(["bad.parquet: row 0", "0 numbers"], convert.embeddings, table([[], []]), "o.npy")
        self.refused(["no rows"], convert.embeddings, table([]), "o.npy")
        self.refused(["int64"], convert.embeddings, table([[1, 2]], pa.list_(pa.int64())), "o.npy")
        self.refused(["string"], convert.embeddings, table(["a"], pa.string()), "o.npy")
        self.refused(["no column 'vector'", "embedding"], convert.embeddings, table(good), "o.npy", column="vector")
        for wrong in (np.nan, np.inf, -np.inf):
            values = VECTORS.copy()
            values[13, 4] = wrong
            write("bad.parquet", pa.table({"embedding": lists(values, "fixed")}), 5)
            self.refused(["bad.parquet: row 13", str(wrong), "place 4", "--bad-rows keep"], convert.embeddings, "bad.parquet", "o.npy")
            convert.embeddings("bad.parquet", "kept.npy", bad_rows="keep", overwrite=True)
            self.assertEqual(np.load("kept.npy").tobytes(), values.tobytes())
        write("one.parquet", pa.table({"embedding": lists(VECTORS, "fixed")}))
        write("two.parquet", pa.table({"embedding": lists(VECTORS[:, :5].copy(), "fixed")}))
        self.refused(["two.parquet: row 0", "5 numbers", "6"], convert.embeddings, ["one.parquet", "two.parquet"], "o.npy")
        write("two.parquet", pa.table({"embedding": lists(VECTORS.astype(np.float16), "fixed")}))
        self.refused(["two.parquet", "float16", "float32"], convert.embeddings, ["one.parquet", "two.parquet"], "o.npy")
        for ids, words in ((["a", None], ["row 1", "id is null"]), (["a", ""], ["row 1", "id is empty"]), ([1.5, 2.0], ["double"]),
                           ([True, False], ["bool"])):
            write("ids.parquet", pa.table({"embedding": lists(VECTORS[:2], "fixed"), "id": ids}))
            self.refused(["ids.parquet", *words], convert.embeddings, "ids.parquet", "o.npy", id_column="id", ids_out="o.csv")
        with open("one.parquet", "rb") as whole, open("cut.parquet", "wb") as file:
            file.write(whole.read(200))
        self.refused(["cut.parquet"], convert.embeddings, "cut.parquet", "o.npy")
        self.refused(["gone.parquet"], convert.embeddings, "gone.parquet", "o.npy", kind=quarry.IoError)

    def test_ids_of_other_types(self):
        columns = {"int": pa.array([2**63 - 1, -5], pa.int64()), "unsigned": pa.array([2**64 - 1, 0], pa.uint64()),
                   "decimal": pa.array([decimal.Decimal(10**30), decimal.Decimal(7)], pa.decimal128(38, 0)),
                   "large": pa.array(["a", "b"], pa.large_string()),
                   "bytes": pa.array([b"a", "é".encode()], pa.binary())}
        wanted = {"int": [str(2**63 - 1), "-5"], "unsigned": [str(2**64 - 1), "0"], "decimal": [str(10**30), "7"], "large": ["a", "b"],
                  "bytes": ["a", "é"]}
        write("in.parquet", pa.table({"embedding": lists(VECTORS[:2], "fixed"), **columns}))
        for name, ids in wanted.items():
            convert.embeddings("in.parquet", "o.npy", id_column=name, ids_out="o.csv", overwrite=True)
            self.assertEqual(read("o.csv")[1], [[one] for one in ids])

    def test_back_to_parquet(self):
        for dtype in (np.float32, np.float16):
            np.save("in.npy", VECTORS.astype(dtype))
            with open("ids.csv", "w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([["more", "item"], *[["x", one] for one in ODD_IDS]])
            convert.embeddings_to_parquet("in.npy", "out.parquet", ids="ids.csv:item", overwrite=True)
            table = pq.read_table("out.parquet")
            self.assertEqual(table["id"].to_pylist(), ODD_IDS)
            np.testing.assert_array_equal(arrow.matrix(table["embedding"].combine_chunks(), "embedding"), VECTORS.astype(dtype))
            field = table.schema.field("embedding")
            self.assertFalse(field.nullable or field.type.value_field.nullable)
            self.assertTrue(pa.types.is_fixed_size_list(field.type))
            self.assertFalse(table.schema.field("id").nullable)
            column = pq.ParquetFile("out.parquet").metadata.row_group(0).column(1)
            self.assertEqual((column.compression, column.has_dictionary_page), ("UNCOMPRESSED", False))
            convert.embeddings("out.parquet", "again.npy", id_column="id", ids_out="again.csv", overwrite=True)
            self.assertEqual(np.load("again.npy").tobytes(), VECTORS.astype(dtype).tobytes())
            self.assertEqual(read("again.csv")[1], [[one] for one in ODD_IDS])
        convert.embeddings_to_parquet("in.npy", "alone.parquet")
        self.assertEqual(pq.read_table("alone.parquet").column_names, ["embedding"])
        for count, words in ((len(ODD_IDS) - 1, "fewer than"), (len(ODD_IDS) + 1, "more ids")):
            with open("ids.csv", "w") as file:
                file.write("id\n" + "".join(f"{n}\n" for n in range(count)))
            self.refused(["ids.csv", words], convert.embeddings_to_parquet, "in.npy", "o.parquet", ids="ids.csv")
        with open("ids.csv", "w") as file:
            file.write("a,b\n1,2\n")
        self.refused(["a, b", "ids.csv:COLUMN"], convert.embeddings_to_parquet, "in.npy", "o.parquet", ids="ids.csv", kind=quarry.ConfigError)
        np.save("wrong.npy", VECTORS.astype(np.float64))
        self.refused(["wrong.npy", "<f8"], convert.embeddings_to_parquet, "wrong.npy", "o.parquet")

    def test_memory_does_not_grow_with_rows(self):
        values = np.random.default_rng(2).standard_normal((20000, 64)).astype(np.float32)
        schema = pa.schema([("embedding", pa.list_(pa.float32())), ("id", pa.string())])
        peaks = []
        code = "import sys, quarry, resource; from quarry import convert; " \
            "convert.embeddings(sys.argv[1], sys.argv[2], id_column='id', ids_out=sys.argv[2] + '.csv'); " \
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        for groups in (4, 40):  # files of 20 and 200 MiB
            with pq.ParquetWriter(f"{groups}.parquet", schema, use_dictionary=False) as writer:
                for group in range(groups):
                    writer.write_table(pa.table([lists(values, "list"), [f"{group}-{n}" for n in range(len(values))]], schema=schema))
            done = subprocess.run([sys.executable, "-c", code, f"{groups}.parquet", f"{groups}.npy"], capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout))
        self.assertEqual(np.load("40.npy", mmap_mode="r").shape, (800000, 64))
        self.assertLess(peaks[1] - peaks[0], 60 * 1024, f"{peaks} KiB")


class TablesTest(Folder):
    def test_events(self):
        zone = datetime.timezone(datetime.timedelta(hours=2))
        moments = [datetime.datetime(2024, 5, 1, 12, 30, 15, 999999, zone), datetime.datetime(1970, 1, 1, 2, 0, 0, 0, zone),
                   datetime.datetime(2038, 1, 19, 5, 14, 8, 1, zone)]
        wanted = ["2024-05-01 10:30:15Z", "1970-01-01 00:00:00Z", "2038-01-19 03:14:08Z"]
        table = {"uid": pa.array([2**53 + 1, 2, 3]), "item": pa.array(["a,b", "0070", 'q"'], pa.large_string()).dictionary_encode(),
                 "when": pa.array(moments, pa.timestamp("us", "Europe/Berlin")), "kind": ["like", "view", "like"],
                 "value": pa.array([0.1, None, -2.5e-7], pa.float32()), "ignored": [[1], [2], [3]]}
        write("in.parquet", pa.table(table))
        names = {"user": "uid", "time": "when"}
        self.assertEqual(convert.events("in.parquet", "out.csv", columns=names), 3)
        header, records = read("out.csv")
        self.assertEqual(header, ["user", "item", "time", "kind", "value"])
        self.assertEqual([record[:4] for record in records], [[str(2**53 + 1), "a,b", wanted[0], "like"], ["2", "0070", wanted[1], "view"],
                                                              ["3", 'q"', wanted[2], "like"]])
        self.assertEqual([np.float32(record[4]) if record[4] else None for record in records], [np.float32(0.1), None, np.float32(-2.5e-7)])
        for unit, number in (("s", 1714559415), ("ms", 1714559415999), ("us", 1714559415999999), ("ns", 1714559415999999999)):
            for kind in (pa.int64(), pa.timestamp(unit), pa.timestamp(unit, "America/New_York")):
                table["when"] = pa.array([number] * 3, pa.int64()).cast(kind)
                write("in.arrow", pa.table(table))
                convert.events("in.arrow", "out.tsv", columns=names, time_unit=unit, overwrite=True)
                found = read("out.tsv")[1][0][2]
                self.assertEqual(found, "1714559415" if unit == "s" and kind == pa.int64() else "2024-05-01 10:30:15Z")
        days = pa.array([datetime.date(2024, 5, 1)] * 3)
        for array, text in ((days, "2024-05-01 00:00:00Z"), (days.cast(pa.date64()), "2024-05-01 00:00:00Z"),
                            (pa.array(["2024-05-01T12:30+02:00"] * 3), "2024-05-01T12:30+02:00"), (pa.array([1714559415.75] * 3), "1714559415")):
            table["when"] = array
            convert.events(write("in.parquet", pa.table(table)), "out.csv", columns=names, overwrite=True)
            self.assertEqual(read("out.csv")[1][0][2], text)

    def test_the_program_mines_the_same(self):
        """Events, catalogue and rows by Parquet, and as written by hand: one content hash."""
        run = subprocess.run([quarry.program(), "synth", "--users", "80", "--items", "200", "--dim", "8", "--out", "data"], capture_output=True)
        self.assertEqual(run.returncode, 0)
        header, records = read("data/events.csv")
        columns = dict(zip(header, zip(*records)))
        typed = {name: list(columns[name]) for name in header}
        typed["time"] = pa.array([int(one) for one in columns["time"]], pa.int64()).cast(pa.timestamp("s")).cast(pa.timestamp("ns", "Asia/Tokyo"))
        for name in ("user", "item"):
            typed[name] = pa.array([int(one) for one in columns[name]], pa.int32())
        if "value" in typed:
            typed["value"] = pa.array([float(one) if one else None for one in columns["value"]], pa.float64())
        os.mkdir("log")
        table = pa.table(typed)
        half = table.num_rows // 2
        write("log/a.parquet", table.slice(0, half), 100)
        write("log/b.feather", table.slice(half), 100)
        self.assertEqual(convert.events("log", "events.tsv"), table.num_rows)
        header, records = read("data/catalogue.csv")
        columns = dict(zip(header, zip(*records)))
        catalogue = {name: list(columns[name]) for name in header}
        for name in ("first_seen", "retired"):
            if name in catalogue:
                catalogue[name] = pa.array([int(one) if one else None for one in columns[name]], pa.int64()).cast(pa.timestamp("s", "UTC"))
        convert.catalogue(write("catalogue.parquet", pa.table(catalogue)), "catalogue.csv")
        hashes = []
        for events, items in (("data/events.csv", "data/catalogue.csv"), ("events.tsv", "catalogue.csv")):
            done = subprocess.run([quarry.program(), "mine", "--items", "data/items.npy", "--users", "data/users.npy", "--events",
                                   events, "--catalogue", items, "--recipe",
                                   "balanced", "--seed", "4", "--out", f"set{len(hashes)}"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            hashes.append(quarry.open(f"set{len(hashes)}"))
        self.assertEqual(hashes[0].content_hash, hashes[1].content_hash)
        np.testing.assert_array_equal(hashes[0].column("row_key"), hashes[1].column("row_key"))

    def test_catalogue_and_rows_and_pairs(self):
        table = {"sku": ["a", "b"], "first_seen": pa.array([0, None], pa.timestamp("ms")), "price": [1.25, 3e20], "count": [1, None],
                 "new": [True, False],
                 "day": pa.array([datetime.date(2024, 1, 2), None]), "brand": pa.array(["x", None]).dictionary_encode(), "tags": [["t"], []]}
        write("in.parquet", pa.table(table))
        self.refused(["in.parquet", "tags", "--drop"], convert.catalogue, "in.parquet", "out.csv", columns={"item": "sku"})
        convert.catalogue("in.parquet", "out.csv", columns={"item": "sku"}, drop=["tags"])
        self.assertEqual(read("out.csv"), (["item", "first_seen", "price", "count", "new", "day", "brand"], [
            ["a", "1970-01-01 00:00:00Z", "1.25", "1", "true", "2024-01-02", "x"], ["b", "", "3e+20", "", "false", "", ""]]))
        rows = {"user": [5, 6, 7, 8], "item": [["a", "b"], [], None, ["c,d"]], "time": pa.array([1, None, 3, 4], pa.timestamp("s")),
                "row_key": pa.array([0, 2**64 - 1, 5, 6], pa.uint64())}
        for kind in (pa.list_(pa.string()), pa.large_list(pa.string())):
            rows["item"] = pa.array([["a", "b"], [], None, ["c,d"]], kind)
            for part in (pa.table(rows), pa.concat_tables([pa.table(rows), pa.table(rows)]).slice(2, 4)):
                convert.rows(write("rows.parquet", part), "rows.csv", overwrite=True)
                wanted = {"5": ["a|b", "1970-01-01 00:00:01Z", "0"], "6": ["", "", str(2**64 - 1)], "7": ["", "1970-01-01 00:00:03Z", "5"],
                          "8": ["c,d", "1970-01-01 00:00:04Z", "6"]}
                header, found = read("rows.csv")
                self.assertEqual(header, ["user", "item", "time", "row_key"])
                self.assertEqual(found, [[str(user), *wanted[str(user)]] for user in part["user"].to_pylist()])
        rows["item"] = pa.array([["a"], ["b", "c|d"], ["e"], ["f"]])
        self.refused(["rows.parquet: row 1", "'|'"], convert.rows, write("rows.parquet", pa.table(rows)), "o.csv")
        rows["item"] = pa.array([["a"], ["b"], ["e", None], ["f"]])
        self.refused(["rows.parquet: row 2", "null"], convert.rows, write("rows.parquet", pa.table(rows)), "o.csv")
        write("pairs.parquet", pa.table({"user": ["u"], "item": ["i"], "teacher": [0.5]}))
        convert.pairs("pairs.parquet", "pairs.csv", columns={"score": "teacher"})
        self.assertEqual(read("pairs.csv"), (["user", "item", "score"], [["u", "i", "0.5"]]))

    def test_bad_tables(self):
        good = {"user": ["u", "v", "w"], "item": ["a", "b", "c"], "time": [1, 2, 3], "kind": ["k", "k", "k"], "value": [1.0, 2.0, None]}

        def table(**more):
            return write("bad.parquet", pa.table({**good, **more}), 2)
        for more, words in (({"user": ["u", None, "w"]}, ["row 1", "user is null"]), ({"user": ["u", "v", ""]}, ["row 2", "user is empty"]),
                            ({"item": [1.0, 2.0, 3.0]}, ["column item", "double"]), ({"time": [1, 2, None]}, ["row 2", "time is null"]),
                            ({"time": [1, -2, 3]}, ["row 1", "before 1970"]),
                            ({"time": [1, 2, 1714559415999]}, ["row 2", "after 9999", "--time-unit ms"]),
                            ({"time": pa.array([-1, 2, 3], pa.timestamp("ns"))}, ["row 0", "before 1970"]),
                            ({"time": pa.array([1.0, float("nan"), 3.0])}, ["row 1", "no finite"]),
                            ({"time": [True, True, True]}, ["column time", "bool"]),
                            ({"kind": ["k", None, "k"]}, ["row 1", "kind is null"]), ({"kind": ["k", "k", ""]}, ["row 2", "kind is empty"]),
                            ({"value": [1.0, float("inf"), 2.0]}, ["row 1", "value", "infinite"]), ({"value": [1e39, 1.0, 2.0]}, ["row 0", "3.4e38"]),
                            ({"value": [[1.0], [], []]}, ["column value", "list"])):
            with self.subTest(words):
                self.refused(["bad.parquet", *words], convert.events, table(**more), "o.csv")
        self.refused(["no column 'item'", "user"], convert.events, write("bad.parquet", pa.table({"user": ["u"]})), "o.csv")
        self.refused(["no column 'score'"], convert.events, table(), "o.csv", columns={"value": "score"})
        self.refused(["'usr'", "user, item"], convert.events, table(), "o.csv", columns={"usr": "user"}, kind=quarry.ConfigError)
        self.refused(["o.txt", ".csv or .tsv"], convert.events, table(), "o.txt", kind=quarry.ConfigError)
        self.refused(["no rows"], convert.events, write("bad.parquet", pa.table({**good}).slice(0, 0)), "o.csv")
        one = {name: good[name] for name in ("user", "item", "time")}
        write("a.parquet", pa.table(one))
        write("b.parquet", pa.table(good))
        self.refused(["b.parquet", "'kind'", "a.parquet"], convert.events, ["a.parquet", "b.parquet"], "o.csv")
        self.refused(["a.parquet", "no column 'kind'"], convert.events, ["b.parquet", "a.parquet"], "o.csv")



class WhatTheProgramReadsTest(Folder):
    """No table is written that the program would refuse for its bytes."""

    def texts_with(self, *entries):
        """Also in slices, whose buffers hold more than their rows, and by dictionary."""
        plain = pa.array(["\0", *entries])[1:]
        return plain, plain.cast(pa.large_string()), plain.dictionary_encode()

    def test_nul_bytes_are_refused_with_file_row_column_and_value(self):
        good = {"user": ["u", "v", "w"], "item": ["a", "b", "c"], "time": ["1", "2", "3"], "kind": ["k", "l", "m"], "value": ["1", "2", "3"]}
        for name in good:
            for texts in self.texts_with("1", "2", "3\0d"):
                for ending in (".parquet", ".arrow"):
                    source = write("in" + ending, pa.table({**good, name: texts}), 2)
                    with self.subTest(name, type=texts.type, ending=ending):
                        self.refused([f"{source}: row 2: {name} is '3\\x00d'", "NUL byte"], convert.events, source, "out.csv")
        self.assertIn("row 2: value is", command("events", "in.arrow", "out.csv", ok=3).stderr)
        catalogue = {"item": ["a", "b", "c"], "title": ["x", "y", "z"], "brand": ["x", "y\0", "z"]}
        source = write("items.parquet", pa.table(catalogue))
        self.refused([f"{source}: row 1: brand is 'y\\x00'"], convert.catalogue, source, "out.csv")
        self.assertEqual(convert.catalogue(source, "out.csv", drop=["brand"]), 3)
        source = write("rows.parquet", pa.table({"user": ["u", "v"], "item": [["a", "b"], ["c", "d\0"]]}))
        self.refused([f"{source}: row 1: item is 'c|d\\x00'"], convert.rows, source, "out.tsv")
        source = write("pairs.parquet", pa.table({"user": ["u\0"], "item": ["i"], "score": [0.5]}))
        self.refused([f"{source}: row 0: user is 'u\\x00'"], convert.pairs, source, "out.tsv")
        source = write("vectors.parquet", pa.table({"embedding": lists(VECTORS, "fixed"), "sku": [*map(str, range(len(VECTORS) - 1)), "\0"]}))
        self.refused([f"{source}: row {len(VECTORS) - 1}: id is '\\x00'"], convert.embeddings, source, "o.npy", id_column="sku", ids_out="o.csv")

    def test_texts_that_are_no_utf8_are_refused(self):
        """Arrow's buffers and Parquet's pages hold what their writer put there."""
        offsets, chars = np.array([0, 1, 3, 4], np.int32), b"a\xe9bc"
        texts = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(chars)])
        source = write("in.arrow", pa.table({"user": ["u", "v", "w"], "item": texts, "time": [1, 2, 3]}))
        self.refused([f"{source}: row 1: item is b'\\xe9b'", "UTF-8"], convert.events, source, "out.csv")

    def test_names_and_sizes(self):
        for names, word in ((["item", "a\0b"], "NUL byte"), (["item", ""], "no name"), (["item", ":token"], "no name")):
            source = write("in.arrow", pa.table([["x"]] * 2, names=names))
            self.refused([repr(names[1]), word], convert.catalogue, source, "out.csv", kind=quarry.ConfigError)
            self.assertEqual(convert.catalogue(source, "out.csv", drop=names[1:], overwrite=True), 1)
            os.remove("out.csv")
        for count in (4096, 4097):
            source = write("in.arrow", pa.table([["x"]] * count, names=["item", *(f"c{n}" for n in range(count - 1))]))
            if count > 4096:
                self.refused(["4097", "4096"], convert.catalogue, source, "wide.csv", kind=quarry.ConfigError)
            else:
                self.assertEqual(convert.catalogue(source, "out.csv"), 1)
                self.items_with("out.csv")
        for size, quotes in (((16 << 20) - 20, 0), ((8 << 20) + 1, 1), (9 << 20, 0)):
            title = ('"' if quotes else "t") * size
            source = write("in.arrow", pa.table({"item": ["x", "0"], "title": ["short", title]}))
            if quotes:
                self.refused([f"{source}: row 1", "16 MiB"], convert.catalogue, source, "long.csv")
            else:
                convert.catalogue(source, "out.csv", overwrite=True)
                self.items_with("out.csv")
        source = write("in.arrow", pa.table({"item": ["x", "0"], "title": ["short", "t" * (16 << 20)]}))
        self.refused([f"{source}: row 1", "16 MiB"], convert.catalogue, source, "long.csv")

    def items_with(self, path):
        """The program reads it."""
        quarry.Miner(VECTORS[:2], "random", item_ids=["x", "0"], catalogue=path, allow_inert=True)


class OddInputTest(Folder):
    def test_what_is_no_matrix(self):
        np.savez("many.npz", VECTORS)
        open("empty.npy", "wb").close()
        tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS.reshape(len(VECTORS), 2, 3))
        write("tensor.arrow", pa.table({"embedding": tensor}))
        self.refused(["many.npz", "archive"], convert.embeddings_to_parquet, "many.npz", "out.parquet")
        self.refused(["empty.npy"], convert.embeddings_to_parquet, "empty.npy", "out.parquet")
        self.refused(["tensor.arrow", "embedding", "one dimension"], convert.embeddings, "tensor.arrow", "out.npy")

    def test_flags_between_names(self):
        write("in.parquet", pa.table({"uid": ["a"], "item": [1], "time": [2000]}))
        command("events", "in.parquet", "--columns", "user=uid", "--time-unit", "ms", "out.csv")
        self.assertEqual(read("out.csv"), (["user", "item", "time"], [["a", "1", "1970-01-01 00:00:02Z"]]))

    def test_standard_output_that_is_full(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([sys.executable, "-m", "quarry", "convert", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.returncode, "standard output" in done.stderr, "Traceback" in done.stderr), (5, True, False), done.stderr)

    def test_a_folder_that_is_not_there_is_named(self):
        write("in.parquet", pa.table({"user": ["a"], "item": [1], "time": [2]}))
        with self.assertRaises(quarry.IoError) as caught:
            convert.events("in.parquet", os.path.join("nowhere", "out.csv"))
        self.assertIn(os.path.abspath("nowhere"), str(caught.exception))
        self.assertNotIn("partial", str(caught.exception))

    def test_instants_before_1970_are_labels(self):
        times = [datetime.datetime(1938, 4, 24, 22, 13, 20), None, datetime.datetime(1969, 12, 31, 23, 59, 59, 500000)]
        for unit in ("ms", "us", "ns"):
            write("in.parquet", pa.table({"item": ["a", "b", "c"], "born": pa.array(times, pa.timestamp(unit))}))
            convert.catalogue("in.parquet", "out.csv", overwrite=True)
            self.assertEqual([record[1] for record in read("out.csv")[1]], ["1938-04-24 22:13:20Z", "", "1969-12-31 23:59:59Z"])
        self.refused(["in.parquet: row 0", "1970"], convert.catalogue, "in.parquet", "more.csv", columns={"first_seen": "born"})

    def test_empty_texts_where_something_is_needed(self):
        write("in.parquet", pa.table({"user": ["a", "b"], "item": [1, 2], "time": ["2024-01-01", ""], "score": ["1", ""]}))
        self.refused(["in.parquet: row 1", "time is empty"], convert.events, "in.parquet", "out.csv")
        self.refused(["in.parquet: row 1", "score is empty"], convert.pairs, "in.parquet", "out.csv")

    def test_names_that_the_program_would_cut_to_one(self):
        write("in.parquet", pa.table({"item": ["a"], "price:eur": [1], "price:usd": [2]}))
        self.refused(["price:eur", "colon"], convert.catalogue, "in.parquet", "out.csv", kind=quarry.ConfigError)
        self.assertEqual(convert.catalogue("in.parquet", "out.csv", drop=["price:usd"]), 1)

    def test_a_link_at_the_name_of_the_file_aside_is_not_followed(self):
        write("in.parquet", pa.table({"user": ["a"], "item": [1], "time": [2]}))
        with open("other", "w", encoding="utf-8") as file:
            file.write("stays")
        os.symlink("other", f".out.csv.partial-{os.getpid()}")
        convert.events("in.parquet", "out.csv")
        with open("other", encoding="utf-8") as file:
            self.assertEqual(file.read(), "stays")

    def test_memory_that_arrow_lacks_is_no_wrong_input(self):
        from unittest import mock
        write("in.parquet", pa.table({"user": ["a"], "item": [1], "time": [2]}))
        with mock.patch("quarry.convert.sources.Source._batches", side_effect=pa.ArrowMemoryError("malloc of size 1 failed")):
            with self.assertRaises(MemoryError):
                convert.events("in.parquet", "out.csv")
        self.assertFalse(os.path.exists("out.csv"))


if __name__ == "__main__":
    main()
