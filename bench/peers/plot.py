"""The rates of `quarry.peers` documents as bars, an SVG that reads on light and dark pages."""
import html
import math

WIDTH, LEFT, RIGHT, BAR, GAP = 860, 326, 170, 18, 6
OURS, FULL, SHORT, TEXT = "#d97706", "#3b82c4", "#9aa7b4", "#808a94"
LEAST_EQUAL = 0.999  # below it a peer's answer is another one


def bars(document):
    p = document["parameters"]
    title = (f"{p['users']:,} users × {p['items']:,} items × {p['dim']}, k = {p['k']}, "
             f"{p['threads']} thread{'s' if p['threads'] > 1 else ''}")
    measured = sorted((entry for entry in document["peers"] if "seconds" in entry),
                      key=lambda entry: -entry["rows_per_second"]["median"])
    return title, measured


def svg(documents):
    charts = [bars(document) for document in documents]
    rates = [value for _, measured in charts for entry in measured
             for value in (entry["rows_per_second"]["min"], entry["rows_per_second"]["max"])]
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    span = WIDTH - LEFT - RIGHT

    def x(rate):
        return LEFT + span * (math.log10(rate) - low) / (high - low)

    def text(at, y, words, anchor="start", weight="normal"):
        return (f'<text x="{at:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}">{html.escape(words)}</text>')

    out, y = [], 24
    for title, measured in charts:
        out.append(text(8, y, title, weight="bold"))
        y += 12
        top = y
        ours = next(entry["rows_per_second"]["median"] for entry in measured if entry["peer"] == "quarry")
        for entry in measured:
            rate, equal = entry["rows_per_second"], entry["negatives_equal"]
            color = OURS if entry["peer"] == "quarry" else FULL if equal >= LEAST_EQUAL else SHORT
            middle = y + BAR / 2 + 4
            out.append(text(LEFT - 8, middle, entry["what"], "end"))
            out.append(f'<rect x="{LEFT}" y="{y}" width="{x(rate["median"]) - LEFT:.1f}" height="{BAR}" rx="2" fill="{color}"/>')
            out.append(f'<path d="M{x(rate["min"]):.1f} {y + BAR / 2}H{x(rate["max"]):.1f}" stroke="{TEXT}" stroke-width="2"/>')
            said = f"{rate['median']:,.0f}"
            if entry["peer"] != "quarry":
                said += f" · ÷ {ours / rate['median']:.1f}"
            if equal < LEAST_EQUAL:
                said += f" · {100 * equal:.0f} % equal"
            out.append(text(max(x(rate["max"]), x(rate["median"])) + 6, middle, said))
            y += BAR + GAP
        for power in range(low, high + 1):
            at = x(10.0 ** power)
            out.insert(0, f'<path d="M{at:.1f} {top}V{y}" stroke="{TEXT}" stroke-opacity="0.3"/>')
            out.append(text(at, y + 14, f"{10 ** power:,}", "middle"))
        y += 44
    out.append(text(8, y - 4, "Rows per second while mining, medians with the least and the most, on a logarithmic scale."))
    out.append(text(8, y + 14, f"Grey: less than {100 * LEAST_EQUAL:g} % of the exact answer's negatives, a different job."))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 26}" viewBox="0 0 {WIDTH} {y + 26}" '
            f'font-family="system-ui, sans-serif" font-size="13" fill="{TEXT}" role="img" '
            f'aria-label="Rows per second of Quarry and its peers">\n' + "\n".join(out) + "\n</svg>\n")
