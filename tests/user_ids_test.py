#!/usr/bin/env python3
"""Ids of users stand in no output that was not asked for them: every verb is run on a world whose users have ids that are
found again, and all that was printed and written is searched.

    tests/user_ids_test.py QUARRY
"""
import os

from program import ProgramTest, main, read_csv, write_csv

USERS = 120
AS_OF = "1631536000"


class UserIds(ProgramTest):
    secret = "canary"  # in what every call below prints

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        world = cls.path("world")
        code, _, err = cls.run_quarry("synth", "--out", world, "--users", str(USERS), "--items", "300", "--dim", "16")
        assert code == 0, err
        name = lambda user: "canary-%s-zq" % user
        os.mkdir(cls.path("in"))
        cls.ids = write_csv(cls.path("in/ids.csv"), ["id"], [[name(u)] for u in range(USERS)])
        for log in ("events", "heldout"):
            rows = read_csv(os.path.join(world, log + ".csv"))
            write_csv(cls.path("in/%s.csv" % log), rows[0], [[name(r["user"]), *list(r.values())[1:]] for r in rows])
            os.remove(os.path.join(world, log + ".csv"))
        write_csv(cls.path("in/groups.csv"), ["user", "place"], [[name(u), "odd" if u % 2 else "even"] for u in range(USERS)])
        write_csv(cls.path("in/wishes.csv"), ["user", "item", "time", "kind"],
                  [[name(u), u + 1, AS_OF, "avoid"] for u in range(30)])
        cls.inputs = ["--items", world + "/items.npy", "--users", world + "/users.npy", "--user-ids", cls.ids, "--events",
                      cls.path("in/events.csv"), "--catalogue", world + "/catalogue.csv", "--recipe", "balanced", "--as-of", AS_OF]

    def where(self):
        """Files that hold an id of a user, but for the inputs."""
        found = set()
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), self.root)
                with open(os.path.join(folder, name), "rb") as file:
                    if not path.startswith("in/") and (b"canary" in file.read() or "canary" in path):
                        found.add(path)
        return found

    def test_stand_where_they_were_asked_for_alone(self):
        p, later = self.path, self.path("in/heldout.csv")
        store = p("store")
        self.ok("plan", *self.inputs, "--json")
        self.ok("mine", *self.inputs, "--store", store, "--audit", "--audit-held-out", later, "--json")
        # Killed in the middle: what is unfinished is searched, too.
        code, out, err = self.run_quarry("refresh", store, "--more-events", later, "--as-of", "latest",
                                         env={"QUARRY_CRASH_AT": "60"})
        self.assertEqual(code, -9, err)
        self.check_secret(out + err)
        self.assertNotEqual(os.listdir(store + "/work"), [])
        self.assertEqual(self.where(), set())
        self.ok("refresh", store, "--more-events", later, "--as-of", "latest", "--dry-run", "--json")
        self.ok("refresh", store, "--more-events", later, "--as-of", "latest", "--json", "--note", "second")
        self.ok("mine", *self.inputs, "--out", p("set"), "--json")
        self.ok("audit", store + "@1", "--baseline", store + "@2", "--held-out", later, "--cohorts", p("in/groups.csv") + ":place",
                "--json", "--out", p("audit.json"), "--prometheus", p("audit.prom"), "--record")
        for public in ([], ["--public"]):
            self.ok("report", p("audit.json"), *public, "--out", p("audit%d.html" % len(public)))
            self.ok("report", "--store", store, *public, "--out", p("history%d.html" % len(public)))
        self.ok("log", store, "kpi", "v2", "recall@20=0.2")
        self.ok("approve", store + "@2", "--by", "Ada", "--reason", "seen")
        self.ok("policy", store, "--set", "latest_needs=approval")
        for json in ([], ["--json"]):
            self.ok("log", store, *json)
            self.ok("diff", store + "@1", store + "@2", "--names", "--rows", "50", *json)
            self.ok("compare", store + "@1", store + "@2", "--audit-now", *json)
            self.ok("verify", store, *json)
            self.ok("prune", store, "--keep", "1", "--dry-run", *json)
        self.ok("export", store, "--to", "csv", "--numbers", "--out", p("slots.csv"), "--json")
        self.ok("export", store, "--to", "npy", "--out", p("columns"))
        self.ok("review", "export", store, "--out", p("sample.csv"), "--by", "branch", "--json")
        self.ok("shards", "plan", *self.inputs, "--rows-per-shard", "500", "--out", p("plan"))
        self.assertEqual(self.where(), set())
        # Asked for: files whose subject are users, and nothing beside them.
        self.ok("export", store, "--to", "triplets", "--out", p("triplets.jsonl"), "--json")
        self.ok("feedback", "users", p("in/wishes.csv"), "--set", store, "--out", p("avoided.csv"), "--json", "--allow-inert")
        self.assertEqual(self.where(), {"triplets.jsonl", "avoided.csv"})


main("usage: user_ids_test.py QUARRY")
