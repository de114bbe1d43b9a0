#!/usr/bin/env python3
"""`quarry refresh --follow`: a version for each event log that appears in a folder and for each input that is replaced,
equal to mining every row with the same files; what is half written, damaged or locked is waited for.

  tests/follow_test.py PROGRAM
"""
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from program import check, finish, manifest_of, quarry, read_csv, shards_of, write_csv

AS_OF = 1631536000


def versions(store):
    return sorted(int(name[1:-5]) for name in os.listdir(os.path.join(store, "versions")) if name.startswith("v"))


def write_events(path, rows):
    """Under another name first, as whoever writes logs should."""
    hidden = os.path.join(os.path.dirname(path), "." + os.path.basename(path))
    os.rename(write_csv(hidden, ["user", "item", "time", "kind", "value"], rows), path)


class Followed:
    """A refresh that follows, and what it prints."""

    def __init__(self, program, *arguments):
        self.words = open(os.path.join(tempfile.mkdtemp(), "words"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([program, *map(str, arguments)], stdout=subprocess.PIPE, stderr=self.words, text=True)

    def said(self):
        with open(self.words.name, encoding="utf-8") as file:
            return file.read()

    def next(self, seconds=60):
        """The next line of JSON."""
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        if not ready:
            sys.exit(f"nothing came in {seconds} s; it said\n{self.said()}")
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"it ended with {self.process.wait()} and said\n{self.said()}")
        return json.loads(line)

    def until_said(self, words, seconds=60):
        end = time.monotonic() + seconds
        while words not in self.said():
            if time.monotonic() > end:
                sys.exit(f"'{words}' was not said; but\n{self.said()}")
            time.sleep(0.05)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def main():
    program = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        path = lambda *names: os.path.join(folder, *names)  # noqa: E731
        quarry(program, "synth", "--out", folder, "--users", 150, "--items", 600, "--dim", 16, "--force")
        store, logs = path("store"), path("logs")
        os.mkdir(logs)
        inputs = ["--items", path("items.npy"), "--users", path("users.npy"), "--events", path("events.csv"),
                  "--catalogue", path("catalogue.csv")]
        recipe = ["--recipe", "nv-perc", "--rows-from", "users"]
        quarry(program, "mine", *inputs, *recipe, "--as-of", AS_OF, "--store", store)

        def same_as_mining_all(version, count):
            """Every row mined with the logs that were there."""
            whole = path(f"whole{version}")
            more = [word for log in sorted(os.listdir(logs))[:count] for word in ("--more-events", os.path.join(logs, log))]
            quarry(program, "mine", *inputs, *recipe, *more, "--as-of", manifest_of(store, version)["run"]["as_of"], "--snapshot",
                   f"{store}@1", "--store", whole)
            manifest = manifest_of(store, version)
            check(shards_of(store, version) == shards_of(whole, 1), f"version {version} is not that of mining every row")
            check(len(manifest["run"]["options"].get("more-events", [])) == count, f"version {version} names other logs")
            shutil.rmtree(whole)
            return manifest

        follow = Followed(program, "refresh", store, "--follow", logs, "--every", 0.2, "--json")
        # What the log holds behind the end that the version was given stays kept back.
        check(follow.next()["was_there"] and versions(store) == [1], "nothing is new")

        write_events(path("logs", "0001.csv"), [[3, 17, AS_OF - 50, "dislike", ""], [4, 18, AS_OF + 1, "purchase", ""]])
        second = follow.next()
        check(second["version"] == 2 and second["rows_mined"] <= 3 and second["since"]["events"] == 2, f"a log: {second}")
        manifest = same_as_mining_all(2, 1)
        check(manifest["run"]["as_of"] == AS_OF + 1 and manifest["run"]["events"]["after_as_of"] > 10, "as of the log's last event")

        write_events(path("logs", "0001b.csv"), [[5, 17, AS_OF + 5000000, "dislike", ""], [6, 18, AS_OF + 5000001, "purchase", ""]])
        check(follow.next()["version"] == 3, "another log")
        manifest = same_as_mining_all(3, 2)
        check(manifest["run"]["as_of"] == AS_OF + 5000001 and manifest["run"]["events"]["after_as_of"] == 0, "as of the last event")

        # A log of an unknown item is told, changes nothing, and is read once it is mended.
        write_events(path("logs", "0002.csv"), [[3, 600000, AS_OF + 5000002, "like", ""]])
        follow.until_said("not refreshed")
        check("600000" in follow.said() and "0002.csv" in follow.said(), f"which log, which id: {follow.said()}")
        time.sleep(1)
        check(versions(store) == [1, 2, 3] and follow.said().count("not refreshed") == 1, "tried once")
        write_events(path("logs", "0002.csv"), [[3, 60, AS_OF + 5000002, "like", ""]])
        check(follow.next()["version"] == 4, "a mended log")
        same_as_mining_all(4, 3)

        # Half-written logs and files of other names are not logs.
        for name in (".0003.csv", "0003.csv.part", "notes.txt"):
            with open(path("logs", name), "w", encoding="utf-8") as file:
                file.write("user,item,time,ki")
        time.sleep(1)
        check(versions(store) == [1, 2, 3, 4], "what is no log was read")
        for name in (".0003.csv", "0003.csv.part", "notes.txt"):
            os.remove(path("logs", name))

        # A log that is written line by line is left alone until it rests.
        with open(path("logs", "0003.csv"), "w", encoding="utf-8") as file:
            file.write("user,item,time,kind,value\n")
            for n in range(12):
                file.write(f"{n},{n + 30},{AS_OF + 5000003 + n},view,9\n")
                file.flush()
                time.sleep(0.1)
        check(follow.next()["version"] == 5 and follow.said().count("not refreshed") == 1, "a log that grows")
        same_as_mining_all(5, 4)

        # Another writer holds the store.
        import fcntl
        with open(os.path.join(store, "LOCK"), "r+", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            write_events(path("logs", "0004.csv"), [[9, 77, AS_OF + 6000000, "hide", ""]])
            follow.until_said("waiting:")
        check(follow.next()["version"] == 6, "behind another writer")
        same_as_mining_all(6, 5)

        # An input that is replaced.
        rows = read_csv(path("catalogue.csv"))
        rows[5]["retired"] = AS_OF - 100
        os.rename(write_csv(path("new.csv"), rows[0], [row.values() for row in rows]), path("catalogue.csv"))
        check(follow.next()["version"] == 7, "a new catalogue")
        same_as_mining_all(7, 5)

        # No room to write, and room again, of which no file tells.
        room = os.path.getsize(follow.words.name) + 1000  # for what it says, not for a manifest
        check(os.path.getsize(os.path.join(store, "versions", f"v{7:020d}.json")) > room, "a manifest is larger")
        whole = resource.prlimit(follow.process.pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        write_events(path("logs", "0004b.csv"), [[11, 79, AS_OF + 6000000, "hide", ""]])
        follow.until_said("trying again")
        resource.prlimit(follow.process.pid, resource.RLIMIT_FSIZE, whole)
        check(follow.next()["version"] == 8 and follow.said().count("trying again") == 1, "behind a full disk")
        same_as_mining_all(8, 6)

        check(follow.stop() == 0, f"stopped while it waits: {follow.process.returncode}")
        check("7 versions made" in follow.said() and follow.said().count("waiting: ") == 1, f"at the end: {follow.said()[-200:]}")
        check(versions(store) == list(range(1, 9)), f"versions: {versions(store)}")

        # Given again it goes on from there, with an audit whose failure is its exit code.
        gates = path("gates.toml")
        with open(gates, "w", encoding="utf-8") as file:
            file.write('[diversity.effective_items]\nseverity = "fail"\nlimit = 1000000\n')
        follow = Followed(program, "refresh", store, "--follow", logs, "--every", 0.2, "--json", "--audit", "--audit-gates", gates)
        check(follow.next()["was_there"], "nothing is new")
        write_events(path("logs", "0005.csv"), [[9, 78, AS_OF + 6000001, "hide", ""]])
        check(follow.next()["version"] == 9, "a version to be audited")
        end = time.monotonic() + 60
        while time.monotonic() < end and "effective_items" not in follow.said():
            time.sleep(0.05)
        time.sleep(1)
        code = follow.stop()
        check(code == 8, f"a gate that failed: {code} {follow.said()[-500:]}")

        for flags, code, word in [(["--follow", path("nowhere")], 5, "nowhere"), (["--follow", logs, "--every", "0"], 2, "--every"),
                                  (["--follow", logs, "--every", "nan"], 2, "--every"), (["--every", "3"], 2, "--follow"),
                                  (["--follow", logs, "--dry-run"], 2, "--dry-run"), (["--follow", logs, "--mine-all"], 2, "--mine-all"),
                                  (["--follow", logs, "--if-due", "--due-events", "3"], 2, "--if-due"),
                                  (["--follow", logs, "--items", path("gone.npy")], 5, "gone.npy")]:
            done = quarry(program, "refresh", store, *flags, ok=range(256))
            check(done.returncode == code and word in done.stderr, f"{flags}: {done.returncode} {done.stderr}")
    finish("seven refreshes that followed equal mining every row; what was half written, damaged or locked was waited for")


main()
