#!/usr/bin/env python3
"""bench/peers judges answers: planted mistakes must be seen, Quarry's answer must pass, missing libraries must be said.

    tests/peers_test.py QUARRY        exit code 77 (skipped) without numpy
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "bench/peers"))
try:
    import numpy as np
except ImportError:
    print("peers_test: skipped, numpy is not installed")
    sys.exit(77)
import check  # noqa: E402
import task  # noqa: E402


def brute_force(judge, k):
    """Another formulation than check.py's: row by row over a full sort."""
    items = judge.items / np.linalg.norm(judge.items, axis=1, keepdims=True)
    users = judge.users / np.linalg.norm(judge.users, axis=1, keepdims=True)
    out = np.full((len(users), k), -1, dtype=np.int64)
    for row, user in enumerate(users.astype(np.float64)):
        scores = items @ user
        mine = [int(key & 0xFFFFFFFF) for key in judge.positives if key >> 32 == row]
        ceiling = min((scores[item] - 0.05 * abs(scores[item]) for item in mine), default=np.inf)
        barred = {int(key & 0xFFFFFFFF) for key in judge.excluded if key >> 32 == row}
        left = [item for item in np.argsort(-scores) if scores[item] < ceiling and item not in barred][:k]
        out[row, :len(left)] = left
    return out


def main():
    quarry = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        inputs = folder / "inputs"
        subprocess.run([quarry, "synth", "--out", inputs, "--users", "60", "--items", "500", "--dim", "16"], check=True,
                       capture_output=True)
        for exclude in ("positives", "seen"):
            judge = check.Judge(inputs, exclude)
            right = brute_force(judge, 10)
            clean = judge.judge(right, right)
            assert clean["negatives_equal"] == 1 and clean["rows_full"] == 1, clean
            assert judge.against_brute_force(right, 60) == {"rows": 60, "rows_wrong": 0}
            for name, row, slot, value in [
                ("positives_taught", 3, 4, judge.positives[judge.positives >> 32 == 3][0] & 0xFFFFFFFF),
                ("excluded_left_in", 5, 9, judge.excluded[judge.excluded >> 32 == 5][-1] & 0xFFFFFFFF),
                ("repeated_in_row", 7, 1, right[7, 0]),
                ("above_ceiling", 9, 0, np.argmax(judge.items @ judge.users[9] / np.linalg.norm(judge.items, axis=1))),
            ]:
                wrong = right.copy()
                wrong[row, slot] = value
                seen = judge.judge(wrong, right)
                assert clean[name] == 0 and seen[name] == 1, (name, clean, seen)
                assert seen["negatives_equal"] < 1, (name, seen)
                assert judge.against_brute_force(wrong, 60)["rows_wrong"] == 1, name
            short = right.copy()
            short[11, 9] = -1
            seen = judge.judge(short, right)
            assert seen["rows_full"] < 1 and seen["slots_filled"] < 1 and seen["negatives_equal"] < 1, seen
            assert judge.against_brute_force(short, 60)["rows_wrong"] == 1

            # The post-filter of the peers, on full lists, gives the right answer too.
            items, users = task.normalised(judge.items), task.normalised(judge.users)
            scores = users @ items.T
            order = np.argsort(-scores, axis=1)
            found = task.first_allowed(np.take_along_axis(scores, order, axis=1), order,
                                       task.ceilings(users, items, judge.positives, 60), judge.excluded, 10)
            assert judge.judge(found, right)["negatives_equal"] > 0.99

            out = folder / f"{exclude}.json"
            subprocess.run([sys.executable, ROOT / "bench/peers/run", "--items", "500", "--users", "60", "--dim", "16",
                            "--inputs", inputs, "--exclude", exclude, "--repetitions", "1", "--threads", "1",
                            "--only", "faiss_flat_500", "--quarry", quarry, "--out", out], check=True,
                           capture_output=True)
            found = json.loads(out.read_text(encoding="utf-8"))
            first, other = found["peers"]
            assert found["quarry_against_brute_force"] == {"rows": 60, "rows_wrong": 0}, found
            assert first["positives_taught"] == first["excluded_left_in"] == first["above_ceiling"] == 0, first
            assert other["state"] == "measured" or "pip install 'faiss-cpu==" in other["why"], other
    print("peers_test: passed")


if __name__ == "__main__":
    main()
