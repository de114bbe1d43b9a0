"""The rates of `quarry.peers` documents as bars, an SVG that reads on light and dark pages."""
import importlib.util
import math
import pathlib

# By its path: the package need not be installed for a plot.
_spec = importlib.util.spec_from_file_location("bars", pathlib.Path(__file__).resolve().parents[2] / "python/quarry/bench/bars.py")
bars = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(bars)

WIDTH, LEFT, RIGHT = 860, 326, 170
LEAST_EQUAL = 0.999  # below it a peer's answer is another one


def rates_of(document):
    p = document["parameters"]
    title = (f"{p['users']:,} users × {p['items']:,} items × {p['dim']}, k = {p['k']}, "
             f"{p['threads']} thread{'s' if p['threads'] > 1 else ''}")
    measured = sorted((entry for entry in document["peers"] if "seconds" in entry),
                      key=lambda entry: -entry["rows_per_second"]["median"])
    return title, measured


def svg(documents):
    charts = [rates_of(document) for document in documents]
    rates = [value for _, measured in charts for entry in measured
             for value in (entry["rows_per_second"]["min"], entry["rows_per_second"]["max"])]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    span = WIDTH - LEFT - RIGHT

    def x(rate):
        return LEFT + span * (math.log10(rate) - low) / (high - low)

    out, y = [], 24
    for title, measured in charts:
        out.append(bars.text(8, y, title, weight="bold"))
        y += 12
        top = y
        ours = next(entry["rows_per_second"]["median"] for entry in measured if entry["peer"] == "quarry")
        for entry in measured:
            rate, equal = entry["rows_per_second"], entry["negatives_equal"]
            color = bars.OURS if entry["peer"] == "quarry" else bars.OTHER if equal >= LEAST_EQUAL else bars.SHORT
            middle = y + bars.BAR / 2 + 4
            out.append(bars.text(LEFT - 8, middle, entry["what"], "end"))
            out.append(bars.bar(LEFT, y, x(rate["median"]), color))
            out.append(bars.spread(x(rate["min"]), y, x(rate["max"])))
            said = f"{rate['median']:,.0f}"
            if entry["peer"] != "quarry":
                said += f" · ÷ {ours / rate['median']:.1f}"
            if equal < LEAST_EQUAL:
                said += f" · {100 * equal:.0f} % equal"
            out.append(bars.text(max(x(rate["max"]), x(rate["median"])) + 6, middle, said))
            y += bars.BAR + bars.GAP
        for power in range(low, high + 1):
            at = x(10.0 ** power)
            out.insert(0, bars.rule(at, top, y))
            out.append(bars.text(at, y + 14, f"{10 ** power:,}", "middle"))
        y += 44
    out.append(bars.text(8, y - 4, "Rows per second while mining, medians with the least and the most, on a logarithmic scale."))
    out.append(bars.text(8, y + 14, f"Grey: less than {100 * LEAST_EQUAL:g} % of the exact answer's negatives, a different job."))
    return bars.page(out, WIDTH, y + 26, "Rows per second of Quarry and its peers")
