"""Rates by number of workers as bars, beside what as many single workers would do: an SVG."""
from __future__ import annotations

import math
from typing import Any, Sequence

from . import bars
from .document import title

_WIDTH, _LEFT, _RIGHT = 860, 130, 230


def _step(most: float) -> float:
    """Between the rules of a scale that ends at `most`: 1, 2 or 5 times a power of ten, five of them or fewer."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step for step in (power / 5, power / 2, power, 2 * power) if most / step <= 5.5)


def svg(documents: Sequence[dict[str, Any]]) -> str:
    out: list[str] = []
    y = 24
    for document in documents:
        cases = document["cases"]
        first = cases[0]["workers"]
        one = cases[0]["rows_per_second"]["median"] / first
        most = max(max(case["rows_per_second"]["max"], one * case["workers"]) for case in cases)
        single = document["single"]
        entries = []
        if single is not None and "rows_per_second" in single:
            most = max(most, single["rows_per_second"]["max"])
            entries.append(("one process", single["rows_per_second"], None, bars.SHORT, ""))
        for case in cases:
            n, efficiency = case["workers"], case["efficiency"]
            said = "" if n == first else f" · {100 * efficiency['median']:.0f} % ({100 * efficiency['min']:.0f}–{100 * efficiency['max']:.0f})"
            entries.append((f"{n} worker{'s' if n > 1 else ''}", case["rows_per_second"], one * n, bars.OURS, said))

        def x(rate: float, most: float = most) -> float:
            return _LEFT + (_WIDTH - _LEFT - _RIGHT) * rate / most

        out.append(bars.text(8, y, title(document), weight="bold"))
        y += 12
        top = y
        for words, rate, ideal, color, said in entries:
            middle = y + bars.BAR / 2 + 4
            out.append(bars.text(_LEFT - 8, middle, words, "end"))
            out.append(bars.bar(_LEFT, y, x(rate["median"]), color))
            if ideal is not None and ideal > 0:
                out.append(f'<path class="ideal" d="M{x(ideal):.1f} {y - 2}V{y + bars.BAR + 2}" stroke="{bars.OTHER}" stroke-width="3"/>')
            out.append(bars.spread(x(rate["min"]), y, x(rate["max"])))
            end = max(x(rate["max"]), x(rate["median"]), x(ideal or 0))
            out.append(bars.text(end + 8, middle, f"{rate['median']:,.0f}{said}"))
            y += bars.BAR + bars.GAP
        step = _step(most)
        for i in range(int(most / step) + 1):
            out.insert(0, bars.rule(x(i * step), top, y))
            out.append(bars.text(x(i * step), y + 14, f"{i * step:,.0f}", "middle"))
        y += 44
    out.append(bars.text(8, y - 4, "Rows per second from the first shard's beginning to the last one's end, medians with the least and the most. "))
    out.append(bars.text(8, y + 14, "Blue: what as many workers would do if each were as fast as one alone; the percentage is the part of it (efficiency)."))
    return bars.page(out, _WIDTH, y + 26, "Rows per second by number of workers")
