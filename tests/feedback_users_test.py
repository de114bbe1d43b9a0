#!/usr/bin/env python3
"""quarry feedback users: records become events, a refresh keeps them, and every refusal; users are played and what must change is
derived again. No id of a user stands anywhere but in the logs of events.

  tests/feedback_users_test.py PROGRAM
"""
import json
import os

from program import main, read_csv, rows_of, text_of
from reviewed import AS_OF, HEAD, REST, Reviewed


class FeedbackUsers(Reviewed):
    def test_users_circle(self):
        store = self.fresh_store("users")
        rows, _ = rows_of(store, 1)
        hard = [(row["user"], item) for row in rows for item, b in zip(row["negatives"], row["branch"]) if b == 0]
        seen = [(row["user"], item) for row in rows for item, b in zip(row["negatives"], row["branch"]) if b == 2]
        pick = lambda pairs, user: next(p for p in pairs if p[0] == user)
        disliked = pick(seen, 1)          # was hidden as disliked, and is asked for
        averse = pick(hard, 2)            # no negative of a branch but seen any more
        bored = pick(hard, 3)
        back = pick(hard, 4)              # avoided, then asked for
        forth = pick(hard, 5)             # asked for, then avoided
        records = [(*disliked, AS_OF + 5, "hidden"), (*averse, AS_OF + 1, "avoid"), (*bored, AS_OF + 1, "not_interested"),
                   (*back, AS_OF + 1, "avoid"), (*back, AS_OF + 2, "hidden"), (*forth, AS_OF + 2, "hidden"),
                   (*forth, AS_OF + 3, "avoid"), (*averse, AS_OF + 1, "avoid"), (*bored, 900, "avoid")]
        path = self.users_file("records.csv", records)
        out = json.loads(self.ok("feedback", "users", path, "--set", store, "--out", self.path("u_events.csv"), "--json"))
        log = {(e["who"], e["what"]): (e["time"], e["kind"]) for e in read_csv(self.path("u_events.csv"))}
        name = lambda pair: (self.user_ids[pair[0]], self.item_ids[pair[1]])
        self.assertEqual(log, {name(disliked): (str(AS_OF + 5), "protected"), name(averse): (str(AS_OF + 1), "avoid"),
                               name(bored): (str(AS_OF + 1), "not_interested"), name(back): (str(AS_OF + 2), "protected"),
                               name(forth): (str(AS_OF + 3), "avoid")})
        self.assertEqual(out["records"], {"read": 9, "unknown_ids": 0, "repeated": 1, "superseded": 1, "withdrawn": 1,
                                          "renewed": 1, "before_the_log": 0, "after_as_of": 5})
        kinds = {k["kind"]: k for k in out["kinds"]}
        self.assertEqual((kinds["avoid"]["class"], kinds["avoid"]["kept_out_of"], kinds["avoid"]["source_of"]),
                         ("aversion", ["hard", "random"], ["seen"]))
        self.assertEqual((kinds["not_interested"]["class"], kinds["not_interested"]["open"]), ("disinterest", ["seen"]))
        self.assertEqual((kinds["protected"]["class"], kinds["protected"]["open"], kinds["protected"]["events"]), ("ambiguous", [], 2))
        self.assertNotIn("canary", json.dumps(out) + text_of(self.path("u_events.csv.meta.json")))
        before = text_of(os.path.join(store, "log"))
        self.assertNotIn("canary", before)
        done = self.refresh(store, "--more-events", self.path("u_events.csv"), "--as-of", "latest")
        (old, _), (new, _) = rows_of(store, 1), rows_of(store, 2)
        by_key = {row["row_key"]: row for row in new}
        changed = {1, 2, 3, 4, 5}
        for row in new:
            for item, branch in zip(row["negatives"], row["branch"]):
                pair = (row["user"], item)
                self.assertNotIn(pair, {disliked, bored, back})
                if pair in (averse, forth):
                    self.assertEqual(branch, 2)
        for row in old:
            if row["user"] not in changed:
                self.assertEqual(repr(row), repr(by_key[row["row_key"]]))
        self.assertEqual(done["rows_mined"], sum(row["user"] in changed for row in new))
        said = json.loads(self.ok("log", store, "--json"))
        self.assertEqual(next(v for v in said["versions"] if v["version"] == 1)["feedback"],
                         {"avoid": 2, "not_interested": 1, "protected": 2})
        self.assertIn("2 avoid, 1 not_interested, 2 protected", self.ok("log", store))
        # What is to be typed next names the time of the last event: the log may go on behind it.
        _, _, err = self.run_quarry("feedback", "users", path, "--set", store + "@1", "--out", self.path("u_next.csv"))
        self.assertIn("next: quarry refresh %s --more-events %s --as-of %d\n" % (store, self.path("u_next.csv"), AS_OF + 5), err)
        # The same import again is the same feedback, not twice as much.
        self.ok("feedback", "users", path, "--set", store + "@1", "--out", self.path("u_events.csv"), "--overwrite")
        said = json.loads(self.ok("log", store, "--json"))
        self.assertEqual(next(v for v in said["versions"] if v["version"] == 1)["feedback"]["avoid"], 2)
        # Nor is it with other options.
        self.ok("feedback", "users", path, "--set", store + "@1", "--out", self.path("u_again.csv"), "--map", "avoid=dislike")
        said = json.loads(self.ok("log", store, "--json"))
        self.assertEqual(next(v for v in said["versions"] if v["version"] == 1)["feedback"],
                         {"dislike": 2, "not_interested": 1, "protected": 2})
        self.ok("verify", store)

    def test_refused_records(self):
        at = ["--set", self.path("set"), "--out", self.path("n_events.csv")]

        def bad(code, words, records, *more):
            self.fails(code, words, "feedback", "users", self.users_file("n.csv", records), *at, *more)
            self.assertFalse(os.path.exists(self.path("n_events.csv")))

        bad(3, "n.csv:3: the kind 'Hidden' is not known", [(0, 1, 5, "avoid"), (0, 1, 5, "Hidden")])
        bad(2, "--map", [(0, 1, 5, "avoid")], "--map", "hidden=avoid")
        bad(2, "no kind of record", [(0, 1, 5, "avoid")], "--map", "loved=avoid")
        bad(2, "is not key=value", [(0, 1, 5, "avoid")], "--map", "avoid")
        bad(2, "are positive", [(0, 1, 5, "avoid")], "--map", "avoid=like")
        bad(2, "is not one of user", [(0, 1, 5, "avoid")], "--columns", "who=user")
        bad(2, "unknown-ids", [(0, 1, 5, "avoid")], "--unknown-ids", "maybe")
        self.write("plain.toml", HEAD + '[exposure]\npositive = ["like"]\n[safety]\nfilters = ["positives"]\n[[branch]]\nname = "hard"\n'
                   'source = { kind = "topk", pool = 30 }\n')
        bad(2, "would have no effect", [(0, 1, 5, "avoid")], "--recipe", self.path("plain.toml"))
        bad(2, "would not protect the items", [(0, 1, 5, "hidden")], "--recipe", self.path("plain.toml"))
        code, _, err = self.run_quarry("feedback", "users", self.users_file("n.csv", [(0, 1, 5, "avoid")]), "--set", self.path("set"),
                                       "--out", self.path("inert.csv"), "--recipe", self.path("plain.toml"), "--allow-inert")
        self.assertEqual(code, 0, err)
        self.assertIn("warning: ", err)
        self.assertIn("1 event is earlier than the first of the set's log", err)
        # Ids that nobody knows: lines are named, users are not.
        self.table("n2.csv", ["user", "item", "time", "kind"], [["canary-nobody", self.item_ids[1], 5, "avoid"],
                                                                [self.user_ids[1], "nothing", 5, "avoid"],
                                                                [self.user_ids[1], self.item_ids[40], 5, "avoid"]])
        self.fails(3, "1 lines have a user without an embedding (lines 2); 1 lines have an item without an embedding (lines 3)",
                   "feedback", "users", self.path("n2.csv"), *at)
        out = json.loads(self.ok("feedback", "users", self.path("n2.csv"), "--set", self.path("set"), "--out", self.path("n3.csv"),
                                 "--unknown-ids", "drop", "--json"))
        self.assertEqual((out["records"]["unknown_ids"], out["log"]["events"]), (2, 1))
        self.table("n4.csv", ["user", "item", "time", "kind"], [[self.user_ids[1], self.item_ids[1], "", "avoid"]])
        self.fails(3, "n4.csv:2", "feedback", "users", self.path("n4.csv"), *at)
        self.table("n5.csv", ["user", "item", "time", "kind"], [[self.user_ids[1], "", 5, "avoid"]])
        self.fails(3, "n5.csv:2: the item is empty", "feedback", "users", self.path("n5.csv"), *at)
        self.table("n6.csv", ["u", "i", "t", "kind"], [[self.user_ids[1], self.item_ids[40], "1970-01-01T00:20:00", "avoid"]])
        self.fails(3, "--columns user=COLUMN", "feedback", "users", self.path("n6.csv"), *at)
        self.ok("feedback", "users", self.path("n6.csv"), "--set", self.path("set"), "--out", self.path("n7.tsv"), "--columns",
                "user=u,item=i,time=t")
        self.assertEqual([e["time"] for e in read_csv(self.path("n7.tsv"), "\t")], ["1200"])

    def test_asked_for_against_an_earlier_rule(self):
        # Rules do not know order: a rule before that of the request decides, and it is said.
        self.write("late.toml", HEAD + '[exposure]\npositive = ["like"]\naversion = ["avoid", "dislike"]\nambiguous = ["protected"]\n' + REST)
        user, item = next((u, i) for u, i, t, k in self.events if k == "dislike")
        path = self.users_file("l.csv", [(user, item, AS_OF, "hidden")])
        at = ["feedback", "users", path, "--set", self.path("set"), "--recipe", self.path("late.toml")]
        self.fails(3, "l.csv:2: other events of the user and the item decide", *at, "--out", self.path("l_events.csv"))
        code, _, err = self.run_quarry(*at, "--out", self.path("l_events.csv"), "--allow-inert")
        self.assertEqual(code, 0, err)
        self.assertIn("would not protect it", err)
        self.assertIn("of these 1 pairs are of another class", err)


if __name__ == "__main__":
    main(__doc__)
