"""The recipe and the score tables that stand for the arguments of mine_hard_negatives."""
from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ._errors import ConfigError


@dataclasses.dataclass
class Table:
    """Scores of pairs, each once: int64 [n] numbers of queries and documents, float32 [n]."""

    query: np.ndarray
    document: np.ndarray
    score: np.ndarray

    def of(self, queries: np.ndarray, documents: np.ndarray, width: int) -> np.ndarray:
        """float32, of the shape given: the pairs' scores; NaN: it has none. `width`: documents there are."""
        keys = self.query * width + self.document
        order = np.argsort(keys, kind="stable")
        wanted = (queries * width + documents).reshape(-1)
        if len(keys) == 0:
            return np.full(queries.shape, np.nan, np.float32)
        place = np.minimum(np.searchsorted(keys, wanted, sorter=order), len(keys) - 1)
        found = keys[order[place]] == wanted
        return np.where(found, self.score[order[place]], np.float32(np.nan)).astype(np.float32).reshape(queries.shape)


@dataclasses.dataclass
class Bounds:
    """Which candidates are negatives; None: no such bound."""

    max_score: float | None
    min_score: float | None
    absolute_margin: float | None
    relative_margin: float | None

    def check(self) -> None:
        for name in ("max_score", "min_score", "absolute_margin", "relative_margin"):
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float, np.floating, np.integer)) or not abs(float(value)) <= 1e30:
                raise ConfigError(f"{name}: {value!r} is no finite number in [-1e30, 1e30]; give one, or None")
            setattr(self, name, float(value))
        if self.absolute_margin is not None and self.absolute_margin < 0:
            raise ConfigError(f"absolute_margin: {self.absolute_margin} is below 0: negatives could outscore the positive; 0 or more is allowed")
        if self.relative_margin is not None and not 0 <= self.relative_margin < 1:
            raise ConfigError(f"relative_margin: {self.relative_margin} is out of range; a share of the positive's score from 0 to below 1. "
                              "0.05 keeps what scores below 95 % of it")
        if self.max_score is not None and self.min_score is not None and self.min_score > self.max_score:
            raise ConfigError(f"min_score: {self.min_score} is above max_score {self.max_score}; no score passes")

    def any(self) -> bool:
        return any(value is not None for value in dataclasses.astuple(self))


def window(range_min: Any, range_max: Any, k: Any, filtered: bool, most_positives: int) -> tuple[int, int | None]:
    """First and last place, counted from 0 and 1, of the candidates that negatives come from; None: there is no last. As
    sentence-transformers derives them. Raises ConfigError."""
    for name, value, least in (("num_negatives", k, 1), ("range_min", range_min, 0), ("range_max", range_max, 1)):
        if name == "range_max" and (value is None or value == "all"):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            more = ", None, or 'all'" if name == "range_max" else ""
            raise ConfigError(f"{name}: {value!r} is out of range; a whole number from {least} on{more}")
    if k > 65535:
        raise ConfigError(f"num_negatives: {k} is out of range; 1 to 65535")
    if range_max not in (None, "all") and range_max > 4_000_000_000:
        raise ConfigError(f"range_max: {range_max} is out of range; 1 to 4000000000, None, or 'all'")
    if range_min > 4_000_000_000:
        raise ConfigError(f"range_min: {range_min} is out of range; 0 to 4000000000")
    if range_max == "all":
        return int(range_min), None
    last = int(range_min + (10 * k if filtered else k) + most_positives) if range_max is None else int(range_max)
    if last - range_min < k:
        raise ConfigError(f"num_negatives: {k} of {max(0, last - range_min)} candidates, which is what range_min {range_min} leaves of range_max "
                          f"{last}; take fewer negatives, a lower range_min or a higher range_max")
    return int(range_min), last


def score_filters(bounds: Bounds) -> list[str]:
    """Filters on the scores of vectors. The order is that in which sentence-transformers counts rejections."""
    out = []
    if bounds.absolute_margin is not None:
        out.append(f'{{ kind = "absolute_margin", margin = {bounds.absolute_margin!r} }}')
    if bounds.relative_margin is not None:
        out.append(f'{{ kind = "relative_margin", ratio = {1 - bounds.relative_margin!r} }}')
    if bounds.max_score is not None or bounds.min_score is not None:
        ends = [f"{key} = {value!r}" for key, value in (("lo", bounds.min_score), ("hi", bounds.max_score)) if value is not None]
        out.append(f'{{ kind = "score", {", ".join(ends)} }}')
    return out


def table_filters(bounds: Bounds, judge: Table, least: np.ndarray, missing: str,
                  tables: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> list[str]:
    """Filters on the scores of a table. A recipe's filter of that kind is an upper bound on a value, so the others are upper bounds on
    values made here: the distance to the lower of the margins' ceilings, and the negated score. With the run that is three tables more, as
    many as a recipe may have; they go into `tables`, as Miner takes pairs. `least`: float32 [queries] least score of each one's positives; NaN: none has one, and margins let
    everything through there."""
    out = []
    reject = f', missing = "{missing}"'

    def below(name: str, values: np.ndarray, most: float) -> str:
        tables[name] = (judge.query, judge.document, values)
        return f'{{ kind = "column", table = "{name}", max = {most!r}{reject} }}'
    if missing == "reject" and not bounds.any():
        out.append(below("judge", judge.score, 1e30))
    if bounds.absolute_margin is not None or bounds.relative_margin is not None:
        of_pair = least[judge.query].astype(np.float64)
        ceiling = np.minimum(of_pair - (bounds.absolute_margin or 0.0), of_pair - np.abs(of_pair) * (bounds.relative_margin or 0.0))
        # Every value below 0 passes, 0 does not: as with margins on the scores of vectors.
        out.append(below("margin", np.where(np.isnan(ceiling), -1.0, judge.score - ceiling), -1.2e-38))
    if bounds.max_score is not None:
        out.append(below("judge", judge.score, bounds.max_score))
    if bounds.min_score is not None:
        out.append(below("negated", -judge.score, -bounds.min_score))
    return out


def recipe_text(*, metric: str, k: int, source: str, filters: list[str], select: str, allow_positives: bool) -> str:
    """TOML of a recipe with one branch."""
    safety = "allow_positives = true\nfilters = []" if allow_positives else 'filters = ["positives"]'
    lines = "".join(f"  {one},\n" for one in filters)
    return (f'name = "mine-hard-negatives"\nk = {k}\nmetric = "{metric}"\n\n[safety]\n{safety}\n\n[[branch]]\nname = "hard"\n'
            f"source = {source}\nfilters = [\n{lines}]\nselect = {select}\n")


def rank_filters(first: int, last: int | None, raw: bool) -> list[str]:
    """The window [first + 1, last]; ranks of candidates that all filters let through, or of all."""
    if first == 0 and last is None:
        return []
    return [f'{{ kind = "rank", window = [{first + 1}, {0xFFFFFFFE if last is None else last}], of = "{"raw" if raw else "survivors"}" }}']
