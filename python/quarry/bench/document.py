"""The JSON of a measurement, `quarry.cluster_bench`, made of runs by different numbers of workers; docs/cluster.md explains each field."""
from __future__ import annotations

import contextlib
import json
import os
import platform
import statistics
from typing import Any, Sequence

from .._errors import InputError, IoError

FORMAT, VERSION = "quarry.cluster_bench", 1


def spread(values: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def machine() -> dict[str, Any]:
    """The one that measures."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            processor = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        processor = platform.machine()
    return {"processor": processor, "processors": len(os.sched_getaffinity(0)), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "kernel": platform.platform(), "load_average": os.getloadavg()[0]}


def _efficiency(runs: Sequence[dict[str, Any]], workers: int, first_runs: Sequence[dict[str, Any]], first_workers: int,
                in_turns: bool) -> dict[str, float]:
    """Rate per worker over that of the fewest workers."""
    rates = [run["rows_per_second"] / workers for run in runs]
    firsts = [run["rows_per_second"] / first_workers for run in first_runs]
    if in_turns:  # what slows a turn slows both
        return spread([rate / first for rate, first in zip(rates, firsts)])
    return {"median": statistics.median(rates) / statistics.median(firsts), "min": min(rates) / max(firsts), "max": max(rates) / min(firsts)}


def cases_of(runs: dict[int, list[dict[str, Any]]], in_turns: bool) -> list[dict[str, Any]]:
    """runs: by the number of workers; in_turns: the n-th runs of all numbers were beside each other."""
    first = min(runs)
    cases = []
    for workers in sorted(runs):
        own = runs[workers]
        rate = spread([run["rows_per_second"] for run in own])
        cases.append({"workers": workers, "rows_per_second": rate,
                      "rows_per_second_per_worker": {name: value / workers for name, value in rate.items()},
                      "efficiency": _efficiency(own, workers, runs[first], first, in_turns),
                      "load_share": spread([run["load_share"] for run in own]),
                      "occupied_share": spread([run["occupied_share"] for run in own]),
                      "runs": own})
    return cases


def read(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise IoError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("format_version") != VERSION:
        raise InputError(f"{path}: is no measurement of a cluster (format {FORMAT!r}, version {VERSION}); quarry bench --ray, --array or "
                         "--processes makes one")
    try:
        _check(document)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is a damaged measurement ({_words_of(error)}); measure again, or take it as quarry bench wrote it") from error
    return document


def _words_of(error: Exception) -> str:
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def _number(value: Any, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {value!r}; a number from 0 on is needed")


def _check(document: dict[str, Any]) -> None:
    """What tables and plots take of it. Raises KeyError, TypeError, ValueError."""
    def part(holder: Any, name: str, kind: type = dict) -> Any:
        if not isinstance(holder[name], kind):
            raise ValueError(f"{name} is {holder[name]!r:.60}")
        return holder[name]

    def spread_of(holder: dict[str, Any], name: str) -> None:
        for word in ("median", "min", "max"):
            _number(part(holder, name)[word], f"{name}: {word}")

    part(document, "engine", str)
    for holder, names in (("parameters", ("rows", "shards")), ("worker", ("threads", "gpus"))):
        for name in names:
            _number(part(document, holder)[name], f"{holder}: {name}")
    if "items" in document["parameters"]:
        for name in ("items", "dim"):
            _number(document["parameters"][name], f"parameters: {name}")
    if document["single"] is not None and "rows_per_second" in part(document, "single"):
        spread_of(document["single"], "rows_per_second")
    if not part(document, "cases", list):
        raise ValueError("cases are none")
    for case in document["cases"]:
        if not isinstance(case, dict):
            raise ValueError(f"cases: one is {case!r:.60}")
        for name in ("rows_per_second", "rows_per_second_per_worker", "efficiency", "load_share", "occupied_share"):
            spread_of(case, name)
        _number(case["workers"], "cases: workers")
        if case["workers"] < 1 or case["rows_per_second"]["median"] <= 0:
            raise ValueError(f"cases: {case['workers']} workers at {case['rows_per_second']['median']} rows per second")


def write(path: str, text: str) -> None:
    part = f"{path}.part"
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(part, path)
    except OSError as error:
        raise IoError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):  # there is none, once it has its name
            os.remove(part)


def title(document: dict[str, Any]) -> str:
    p, worker = document["parameters"], document["worker"]
    of_items = f" over {p['items']:,} items × {p['dim']}" if "items" in p else ""
    each = f"{worker['gpus']} GPU{'s' if worker['gpus'] > 1 else ''}" if worker["gpus"] else f"{worker['threads']} thread{'s' if worker['threads'] > 1 else ''}"
    return f"{p['rows']:,} rows{of_items}, {p['shards']} shards, {each} a worker, {document['engine']}"


def table(document: dict[str, Any]) -> str:
    """Markdown."""
    lines = [f"**{title(document)}**", "", "| workers | rows/s | rows/s a worker | efficiency | load share | occupied |", "|---|---|---|---|---|---|"]
    single = document["single"]
    if single is not None and "rows_per_second" in single:
        rate = single["rows_per_second"]
        lines.append(f"| one process | {rate['median']:,.0f} ({rate['min']:,.0f}–{rate['max']:,.0f}) | | | | |")
    for case in document["cases"]:
        rate, efficiency = case["rows_per_second"], case["efficiency"]
        lines.append(f"| {case['workers']} | {rate['median']:,.0f} ({rate['min']:,.0f}–{rate['max']:,.0f}) | "
                     f"{case['rows_per_second_per_worker']['median']:,.0f} | {100 * efficiency['median']:.0f} % "
                     f"({100 * efficiency['min']:.0f}–{100 * efficiency['max']:.0f}) | {100 * case['load_share']['median']:.0f} % | "
                     f"{100 * case['occupied_share']['median']:.0f} % |")
    return "\n".join(lines)
