"""The small world of review_test.py, review_import_test.py and feedback_users_test.py: a set, one in shards and a store, of users whose ids are secret."""
import json
import shutil

from program import ProgramTest, read_csv, rows_of, write_waves

USERS, ITEMS, DIM = 24, 70, 4
AS_OF = 2000
EXPOSURE = """[exposure]
ambiguous = ["protected"]
positive = ["like"]
aversion = ["avoid", "dislike"]
disinterest = ["not_interested"]
"""
REST = """[safety]
filters = [{ kind = "positives" }, { kind = "exposed", classes = ["ambiguous"] }]
[strata]
popularity = { bins = 2 }
[[branch]]
name = "hard"
share = 0.5
source = { kind = "topk", pool = 30, max_rank = 70 }
filters = [{ kind = "exposed", classes = ["aversion", "disinterest"] }]
select = { kind = "sample", weight = "uniform" }
[[branch]]
name = "random"
share = 0.25
source = { kind = "uniform" }
filters = [{ kind = "exposed", classes = ["aversion", "disinterest"] }]
[[branch]]
name = "seen"
share = 0.25
source = { kind = "exposed", classes = ["aversion"] }
[quota]
by = "popularity"
shares = { q1 = 0.5, q2 = 0.5 }
"""
HEAD = 'name = "reviewed"\nk = 6\nmetric = "ip"\n'
RECIPE = HEAD + EXPOSURE + REST


def band(rank):
    if rank == 0:
        return "not ranked"
    low = 1
    while rank > 10 * low:
        low *= 10
    return "%d-%d" % (low + 1 if low > 1 else 1, 10 * low)


class Reviewed(ProgramTest):
    secret = "canary"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.user_ids = ["canary-user-%d" % u for u in range(USERS)]
        cls.item_ids = [("=i%d" if i % 9 == 0 else "i-%d,\"") % i for i in range(ITEMS)]
        write_waves(cls.path("items.npy"), ITEMS, DIM, 0.1)
        write_waves(cls.path("users.npy"), USERS, DIM, 0.4)
        cls.table("item_ids.csv", ["item"], [[i] for i in cls.item_ids])
        cls.table("user_ids.csv", ["user"], [[u] for u in cls.user_ids])
        cls.events = [(u, (u * 7 + j * 11) % ITEMS, 1000 + u * 10 + j, ["like", "like", "dislike", "view", "like"][j])
                      for u in range(USERS) for j in range(5)] + [(0, 1, AS_OF, "view")]
        cls.table("events.csv", ["who", "what", "time", "kind"],
                  [[cls.user_ids[u], cls.item_ids[i], t, k] for u, i, t, k in cls.events])
        cls.titles = ["Film \"%d\", part" % i for i in range(ITEMS)]
        cls.table("catalogue.csv", ["item", "title"], [[cls.item_ids[i], cls.titles[i]] for i in range(ITEMS)])
        cls.table("queries.csv", ["user", "text"], [[cls.user_ids[u], "=query no %d" % u] for u in range(USERS)])
        cls.write("recipe.toml", RECIPE)
        cls.mine("--out", cls.path("set"))
        cls.mine("--out", cls.path("sharded"), "--rows-per-shard", "7")
        cls.mine("--store", cls.path("store"))

    @classmethod
    def inputs(cls):
        return ["--items", cls.path("items.npy"), "--users", cls.path("users.npy"), "--item-ids", cls.path("item_ids.csv"),
                "--user-ids", cls.path("user_ids.csv"), "--catalogue", cls.path("catalogue.csv")]

    @classmethod
    def mine(cls, *more, recipe="recipe.toml", events=("--event-columns", "user=who,item=what")):
        code, _, err = cls.run_quarry("mine", *cls.inputs(), "--events", cls.path("events.csv"), *events, "--recipe",
                                      cls.path(recipe), "--threads", "1", *more)
        assert code == 0, err

    def fresh_store(self, name):
        shutil.copytree(self.path("store"), self.path(name))
        return self.path(name)

    def refresh(self, store, *more):
        return json.loads(self.ok("refresh", store, "--json", "--threads", "1", *more))

    def compare_versions(self, store, pairs, mined, before=1, after=2):
        """No negative of `pairs` is left; rows of other users are what they were."""
        (old, _), (new, _) = rows_of(store, before), rows_of(store, after)
        users = {u for u, _ in pairs}
        by_key = {row["row_key"]: row for row in new}
        self.assertTrue(any((row["user"], i) in pairs for row in old for i in row["negatives"]))
        for row in new:
            for item in row["negatives"]:
                self.assertNotIn((row["user"], item), pairs)
        others = [row for row in old if row["user"] not in users]
        self.assertTrue(others)
        for row in others:
            self.assertEqual(repr(row), repr(by_key[row["row_key"]]))
        self.assertEqual(mined, sum(row["user"] in users for row in new))

    def export(self, set_path, name, *more):
        self.ok("review", "export", set_path, "--out", self.path(name), "--overwrite", *more)
        return read_csv(self.path(name), "\t" if name.endswith(".tsv") else ",")

    def write_lines(self, name, lines):
        return self.table(name, list(lines[0]), [list(line.values()) for line in lines])

    def cells(self, rows, manifest, by):
        cells = {}
        for r, row in enumerate(rows):
            for j in range(row["count"]):
                parts = {"branch": manifest["branches"][row["branch"][j]], "stratum": manifest["strata"][row["stratum"][j]],
                         "rank": band(row["raw_rank"][j])}
                cells.setdefault("; ".join("%s=%s" % (b, parts[b]) for b in by), []).append((r, j))
        return cells

    def users_file(self, name, records):
        return self.table(name, ["user", "item", "time", "kind"],
                          [[self.user_ids[u], self.item_ids[i], t, k] for u, i, t, k in records])
