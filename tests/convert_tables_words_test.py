#!/usr/bin/env python3
"""Tables of the program into Parquet: what is refused, by file, line and value, in the program's own words where it refuses it too; types; the command.

  tests/convert_tables_words_test.py [PROGRAM]

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import datetime
import gzip
import os

from python_package import main, or_skip

with or_skip("pip install pyarrow, or tools/check_python"):
    import pyarrow as pa
    import pyarrow.parquet as pq

    import quarry
    from quarry import convert

from arrow_tables import VECTORS, Folder, command, write

HEAD = "user,item,time,kind,value\n"


def put(path, text):
    with open(path, "wb") as file:
        file.write(text if isinstance(text, bytes) else text.encode())
    return path


class ReaderTest(Folder):
    def test_what_the_program_cannot_read_is_told_in_its_words(self):
        good = HEAD + "0,0,1,like,\n"
        for text in (b"", b"\n" + good.encode(), good.encode("utf-16"), gzip.compress(good.encode()), good + "0,0,2,like\n", good + "0,0,2,like,,\n",
                     good + '"0"x,0,2,like,\n', good + '0,"0,2,like,\n', good + "0,0,2\r,like,\n", good + "0,0\0,2,like,\n",
                     good.encode() + b"0,\xe9,2,like,\n", "user,item,time,kind,kind\n0,0,1,like,\n", "user,item,time,kind,\n0,0,1,like,\n",
                     "user:a,item,time,kind,user:b\n0,0,1,like,\n", good + '0,"' + "x" * (17 << 20) + '",2,like,\n'):
            path = put("in.csv", text)
            with self.subTest(text=text[:60]):
                with self.assertRaises(quarry.InputError) as caught:
                    quarry.Miner(VECTORS, "random", users=VECTORS, events=path)
                words = str(caught.exception)
                self.assertIn("in.csv:", words)
                self.refused([words], convert.events_to_parquet, path, "out.parquet")

    def test_values_of_events(self):
        for line, words in ((",i,1,k,", ["user is empty"]), ("u,,1,k,", ["item is empty"]), ("u,i,,k,", ["time is empty"]), ("u,i,1,,", ["kind is empty"]),
                            ("u,i,yesterday,k,", ["'time'", "'yesterday'", "ISO 8601"]), ("u,i,20240501,k,", ["'20240501'", "2024-05-01"]),
                            ("u,i, ,k,", ["'time'", "' '"]), ("u,i,1714559415999,k,", ["'1714559415999'", "milliseconds"]),
                            ("u,i,-1,k,", ["'-1'", "1970"]), ("u,i,1969-12-31T23:59:59.9Z,k,", ["'1969-12-31T23:59:59.9Z'", "1970"]),
                            ("u,i,1970-01-01T00:30+01:00,k,", ["before 1970"]), ("u,i,9999-12-31T23:59:59-01:00,k,", ["after"]),
                            ("u,i,2023-02-29,k,", ["'2023-02-29'"]), ("u,i,1,k,dear", ["'value'", "'dear'"]), ("u,i,1,k,nan", ["'nan'", "finite"]),
                            ("u,i,1,k,1e39", ["'1e39'", "3.4e38"]), ("u,i,1,k,1e-400", ["'1e-400'"]), ("u,i,1,k,0x10", ["'0x10'"]),
                            ('u,i,1,k,"1,5"', ["'1,5'"])):
            path = put("in.csv", HEAD + 'u,"i\n\n",1,k,2\n\n\nu,i,1,k,\n' + line + "\nu,i,1,k,\n")
            with self.subTest(line):
                self.refused(["in.csv:8", *words], convert.events_to_parquet, path, "out.parquet")

    def test_odd_times_that_the_program_reads(self):
        times = {"-0.5": 0, "-0": 0, "007": 7000, "7.0019": 7001, " 8 ": 8000, "19700101.0": 19700101000, "1970-01-01T00:00:01.5+00": 1500,
                 "2024-02-29 23:59:59,0009-0030": 1709252999000, "9999-12-31": 253402214400000}
        put("in.csv", "user,item,time\n" + "".join(f'u,i,"{text}"\n' for text in times))
        convert.events_to_parquet("in.csv", "out.parquet")
        self.assertEqual(dict(zip(times, pq.read_table("out.parquet")["time"].cast(pa.int64()).to_pylist())), times)

    def test_values_of_the_others(self):
        for kind, header, line, words in (
                ("rows", "user,item", "u,a||b", ["item has an empty id", "'a||b'"]), ("rows", "user,item", "u,|", ["empty id"]),
                ("rows", "user,item", "u,a|", ["empty id"]), ("rows", "user,item", "u,|a", ["empty id"]), ("rows", "user,time", "u,soon", ["'time'", "'soon'"]),
                ("rows", "user,row_key", "u,-1", ["'row_key'", "'-1'"]), ("rows", "user,row_key", f"u,{2**64}", [f"'{2**64}'"]),
                ("rows", "user,row_key", "u,1.0", ["'1.0'"]), ("rows", "user,row_key", "u,", ["row_key is empty"]), ("rows", "user,item", ",a", ["user is empty"]),
                ("pairs", "user,item,score", "u,i,", ["score is empty"]), ("pairs", "user,item,score", "u,i,  ", ["score is empty"]),
                ("pairs", "user,item,score", "u,i,inf", ["'score'", "'inf'"]), ("catalogue", "item,retired", "i,never", ["'retired'", "'never'"]),
                ("catalogue", "item,retired", ",1", ["item is empty"])):
            with self.subTest(line):
                path = put("in.tsv", (header + "\n\n" + line + "\n").replace(",", "\t"))
                self.refused(["in.tsv:3", *words], getattr(convert, kind + "_to_parquet"), path, "out.parquet")

    def test_what_is_not_there(self):
        put("in.csv", "user,item,when\nu,i,1\n")
        self.refused(["in.csv:1", "'time'", "user, item, when"], convert.events_to_parquet, "in.csv", "out.parquet")
        self.refused(["in.csv:1", "'moment'"], convert.events_to_parquet, "in.csv", "out.parquet", columns={"time": "moment"})
        self.refused(["'when'", "keys are user"], convert.events_to_parquet, "in.csv", "out.parquet", columns={"when": "time"}, kind=quarry.ConfigError)
        self.assertEqual(convert.events_to_parquet("in.csv", "out.parquet", columns={"time": "when"}), 1)
        self.assertEqual(pq.read_schema("out.parquet").names, ["user", "item", "time"])
        self.refused(["out.parquet is there already"], convert.events_to_parquet, "in.csv", "out.parquet", columns={"time": "when"}, kind=quarry.ConfigError)
        self.refused(["nowhere.csv"], convert.events_to_parquet, "nowhere.csv", "more.parquet", kind=quarry.IoError)
        self.refused(["in.csv.gz", "gunzip"], convert.events_to_parquet, "in.csv.gz", "more.parquet")
        self.refused(["out.parquet", ".csv, .tsv"], convert.events_to_parquet, "out.parquet", "more.parquet")
        self.refused(["out.feather", ".parquet"], convert.events_to_parquet, "in.csv", "out.feather", kind=quarry.ConfigError)
        os.mkfifo("pipe.csv")
        self.refused(["pipe.csv", "regular"], convert.events_to_parquet, "pipe.csv", "more.parquet", kind=quarry.IoError)
        put("shop.csv", "item,sku,a:b:token\nx,y,z\n")
        self.refused(["'item'", "two columns"], convert.catalogue_to_parquet, "shop.csv", "more.parquet", columns={"item": "sku"}, kind=quarry.ConfigError)
        convert.catalogue_to_parquet("shop.csv", "more.parquet", columns={"item": "sku"}, drop=["item"])
        self.assertEqual(pq.read_table("more.parquet").to_pylist(), [{"item": "y", "a:b": "z"}])
        self.refused(["drop", "'tags'", "sku"], convert.catalogue_to_parquet, "shop.csv", "o.parquet", drop=["tags"], kind=quarry.ConfigError)

    def test_one_column_may_stand_for_two(self):
        put("in.csv", 'item,since\n"a ""b""","2024-05-01"\n')
        convert.catalogue_to_parquet("in.csv", "out.parquet", columns={"first_seen": "since", "title": "item"})
        moment = datetime.datetime(2024, 5, 1, tzinfo=datetime.timezone.utc)
        self.assertEqual(pq.read_table("out.parquet").to_pylist(), [{"item": 'a "b"', "first_seen": moment, "title": 'a "b"'}])


class TypesTest(Folder):
    #: type: {text: value as Python's own}, texts that do not fit.
    VALUES = {
        "float": ({"1.50": 1.5, "1e300": 1e300, " 7": 7.0, "-0.1": -0.1, ".5": 0.5}, ["1,5", "nan", "inf", "0x1", "1e999", "1e", "five", "--1", " "]),
        "int": ({"0": 0, "-7": -7, str(2**63 - 1): 2**63 - 1, str(-2**63): -2**63, "5 ": 5}, ["007", "-0", "00", "1.0", "1e3", str(2**63), "+5", " "]),
        "bool": ({"true": True, "False": False, "TRUE": True, " false": False}, ["1", "yes", "t", "truefalse", " "]),
        "date": ({"2024-02-29": datetime.date(2024, 2, 29), "0001-01-01": datetime.date(1, 1, 1), "1969-12-31": datetime.date(1969, 12, 31),
                  "9999-12-31": datetime.date(9999, 12, 31)}, ["2023-02-29", "2024-5-1", "2024-05-01T00:00", "20240501", "01.05.2024", "1714521600", " "]),
        "timestamp": ({"2024-05-01": datetime.datetime(2024, 5, 1), "1938-04-24T22:13:20.75Z": datetime.datetime(1938, 4, 24, 22, 13, 20, 750000),
                       "2024-05-01 12:30+02:00": datetime.datetime(2024, 5, 1, 10, 30), "86400.5": datetime.datetime(1970, 1, 2, 0, 0, 0, 500000),
                       "9999-12-31T23:59:59,999999": datetime.datetime(9999, 12, 31, 23, 59, 59, 999000)},
                      ["yesterday", "20240501", "1714559415999", "2024-05-01T25:00", "-5", " "])}

    def test_values_of_every_type(self):
        for kind, (good, bad) in self.VALUES.items():
            lines = "".join(f'{n},"{text}"\n' for n, text in enumerate(["", *good]))
            path = put("in.csv", "item,more\n" + lines)
            with self.subTest(kind):
                convert.catalogue_to_parquet(path, "out.parquet", types={"more": kind}, overwrite=True)
                found = [one.replace(tzinfo=None) if isinstance(one, datetime.datetime) else one for one in pq.read_table("out.parquet")["more"].to_pylist()]
                self.assertEqual([(type(one), one) for one in found], [(type(None), None), *((type(one), one) for one in good.values())])
            os.remove("out.parquet")
            for text in bad:
                with self.subTest(kind, text=text):
                    path = put("in.csv", "item,more\n" + lines + f'x,"{text}"\ny,\n')
                    self.refused([f"in.csv:{len(good) + 3}", "'more'", f"'{text}'"], convert.catalogue_to_parquet, path, "out.parquet", types={"more": kind})

    def test_ids_never_become_numbers(self):
        path = put("in.csv", "user,item,time,kind\n007,1e5,1,0\nNA,null,2,true\n")
        convert.events_to_parquet(path, "out.parquet")
        table = pq.read_table("out.parquet", columns=["user", "item", "kind"])
        self.assertEqual(table.to_pylist(), [{"user": "007", "item": "1e5", "kind": "0"}, {"user": "NA", "item": "null", "kind": "true"}])
        for name in ("user", "item", "kind"):
            self.refused([f"{name} cannot be 'int'", "text"], convert.events_to_parquet, path, "o.parquet", types={name: "int"}, kind=quarry.ConfigError)
            convert.events_to_parquet(path, "out.parquet", types={name: "text"}, overwrite=True)

    def test_types_that_are_none(self):
        path = put("in.csv", HEAD + "u,i,1,k,\n")
        for types, words in (({"price": "float"}, ["'price'", "user, item, time, kind, value"]), ({"value": "decimal"}, ["'decimal'", "float"]),
                             ({"time": "date"}, ["time cannot be 'date'", "timestamp or text"]), ({"value": "int"}, ["value cannot be 'int'"])):
            self.refused(["types", *words], convert.events_to_parquet, path, "out.parquet", types=types, kind=quarry.ConfigError)

    def test_texts_are_not_read(self):
        path = put("in.csv", HEAD + "u,i,last year,k,dear\nu,i, 7 ,k,\n")
        convert.events_to_parquet(path, "out.parquet", types={"time": "text", "value": "text"})
        found = pq.read_table("out.parquet")
        self.assertEqual((found["time"].to_pylist(), found["value"].to_pylist()), (["last year", " 7 "], ["dear", None]))
        self.assertEqual([found.schema.field(name).nullable for name in ("time", "value")], [False, True])


class CommandTest(Folder):
    def test_there_and_back(self):
        put("log.tsv", "uid:token\tsku:token\tts:float\tkind:token\n007\ta|b\t1714521600.5\tlike\n")
        told = command("events", "log.tsv", "log.parquet", "--columns", "user=uid,item=sku,time=ts").stdout
        self.assertEqual(told, "log.parquet: 1 rows\n")
        self.assertEqual(pq.read_table("log.parquet")["time"].cast(pa.int64()).to_pylist(), [1714521600500])
        command("events", "log.parquet", "back.csv")
        with open("back.csv", encoding="utf-8") as file:
            self.assertEqual(file.read().replace('"', ""), "user,item,time,kind\n007,a|b,2024-05-01 00:00:00Z,like\n")
        put("shop.csv", "item,price,stock,note\na,1.5,7,x\nb,,-1,y\n")
        command("catalogue", "shop.csv", "shop.parquet", "--types", "price=float,stock=int", "--drop", "note")
        self.assertEqual(pq.read_table("shop.parquet").to_pylist(), [{"item": "a", "price": 1.5, "stock": 7}, {"item": "b", "price": None, "stock": -1}])
        self.assertIn("--types", command("--help").stdout)

    def test_exit_codes(self):
        put("shop.csv", "item,price\na,dear\n")
        for arguments, code, words in ((("--types", "price=float"), 3, "shop.csv:2, column 'price': 'dear'"), (("--types", "price"), 2, "name=type"),
                                       (("--types", "price=text,price=float"), 2, "twice"), (("--types", "prize=float"), 2, "'prize'"),
                                       (("--time-unit", "ms"), 2, "catalogue .parquet takes --columns, --types, --drop")):
            with self.subTest(arguments):
                self.assertIn(words, command("catalogue", "shop.csv", "out.parquet", *arguments, ok=code).stderr)
        self.assertIn("nowhere", command("catalogue", "shop.csv", "nowhere/out.parquet", ok=5).stderr)
        write("shop.parquet", pa.table({"item": ["a"]}))
        self.assertIn("--types does nothing here", command("catalogue", "shop.parquet", "out.csv", "--types", "a=int", ok=2).stderr)
        self.assertEqual(sorted(os.listdir(".")), ["shop.csv", "shop.parquet"])


if __name__ == "__main__":
    main()
