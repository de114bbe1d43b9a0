"""What mine_hard_negatives gives: the mined rows, and the tables that training code takes."""
from __future__ import annotations

import dataclasses
from typing import Any, Callable

import numpy as np

from ._errors import ConfigError
from ._negatives import FILL_CODES, Negatives

FORMATS = ("triplet", "n-tuple", "n-tuple-scores", "labeled-pair", "labeled-list")


@dataclasses.dataclass(frozen=True, eq=False)
class TextNegatives:
    """Mined queries: row q of `negatives` and `scores` belongs to queries[q], and items in it are places in `documents`."""

    anchor_column: str  #: name of the column that anchors came from
    positive_column: str
    queries: list[str]  #: each text once, in the order of first appearance
    documents: list[str]  #: each text once: the corpus, then positives that it lacks
    positives: list[np.ndarray]  #: of each query, int64 [p] places in `documents`, merged over its rows
    positive_scores: list[np.ndarray]  #: float32 [p]: what margins were judged by; NaN: no score is known
    negatives: Negatives  #: ranks, fill codes and all: item, score [queries, k]; scores are those of the vectors, 1 where there are none
    scores: np.ndarray  #: float32 [queries, k] what bounds were judged by: of vectors, cross-encoder, teacher or run; NaN: none, or empty
    recipe: str  #: TOML of the recipe that mined
    warnings: list[str]  #: what is doubtful, in sentences

    def __len__(self) -> int:
        return len(self.queries)

    def margins(self, query: int) -> np.ndarray:
        """float32 [p, k]: score of each positive of a query less that of each negative; NaN where either is unknown, and in empty slots."""
        return self.positive_scores[query][:, None] - self.scores[query][None, :]

    def fills(self) -> dict[str, int]:
        """Slots by name of the fill code: "filled", or why they are empty."""
        counts = np.bincount(self.negatives.fill.reshape(-1), minlength=len(FILL_CODES))
        return {name: int(count) for name, count in zip(FILL_CODES, counts)}

    def to_columns(self, output_format: str = "triplet", output_scores: bool = False, short_rows: str = "drop") -> dict[str, list[Any]]:
        """The columns of one of the output formats, as lists; `mine_hard_negatives` says what they are. Raises ConfigError."""
        output_format, output_scores = check_format(output_format, output_scores, short_rows)
        check_names(self.anchor_column, self.positive_column, output_format, output_scores, self.negatives.k)
        if output_format == "n-tuple":
            return self._tuples(output_scores, short_rows == "keep")
        make: dict[str, Callable[[bool], dict[str, list[Any]]]]
        make = {"triplet": self._triplets, "labeled-pair": self._pairs, "labeled-list": self._lists}
        return make[output_format](output_scores)

    def to_dataset(self, output_format: str = "triplet", output_scores: bool = False, short_rows: str = "drop") -> Any:
        """A datasets.Dataset where that is installed, else the dict of `to_columns`."""
        columns = self.to_columns(output_format, output_scores, short_rows)
        try:
            import datasets
        except ImportError:
            return columns
        return datasets.Dataset.from_dict(columns)

    def _rows(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each pair (query, positive), in order: query, positive, score of the positive."""
        query = np.repeat(np.arange(len(self.queries)), [len(some) for some in self.positives])
        return query, np.concatenate(self.positives), np.concatenate(self.positive_scores)

    def _texts(self, which: np.ndarray, queries: bool = False) -> list[str]:
        texts = self.queries if queries else self.documents
        return [texts[one] for one in which.tolist()]

    def _triplets(self, scores: bool) -> dict[str, list[Any]]:
        query, positive, positive_score = self._rows()
        filled = self.negatives.fill[query] == 0
        row, slot = np.nonzero(filled)
        out = {self.anchor_column: self._texts(query[row], True), self.positive_column: self._texts(positive[row]),
               "negative": self._texts(self.negatives.item[query[row], slot])}
        if scores:
            out["scores"] = _plain(np.stack([positive_score[row], self.scores[query[row], slot]], axis=1))
        return out

    def _tuples(self, scores: bool, keep: bool) -> dict[str, list[Any]]:
        query, positive, positive_score = self._rows()
        count = self.negatives.count[query]
        kept = np.flatnonzero(count > 0 if keep else count == self.negatives.k)
        query, positive, positive_score = query[kept], positive[kept], positive_score[kept]
        out: dict[str, list[Any]] = {self.anchor_column: self._texts(query, True), self.positive_column: self._texts(positive)}
        for slot in range(self.negatives.k):
            out[f"negative_{slot + 1}"] = [None if item < 0 else self.documents[item] for item in self.negatives.item[query, slot].tolist()]
        if scores:
            out["scores"] = _plain(np.concatenate([positive_score[:, None], self.scores[query]], axis=1))
        return out

    def _pairs(self, scores: bool) -> dict[str, list[Any]]:
        anchors: list[str] = []
        documents: list[str] = []
        labels: list[int] = []
        values: list[np.ndarray] = []
        for q, text in enumerate(self.queries):
            count = int(self.negatives.count[q])
            documents += self._texts(self.positives[q]) + self._texts(self.negatives.item[q, :count])
            anchors += [text] * (len(self.positives[q]) + count)
            labels += [1] * len(self.positives[q]) + [0] * count
            values += [self.positive_scores[q], self.scores[q, :count]]
        out: dict[str, list[Any]] = {self.anchor_column: anchors, self.positive_column: documents}
        out["score" if scores else "label"] = _plain(np.concatenate(values)) if scores else labels
        return out

    def _lists(self, scores: bool) -> dict[str, list[Any]]:
        query, positive, positive_score = self._rows()
        kept = np.flatnonzero(self.negatives.count[query] > 0)
        query, positive, positive_score = query[kept], positive[kept], positive_score[kept]
        counts = self.negatives.count[query].tolist()
        out: dict[str, list[Any]] = {self.anchor_column: self._texts(query, True), self.positive_column: [
            [self.documents[p], *self._texts(self.negatives.item[q, :count])] for q, p, count in zip(query.tolist(), positive.tolist(), counts)]}
        if scores:
            out["scores"] = [_plain(np.concatenate([[one], self.scores[q, :count]])) for q, one, count in
                             zip(query.tolist(), positive_score, counts)]
        else:
            out["labels"] = [[1] + [0] * count for count in counts]
        return out


def _plain(scores: np.ndarray) -> list[Any]:
    """Numbers as Python has them; None for those that are not known."""
    scores = np.asarray(scores, np.float32)
    if not np.isnan(scores).any():
        return scores.tolist()
    values = scores.astype(object)
    values[np.isnan(scores)] = None
    return values.tolist()


def check_format(output_format: str, output_scores: bool, short_rows: str) -> tuple[str, bool]:
    """The format and whether it has scores. Raises ConfigError for one that is none."""
    if output_format not in FORMATS:
        raise ConfigError(f"output_format: {output_format!r} is not one of {', '.join(FORMATS)}")
    if short_rows not in ("drop", "keep"):
        raise ConfigError(f"short_rows: {short_rows!r} is not one of drop, keep")
    if short_rows == "keep" and not output_format.startswith("n-tuple"):
        raise ConfigError(f"short_rows: only n-tuples drop short rows; {output_format} has what there is")
    return ("n-tuple", True) if output_format == "n-tuple-scores" else (output_format, bool(output_scores))


def check_names(anchor: str, positive: str, output_format: str, scores: bool, k: int) -> None:
    """Raises ConfigError where a column of the dataset is called as one that the output adds."""
    added = {"triplet": ["negative"], "n-tuple": [f"negative_{slot}" for slot in range(1, k + 1)], "labeled-pair": ["score" if scores else "label"],
             "labeled-list": [] if scores else ["labels"]}[output_format] + (["scores"] if scores and output_format != "labeled-pair" else [])
    for name in (anchor, positive):
        if name in added:
            raise ConfigError(f"dataset: its column {name!r} is called as one that the output adds ({', '.join(added)}); rename it")


def describe(mined: TextNegatives) -> str:
    """Figures for people: scores of positives and negatives, slots by fill code, queries that came out short."""
    positives = np.concatenate(mined.positive_scores)
    filled = mined.negatives.fill == 0
    query, _, of_pair = mined._rows()
    negatives = mined.scores[filled]
    differences = (of_pair[:, None] - mined.scores[query])[filled[query]]
    lines = [f"{'Metric':<7}{'Positive':>12}{'Negative':>12}{'Difference':>12}", f"{'Count':<7}{len(positives):>12,}{len(negatives):>12,}"]
    for name, call in (("Mean", np.mean), ("Median", np.median), ("Std", np.std), ("Min", np.min), ("25%", lambda x: np.quantile(x, .25)),
                       ("75%", lambda x: np.quantile(x, .75)), ("Max", np.max)):
        figures = [known[~np.isnan(known)] for known in (positives, negatives, differences)]
        lines.append(f"{name:<7}" + "".join(f"{call(one):>12.4f}" if len(one) else f"{'-':>12}" for one in figures))
    short = int((mined.negatives.count < mined.negatives.k).sum())
    if short:
        why = ", ".join(f"{name} {count:,}" for name, count in mined.fills().items() if count and name != "filled")
        lines.append(f"{short:,} of {len(mined):,} queries have fewer than {mined.negatives.k} negatives; empty slots by code: {why}. A higher "
                     "range_max ('all' for the whole corpus), a lower range_min or smaller margins find more.")
    return "\n".join(lines + mined.warnings)
