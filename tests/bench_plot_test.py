#!/usr/bin/env python3
"""The plot in README is that of the committed measurements, and its bars are as long as the rates say.

    tests/bench_plot_test.py
"""
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
RESULTS = [ROOT / "bench/results/cpu" / name for name in ("peers_small.json", "peers_medium.json")]
SVG = "{http://www.w3.org/2000/svg}"


def run(*words):
    return subprocess.run([sys.executable, ROOT / "bench/peers/run", *words], capture_output=True, text=True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "peers.svg"
        done = run("--plot", out, "--table", *RESULTS)
        assert done.returncode == 0, done.stderr
        assert out.read_text() == (ROOT / "bench/results/cpu/peers.svg").read_text(), "bench/results/cpu/peers.svg is of other measurements"
        picture = xml.etree.ElementTree.parse(out).getroot()
    widths = [float(bar.get("width")) for bar in picture.iter(f"{SVG}rect")]
    rates = []
    for path in RESULTS:
        measured = [entry for entry in json.loads(path.read_text())["peers"] if "seconds" in entry]
        rates += sorted((entry["rows_per_second"]["median"] for entry in measured), reverse=True)
    assert len(widths) == len(rates) > 8, (len(widths), len(rates))
    scale = (widths[0] - widths[-1]) / math.log10(rates[0] / rates[-1])
    for width, rate in zip(widths, rates):
        assert abs(widths[0] - width - scale * math.log10(rates[0] / rate)) < 0.2, (width, rate)
    words = "".join(text.text for text in picture.iter(f"{SVG}text"))
    for rate in rates:
        assert f"{rate:,.0f}" in words, rate
    assert run("--plot", "nowhere.svg").returncode == 2
    missing = run("--table", "nowhere.json")
    assert missing.returncode == 2 and "nowhere.json" in missing.stderr, missing.stderr
    print("bench_plot_test: passed")


if __name__ == "__main__":
    main()
