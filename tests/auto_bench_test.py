#!/usr/bin/env python3
"""bench/auto judges what `--retriever auto` chose: a choice that is too slow or not exact must be seen, and the constants
that --fit prints must be those that the times were made from.

    tests/auto_bench_test.py QUARRY
"""
import copy
import importlib.machinery
import importlib.util
import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
RUN = ROOT / "bench/auto/run"
loader = importlib.machinery.SourceFileLoader("auto_run", str(RUN))
auto = importlib.util.module_from_spec(importlib.util.spec_from_loader("auto_run", loader))
loader.exec_module(auto)

THREADS = 2
TRUE = {"kExactRow": 2e-5, "kExactRate": 1e11, "kFlatRow": 1.5e-4, "kFlatRate": 1.6e10, "kKmeansRate": 6e10,
        "kIvfRow": 3e-5, "kIvfItem": 5e-8, "kIvfElement": 7e-10, "kHnswInsert": 3e-8, "kHnswVisit": 9e-9,
        "kMissed": 0.4, "kDecay": 1.5}


def spread(value):
    return {"median": value, "min": value, "max": value}


def way(asked, mine, build=0.0, flags=(), lost=None, retriever=None):
    recall = None
    if lost is not None:
        recall = {part: {"share": 1 - lost} for part in ("candidates", "ranked_negatives")}
    return {"asked": asked, "flags": list(flags), "retriever": retriever or asked, "choice": None, "total": build + mine,
            "seconds": {"construct": spread(build), "build_index": spread(build), "mine": spread(mine)},
            "recall": recall}


def made_up():
    """A measurement whose times are those of the formulas exactly."""
    shapes = []
    for n, rows, dim in auto.SHAPES["full"]:
        each = rows / THREADS
        exact = each * (TRUE["kExactRow"] + 2 * n * dim / TRUE["kExactRate"])
        ways = [way("exact", exact), way("Flat", each * (TRUE["kFlatRow"] + 2 * n * dim / TRUE["kFlatRate"])),
                way("auto", exact, retriever="exact"),
                way("auto", exact, flags=["--recall", "0.95"], retriever="exact")]
        for lists in auto.list_counts(n):
            for probes in (4, 16):
                looked_at = probes * n / lists
                trained = min(n, 256 * lists)
                row = TRUE["kIvfRow"] + looked_at * (TRUE["kIvfItem"] + TRUE["kIvfElement"] * dim)
                build = 2 * dim * lists * (10 * trained + n) / TRUE["kKmeansRate"] / THREADS
                lost = min(0.9, TRUE["kMissed"] * (looked_at / auto.POOL) ** -TRUE["kDecay"])
                ways.append(way(f"IVF{lists},Flat", each * row, build, ["--nprobe", str(probes)], lost))
        ways.append(way("HNSW32,Flat", each * (1e-5 + 628 * dim * TRUE["kHnswVisit"]),
                        n * math.log2(n) * dim * TRUE["kHnswInsert"], lost=0.0,
                        retriever="HNSW32,Flat ef_search=628 seed=1"))
        shapes.append({"items": n, "rows": rows, "dim": dim, "ways": ways})
    return {"format": "quarry.auto", "preset": "full", "threads": THREADS, "shapes": shapes}


def main():
    quarry = str(pathlib.Path(sys.argv[1]).resolve())
    assert len(auto.SHAPES["full"]) >= 12
    document = made_up()
    for name, value in auto.fit([document]).items():
        assert abs(value / TRUE[name] - 1) < 1e-6, (name, value, TRUE[name])
    assert set(auto.fit([document])) == set(TRUE)

    lines, wrong = auto.judge(document)
    assert wrong == [] and len(lines) == 2 + 2 * len(document["shapes"]), wrong
    slow = copy.deepcopy(document)
    slow["shapes"][4]["ways"][2]["total"] *= 1.31
    assert len(auto.judge(slow)[1]) == 1 and "1.31 times" in auto.judge(slow)[1][0]
    loose = copy.deepcopy(document)
    found = {part: {"share": 0.999} for part in ("candidates", "ranked_negatives")}
    loose["shapes"][7]["ways"][2].update(recall=found, retriever="IVF64,Flat")
    assert len(auto.judge(loose)[1]) == 1 and "all was asked for" in auto.judge(loose)[1][0]
    allowed = copy.deepcopy(document)
    allowed["shapes"][7]["ways"][3].update(recall=found, retriever="IVF64,Flat")
    assert auto.judge(allowed)[1] == []
    assert json.loads(auto.text_of(document)) == document

    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/auto.json"
        ran = subprocess.run([sys.executable, "-B", str(RUN), "--shape", "200,30,8", "--threads", "1", "--repetitions",
                              "1", "--exact-only", "--quarry", quarry, "--out", out], capture_output=True, text=True)
        assert ran.returncode in (0, 1), ran.stderr  # 1: milliseconds that differ by more than 1.3
        measured = auto.load(out)
        exact, flat, chosen, less = measured["shapes"][0]["ways"]
        assert exact["recall"] is None and exact["total"] > 0 and chosen["retriever"] == "exact", measured
        assert less["flags"] == ["--recall", "0.95"] and less["choice"]["rule"], less
        shown = subprocess.run([sys.executable, "-B", str(RUN), "--table", out], capture_output=True, text=True)
        assert "200 × 30 × 8" in shown.stdout, shown
    print("auto_bench_test: passed")


if __name__ == "__main__":
    main()
