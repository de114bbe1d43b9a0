#!/usr/bin/env python3
"""What quarry plan says of memory, against what quarry mine then takes, process by process.

    tests/plan_memory.py QUARRY             a few cases
    tests/plan_memory.py QUARRY --all       every case, and a million rows x 10 over 200,000 items x 128 within 1 GiB
    tests/plan_memory.py QUARRY --case NAME

Prints a line per case and fails where the two differ by more than a quarter. QUARRY_TEST_SCALE above 1 means --all. Seen is the kernel's own count: VmHWM for
the whole process, and for its private memory the largest of many readings of RssAnon while it runs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

MOST = 0.25
MILLION_BYTES = 1 << 30  # beyond mapped inputs
SAMPLE = ("exact", "flat", "balanced, flat", "random", "many per row", "one thread, small tiles")
EXACT = ["--retriever", "exact"]
CASES = [
    ("exact", ["--recipe", "nv-perc", "--rows-from", "users"] + EXACT),
    ("flat", ["--recipe", "nv-perc", "--rows-from", "users", "--retriever", "Flat"]),
    ("flat, deep", ["--recipe", "simans", "--set", "branch.ambiguous.source.pool=600", "--rows-from", "users",
                    "--retriever", "Flat"]),
    ("ivf", ["--recipe", "nv-perc", "--rows-from", "users", "--retriever", "IVF128,Flat"]),
    ("hnsw", ["--recipe", "nv-perc", "--rows-from", "users", "--retriever", "HNSW16,Flat"]),
    ("balanced", ["--recipe", "balanced"] + EXACT),
    ("balanced, flat", ["--recipe", "balanced", "--retriever", "Flat"]),
    ("deep", ["--recipe", "simans", "--set", "branch.ambiguous.source.pool=2000", "--rows-from", "users"] + EXACT),
    ("many per row", ["--recipe", "ultragcn", "--rows-from", "users"]),
    ("random", ["--recipe", "random"]),
    ("popularity", ["--recipe", "word2vec"]),
    ("pool", ["--recipe", "dns-mn"]),
    ("one thread, small tiles", ["--recipe", "nv-perc", "--threads", "1", "--tile", "64"] + EXACT),
    ("little memory", ["--recipe", "nv-perc", "--host-memory", "32M"] + EXACT),
]


def run(command):
    """Runs a command; (its JSON, the largest RssAnon seen)."""
    largest = 0
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE)
        status = f"/proc/{process.pid}/status"
        while process.poll() is None:
            try:
                with open(status, encoding="ascii") as f:
                    text = f.read()
                at = text.find("RssAnon:")
                if at >= 0:
                    largest = max(largest, int(text[at + 8:text.index("kB", at)]) * 1024)
            except (OSError, ValueError):
                pass
            time.sleep(0.002)
        if process.returncode != 0:
            raise SystemExit(f"{' '.join(command)}\n{process.stderr.read().decode()}")
        out.seek(0)
        return json.load(out), largest


class Table:
    """Runs cases and prints their lines."""

    def __init__(self, quarry, work):
        self.quarry, self.work, self.ran, self.bad = quarry, work, 0, 0
        print(f"{'case':<26}{'private MiB: planned':>22}{'seen':>8}{'ratio':>8}"
              f"{'resident: planned':>20}{'seen':>8}{'ratio':>8}")

    def synth(self, name, *options):
        folder = os.path.join(self.work, name)
        subprocess.run([self.quarry, "synth", "--out", folder, "--dim", "128", "--seed", "5", *options], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return ["--items", f"{folder}/items.npy", "--users", f"{folder}/users.npy", "--events", f"{folder}/events.csv",
                "--catalogue", f"{folder}/catalogue.csv"]

    def case(self, name, inputs, options, most=None, rows=None):
        self.ran += 1
        out = os.path.join(self.work, f"set{self.ran}")
        plan, _ = run([self.quarry, "plan", "--json"] + inputs + options)
        done, private = run([self.quarry, "mine", "--no-audit", "--json", "--out", out] + inputs + options)
        planned = plan["memory"]
        resident = done["run"]["memory"]["peak_resident_bytes"]
        ratios = (planned["peak_anonymous_bytes"] / private, planned["peak_resident_bytes"] / resident)
        wrong = any(abs(ratio - 1) > MOST for ratio in ratios) or (most is not None and private > most)
        mined = done["run"]["rows"]["end"] - done["run"]["rows"]["first"]
        if rows is not None and mined != rows:
            print(f"{name}: {mined} rows, not {rows}")
            wrong = True
        self.bad += wrong
        print(f"{name:<26}{planned['peak_anonymous_bytes'] / 2**20:>22.1f}{private / 2**20:>8.1f}{ratios[0]:>8.2f}"
              f"{planned['peak_resident_bytes'] / 2**20:>20.1f}{resident / 2**20:>8.1f}{ratios[1]:>8.2f}"
              f"{'   WRONG' if wrong else ''}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("quarry")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--case")
    args = parser.parse_args()
    everything = args.all or float(os.environ.get("QUARRY_TEST_SCALE", "1")) > 1
    with tempfile.TemporaryDirectory() as work:
        table = Table(args.quarry, work)
        inputs = table.synth("data", "--users", "6000", "--items", "20000")
        for name, options in CASES:
            if name == args.case or (args.case is None and (everything or name in SAMPLE)):
                table.case(name, inputs, options)
        if everything and args.case is None:
            inputs = table.synth("large", "--users", "75000", "--items", "200000", "--events-per-user", "40")
            table.case("a million rows", inputs, ["--recipe", "nv-perc", "--set", "k=10", "--limit-rows", "1000000"] +
                       EXACT, MILLION_BYTES, 1_000_000)
    print(f"plan_memory: {table.ran - table.bad} of {table.ran} cases within {MOST:.0%}")
    return 1 if table.bad or table.ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
