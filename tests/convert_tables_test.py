#!/usr/bin/env python3
"""Tables of the program into Parquet and back: random files are compared with Python's csv module, and the program mines the same.

  tests/convert_tables_test.py [PROGRAM]

Run it with a Python that has the package and pyarrow (tools/check_python makes one); else it ends with 77, which means skipped."""
import os
import random
import signal
import stat
import subprocess
import sys
import time

from python_package import SharedFolder, main, or_skip, run

with or_skip("pip install pyarrow, or tools/check_python"):
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    import quarry
    from quarry import convert

from arrow_tables import Folder, read
from text_tables import EPOCH, IDS, moment, number, read_table, world, write_table

INTO = {"events": convert.events_to_parquet, "rows": convert.rows_to_parquet, "pairs": convert.pairs_to_parquet, "catalogue": convert.catalogue_to_parquet}
BACK = {"events": convert.events, "rows": convert.rows, "pairs": convert.pairs, "catalogue": convert.catalogue}
KNOWN = {"events": ("user", "item", "time", "kind", "value"), "rows": ("user", "item", "time", "segment", "row_key"), "pairs": ("user", "item", "score"),
         "catalogue": ("item", "first_seen", "retired", "title")}
TIMES = ("time", "first_seen", "retired")
NEVER_NULL = {"events": ("user", "item", "time", "kind"), "rows": ("user", "row_key"), "pairs": ("user", "item", "score"), "catalogue": ("item",)}
STAMP = pa.timestamp("ms", "UTC")
TEXT_LIST = pa.list_(pa.field("element", pa.string(), nullable=False))


def type_of(kind, name):
    return STAMP if name in TIMES else pa.float64() if name in ("value", "score") else pa.uint64() if name == "row_key" else \
        TEXT_LIST if (kind, name) == ("rows", "item") else pa.string()


def value_of(kind, name, text, said):
    """What a field says: times by their writer's word."""
    if name in ("value", "score"):
        return float(text) if text.strip(" \t") else None
    if name == "row_key":
        return int(text)
    if text == "":
        return None
    if (kind, name) == ("rows", "item"):
        return text.split("|")
    return said[text] if name in TIMES else text


def values_in(path):
    """{column: values} of a Parquet file, times as milliseconds."""
    table = pq.read_table(path)
    return {name: (table[name].cast(pa.int64()) if table[name].type == STAMP else table[name]).to_pylist() for name in table.column_names}


def names_of(kind, texts):
    known = [name for name in KNOWN[kind] if name in texts]
    return known + [name for name in texts if name not in known] if kind == "catalogue" else known


class RandomTablesTest(Folder):
    def test_as_the_csv_module_has_them(self):
        """Into Parquet: values and types; back: the same texts, values and seconds; and into Parquet again: the same table."""
        seen = 0
        for seed in range(120):
            chance = random.Random(seed)
            kind = ("events", "rows", "pairs", "catalogue")[seed % 4]
            count = chance.choice([0, 1, 2, 30, 200])
            columns, said = world(kind, chance, count)
            path = write_table(chance, "in" + chance.choice([".csv", ".tsv", ".inter", ".user"]), columns)
            with self.subTest(seed=seed, kind=kind, path=path):
                texts = read_table(path)
                self.assertEqual(texts, columns, "the test's own writer and the csv module")
                names = names_of(kind, texts)
                self.assertEqual(INTO[kind](path, "out.parquet", overwrite=True), count)
                wanted = {name: [value_of(kind, name, text, said) for text in texts[name]] for name in names}
                self.assertEqual(values_in("out.parquet"), wanted)
                schema = pq.read_schema("out.parquet")
                self.assertEqual(schema, pa.schema([pa.field(name, type_of(kind, name), nullable=name not in NEVER_NULL[kind]) for name in names]))
                if count == 0:
                    self.refused(["no rows"], BACK[kind], "out.parquet", "none.csv")
                    continue
                self.back(kind, names, texts, wanted, chance.choice([".csv", ".tsv"]))
                seen += count
        self.assertGreater(seen, 2000)

    def back(self, kind, names, texts, wanted, ending):
        path = "back" + ending
        self.assertEqual(BACK[kind]("out.parquet", path, overwrite=True), len(texts[names[0]]))
        found = read_table(path)
        self.assertEqual(list(found), names)
        for name in names:
            if name in TIMES:
                seconds = [(time.strptime(text, "%Y-%m-%d %H:%M:%SZ"), text) if text else None for text in found[name]]
                whole = [None if one is None else int((EPOCH.replace(*one[0][:6]) - EPOCH).total_seconds()) for one in seconds]
                self.assertEqual(whole, [None if one is None else one // 1000 for one in wanted[name]])
                wanted[name] = [None if one is None else one * 1000 for one in whole]
            elif name in ("value", "score"):
                self.assertEqual([float(text) if text else None for text in found[name]], wanted[name])
            elif name == "row_key":
                self.assertEqual([int(text) for text in found[name]], wanted[name])
            else:
                self.assertEqual(found[name], texts[name])
        INTO[kind](path, "again.parquet", overwrite=True)
        self.assertEqual(pq.read_schema("again.parquet"), pq.read_schema("out.parquet"))
        self.assertEqual(values_in("again.parquet"), wanted)

    def test_parquet_and_back_is_the_same_table(self):
        """Where types are those of the program's tables; numbers and negative zero bit for bit."""
        chance = random.Random(7)
        numbers = [float(number(chance)) for _ in range(len(IDS))]
        seconds = [0, 1000, 253402300799000, *(chance.randrange(253402300799) * 1000 for _ in IDS[3:])]
        table = pa.table({"user": IDS, "item": IDS[::-1], "time": pa.array(seconds, pa.int64()).cast(STAMP), "kind": IDS,
                          "value": [None, -0.0, *numbers[2:]]})
        pq.write_table(table, "in.parquet")
        for ending in (".csv", ".tsv"):
            convert.events("in.parquet", "x" + ending)
            convert.events_to_parquet("x" + ending, "out.parquet", overwrite=True)
            found = pq.read_table("out.parquet")
            self.assertEqual(found.cast(table.schema), table)
            self.assertEqual(np.array(found["value"][1].as_py()).tobytes(), np.array(-0.0).tobytes())
        rows = pa.table({"user": ["a", "b", "c"], "item": pa.array([["x", "y,z"], None, ["w"]], TEXT_LIST), "time": pa.array([None, 5000, 0]).cast(STAMP),
                         "segment": ["s", None, "\n"], "row_key": pa.array([0, 2**64 - 1, 2**63], pa.uint64())})
        pq.write_table(rows, "in.parquet")
        convert.rows("in.parquet", "rows.csv")
        convert.rows_to_parquet("rows.csv", "rows.parquet")
        self.assertEqual(pq.read_table("rows.parquet").cast(rows.schema), rows)

    def test_typed_attributes_go_there_and_back(self):
        """What quarry convert writes of types is read as these types again."""
        days = np.array(["1938-04-24", "2024-02-29", "9999-12-31", "0001-01-01"], "datetime64[D]")
        table = pa.table({"item": ["a", "b", "c", "d", "e"], "price": pa.array([0.1, None, -5e-324, 1.7976931348623157e308, 3.0]),
                          "stock": pa.array([0, -2**63, 2**63 - 1, None, 7]), "active": pa.array([True, False, None, True, False]),
                          "released": pa.array([*days.tolist(), None], pa.date32()),
                          "seen": pa.array([*(days.astype("datetime64[ms]").astype(int).tolist()), None], pa.int64()).cast(STAMP)})
        pq.write_table(table, "in.parquet")
        convert.catalogue("in.parquet", "out.csv")
        types = {"price": "float", "stock": "int", "active": "bool", "released": "date", "seen": "timestamp"}
        convert.catalogue_to_parquet("out.csv", "out.parquet", types=types)
        found = pq.read_table("out.parquet")
        self.assertEqual([field.type for field in found.schema], [field.type for field in table.schema])
        self.assertEqual(found.cast(table.schema), table)


RECIPE = """name = "tables"
k = 6
metric = "ip"
[exposure]
positive = ["like", "purchase>=40"]
aversion = ["dislike"]
[safety]
filters = ["positives", "time", { kind = "group", column = "group" }, { kind = "segment", column = "category" }]
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 60 }
select = { kind = "sample", weight = { kind = "column", table = "teacher", coef = 2.0 } }
[[branch]]
name = "random"
share = 0.5
source = { kind = "uniform" }
[quota]
backfill = ["random", "hard"]
"""


class MinedTest(SharedFolder):
    """Files of the four kinds, with odd ids and every writing of times, and what became of them by way of Parquet: one content hash."""

    def test_the_program_mines_the_same(self):
        run("synth", "--users", 80, "--items", 200, "--dim", 8, "--out", "data")
        chance = random.Random(3)
        users, items = ([f"{one}{n}" for n, one in zip(range(count), IDS * 10)] for count in (80, 200))
        items = [one.replace("|", "/") for one in items]  # they stand in lists
        log, shop = read_table("data/events.csv"), read_table("data/catalogue.csv")
        write_table(chance, "users.csv", {"user": users}, plain=True)
        write_table(chance, "items.csv", {"item": items}, plain=True)
        files = {"events": {**log, "user": [users[int(one)] for one in log["user"]], "item": [items[int(one)] for one in log["item"]],
                            "time": [self.written(chance, int(one)) for one in log["time"]]},
                 "catalogue": {**shop, "item": [items[int(one)] for one in shop["item"]],
                               "first_seen": [self.written(chance, int(one)) if one else "" for one in shop["first_seen"]]}}
        chosen = [chance.sample(range(200), 3) for _ in users]
        files["rows"] = {"user": users, "item": ["|".join(items[one] for one in few) for few in chosen],
                         "time": [chance.choice(["", self.written(chance, 1_620_000_000 + 86_400 * n)]) for n in range(80)],
                         "segment": [shop["category"][few[0]] for few in chosen]}
        pairs = [(user, item) for user in users for item in chance.sample(items, 60)]
        files["pairs"] = {"user": [user for user, _ in pairs], "item": [item for _, item in pairs], "score": [repr(chance.gauss(0, 1)) for _ in pairs]}
        paths = {kind: write_table(chance, kind + ending, columns) for (kind, columns), ending in zip(files.items(), (".csv", ".tsv", ".tsv", ".csv"))}
        with open("recipe.toml", "w", encoding="utf-8") as file:
            file.write(RECIPE)
        wanted = self.mined(paths)
        changed = {"events": ("kind", log["kind"][::-1]), "catalogue": ("category", shop["category"][::-1]),
                   "rows": ("item", files["rows"]["item"][::-1]), "pairs": ("score", files["pairs"]["score"][::-1])}
        for kind, (name, column) in changed.items():  # each file matters
            other = write_table(chance, "other.csv", {**files[kind], name: column})
            self.assertNotEqual(self.mined({**paths, kind: other}), wanted, kind)
        back = {}
        for kind, path in paths.items():
            INTO[kind](path, kind + ".parquet")
            back[kind] = f"back-{kind}.{'csv' if path.endswith('tsv') else 'tsv'}"
            BACK[kind](kind + ".parquet", back[kind])
            self.assertEqual(self.mined({**paths, kind: back[kind]}), wanted, kind)
        self.assertEqual(self.mined(back), wanted)
        self.assertEqual(self.mined({kind: kind + ".parquet" for kind in paths}, sys.executable, "-m", "quarry"), wanted)
        texts = {"events": {"time": "text", "value": "text"}, "catalogue": {"first_seen": "text", "retired": "text"},
                 "rows": {"time": "text", "item": "text"}, "pairs": {"score": "text"}}
        for kind, types in texts.items():
            INTO[kind](paths[kind], "texts.parquet", types=types, overwrite=True)
            found, written = pq.read_table("texts.parquet"), read_table(paths[kind])
            for name in types:
                self.assertEqual([one or "" for one in found[name].to_pylist()], written[name])
            BACK[kind]("texts.parquet", back[kind], overwrite=True)
        self.assertEqual(self.mined(back), wanted)

    @staticmethod
    def written(chance, seconds):
        """One of the writings of that second, with and without a fraction."""
        when = time.gmtime(seconds)
        return chance.choice([str(seconds), f"{seconds}.75", time.strftime("%Y-%m-%dT%H:%M:%SZ", when), time.strftime("%Y-%m-%d %H:%M:%S,999", when),
                              time.strftime("%Y-%m-%dT%H:%M:%S+02:00", time.gmtime(seconds + 7200))])

    def mined(self, paths, *command):
        arguments = ["mine", "--items", "data/items.npy", "--users", "data/users.npy", "--item-ids", "items.csv", "--user-ids", "users.csv", "--recipe",
                     "recipe.toml", "--events", paths["events"], "--catalogue", paths["catalogue"], "--rows", paths["rows"], "--pairs",
                     "teacher=" + paths["pairs"], "--seed", 5, "--no-audit", "--overwrite", "--out", "set"]
        if command:
            done = subprocess.run([*command, *map(str, arguments), "--converted", "kept"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
        else:
            run(*arguments)
        opened = quarry.open("set")
        return opened.content_hash, opened.column("row_key").tolist()


class FileTest(Folder):
    def test_streams_in_groups(self):
        """Groups are neither of one batch nor the whole; memory is that of one."""
        code = "import sys, quarry, resource; from quarry import convert; convert.events_to_parquet(sys.argv[1], sys.argv[2]); " \
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        line = "user-number-{0},item-number-{1},{2},like,{3}\n"
        block = "".join(line.format(n % 977, n % 991, 1_600_000_000 + n, n / 7) for n in range(100_000))
        peaks = []
        for blocks in (15, 60):  # 80 and 330 MB
            with open(f"{blocks}.csv", "w", encoding="utf-8") as file:
                file.write("user,item,time,kind,value\n")
                for _ in range(blocks):
                    file.write(block)
            done = subprocess.run([sys.executable, "-c", code, f"{blocks}.csv", f"{blocks}.parquet"], capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout))
        self.assertLess(peaks[1] - peaks[0], 60 * 1024, f"{peaks} KiB")
        meta = pq.read_metadata("60.parquet")
        self.assertEqual(meta.num_rows, 6_000_000)
        groups = [meta.row_group(n) for n in range(meta.num_row_groups)]
        self.assertTrue(all(100_000 < group.num_rows <= 1 << 20 for group in groups[:-1]), [group.num_rows for group in groups])
        for group in groups:
            for place in range(meta.num_columns):
                column = group.column(place)
                self.assertFalse(column.has_dictionary_page, column.path_in_schema)
                self.assertEqual(column.compression, "ZSTD")
        self.assertEqual(stat.S_IMODE(os.stat("60.parquet").st_mode), 0o600)
        last = pq.ParquetFile("60.parquet").read_row_group(meta.num_row_groups - 1).slice(groups[-1].num_rows - 1).to_pylist()[0]
        self.assertEqual((last["user"], last["value"]), (f"user-number-{99_999 % 977}", 99_999 / 7))

    def test_what_stops_it_leaves_what_was_there(self):
        with open("small.csv", "w", encoding="utf-8") as file:
            file.write("user,item,time\nu,i,1\n")
        convert.events_to_parquet("small.csv", "out.parquet")
        before = values_in("out.parquet")
        with open("bad.csv", "w", encoding="utf-8") as file:
            file.write("user,item,time\n" + "".join(f"u{n * 7919},i{n * 104729},{n}\n" for n in range(1_500_000)) + "u,i,soon\n")
        self.refused(["bad.csv:1500002", "'soon'"], convert.events_to_parquet, "bad.csv", "out.parquet", overwrite=True)
        self.assertEqual(values_in("out.parquet"), before)
        code = "import resource, sys\nfrom quarry import convert\nresource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n" \
            "from quarry.convert import command\nsys.exit(command.main(['events', 'bad.csv', 'out.parquet', '--overwrite']))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual((done.returncode, "Traceback" in done.stderr), (5, False), done.stderr)
        self.assertEqual((sorted(os.listdir(".")), values_in("out.parquet")), (["bad.csv", "out.parquet", "small.csv"], before))
        for sent in (signal.SIGINT, signal.SIGKILL):
            process = subprocess.Popen([sys.executable, "-m", "quarry", "convert", "events", "bad.csv", "out.parquet", "--overwrite"], stderr=subprocess.PIPE)
            aside = f".out.parquet.partial-{process.pid}"
            end = time.monotonic() + 60
            while not os.path.exists(aside) and process.poll() is None and time.monotonic() < end:
                time.sleep(0.001)
            process.send_signal(sent)
            said = process.communicate()[1].decode()
            self.assertEqual((process.returncode, "Traceback" in said), (75 if sent == signal.SIGINT else -signal.SIGKILL, False), said)
            self.assertEqual(os.path.exists(aside), sent == signal.SIGKILL)
            self.assertEqual(values_in("out.parquet"), before)

    def test_several_files_and_folders(self):
        os.mkdir("log")
        for name, end in (("b.csv", "2"), ("a.csv", "1"), ("c.tsv", "3")):
            with open(os.path.join("log", name), "w", encoding="utf-8") as file:
                file.write(f"user,item,time\nu{end},i,{end}\n".replace(",", "\t" if name.endswith("tsv") else ","))
        self.assertEqual(convert.events_to_parquet("log", "out.parquet"), 3)
        self.assertEqual(pq.read_table("out.parquet")["user"].to_pylist(), ["u1", "u2", "u3"])
        convert.events_to_parquet(["log/c.tsv", "log/a.csv"], "two.parquet")
        self.assertEqual(pq.read_table("two.parquet")["user"].to_pylist(), ["u3", "u1"])
        with open("log/d.csv", "w", encoding="utf-8") as file:
            file.write("user,item,time,kind\nu,i,4,k\n")
        self.refused(["d.csv", "'kind'", "a.csv"], convert.events_to_parquet, "log", "more.parquet")
        self.refused(["a.csv", "no column 'kind'"], convert.events_to_parquet, ["log/d.csv", "log/a.csv"], "more.parquet")
        self.assertEqual(convert.events_to_parquet("log", "more.parquet", columns={"kind": "time"}), 4)
        self.assertEqual(read("log/a.csv")[1], [["u1", "i", "1"]])


if __name__ == "__main__":
    main()
