"""Scores that come from elsewhere: run files, tables of a teacher, cross-encoders."""
from __future__ import annotations

import csv
import os
from typing import Any, Iterable

import numpy as np

from ._convert import is_path, path_text
from ._errors import ConfigError, InputError, IoError
from ._text_recipe import Table
from ._texts import Pairs

_NAMES = (("query", "anchor", "user", "query_id", "qid"), ("document", "doc", "passage", "item", "corpus_id", "docid"), ("score", "value"))


def _columns(value: Any, name: str) -> tuple[list[Any], list[Any], list[Any], str]:
    """Queries, documents, scores, and what the rows are called."""
    if is_path(value):
        return _file(path_text(value, name))
    if isinstance(value, (tuple, list)) and len(value) == 3:
        parts = [list(part.tolist() if hasattr(part, "tolist") else part) for part in value]
    else:
        found = getattr(value, "column_names", None) or (list(value) if hasattr(value, "keys") else None)
        if found is None:
            raise InputError(f"{name}: is a {type(value).__name__}; a path, a tuple (queries, documents, scores), or a table with columns "
                             "query, document and score is needed")
        parts = []
        for names in _NAMES:
            column = next((one for one in names if one in found), None)
            if column is None:
                raise InputError(f"{name}: has the columns {', '.join(found)}; one of {', '.join(names)} is needed")
            part = value[column]
            parts.append(part.to_pylist() if hasattr(part, "to_pylist") else list(part))
    if len({len(part) for part in parts}) != 1:
        raise InputError(f"{name}: {len(parts[0])} queries, {len(parts[1])} documents and {len(parts[2])} scores; they are triples")
    return parts[0], parts[1], parts[2], "entry"


def _file(path: str) -> tuple[list[Any], list[Any], list[Any], str]:
    """A TREC run (query Q0 document rank score tag), or a CSV or TSV whose first line names the columns."""
    extension = os.path.splitext(path)[1].lower()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            if extension in (".csv", ".tsv"):
                return (*_table(path, csv.reader(file, delimiter="," if extension == ".csv" else "\t", strict=True)), f"{path}: record")
            return (*_trec(path, file), f"{path}: line")
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}; it must be UTF-8 text with whole quotes") from None


def _table(path: str, reader: Any) -> tuple[list[str], list[str], list[str]]:
    header: list[str] = next(reader, [])
    places = [next((header.index(one) for one in names if one in header), -1) for names in _NAMES]
    if -1 in places:
        raise InputError(f"{path}: has the columns {', '.join(header)}; one each of {'; '.join(' or '.join(names) for names in _NAMES)} is needed")
    out: tuple[list[str], list[str], list[str]] = ([], [], [])
    for fields in reader:
        if fields and len(fields) != len(header):
            raise InputError(f"{path}:{reader.line_num}: has {len(fields)} fields; the header has {len(header)}")
        for column, place in zip(out, places if fields else ()):
            column.append(fields[place])
    return out


def _trec(path: str, lines: Iterable[str]) -> tuple[list[str], list[str], list[str]]:
    out: tuple[list[str], list[str], list[str]] = ([], [], [])
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if fields and len(fields) != 6:
            raise InputError(f"{path}:{number}: has {len(fields)} fields; a line of a run has six, query Q0 document rank score tag. Other tables "
                             "end in .csv or .tsv and name their columns")
        for column, place in zip(out, (0, 2, 4) if fields else ()):
            column.append(fields[place])
    return out


def ids_of_texts(ids: Any, name: str, of_entry: list[int], texts: list[str]) -> dict[str, int]:
    """Number of the text by id. `ids`: one for each entry, or for each different text. Raises InputError for an id of two texts."""
    if ids is None:
        return {text: number for number, text in enumerate(texts)}
    ids = [str(one) for one in (ids.tolist() if hasattr(ids, "tolist") else ids)]
    if len(ids) not in (len(of_entry), len(texts)):
        raise InputError(f"{name}: has {len(ids)} ids; {len(of_entry)} are needed, or {len(texts)}, one for each different text")
    numbers = of_entry if len(ids) == len(of_entry) else range(len(texts))
    out: dict[str, int] = {}
    for one, number in zip(ids, numbers):
        if out.setdefault(one, number) != number:
            raise InputError(f"{name}: {one!r} is the id of {texts[out[one]]!r:.60} and of {texts[number]!r:.60}; ids name one text")
    return out


def pair_table(value: Any, name: str, queries: dict[str, int], documents: dict[str, int], *, best: bool,
               warnings: list[str]) -> Table:
    """Scores by numbers of queries and documents. Pairs of other queries are left out and counted; an unknown document is an error.
    `best`: of a pair that is there twice the best score counts; else two different scores are an error."""
    given = _columns(value, name)
    found: dict[tuple[int, int], float] = {}
    strangers = 0
    for row, (query, document, score) in enumerate(zip(*given[:3])):
        where = f"{given[3]} {row + 1}" if is_path(value) else f"{name}: {given[3]} {row}"
        try:
            number = float(score)
        except (TypeError, ValueError):
            number = float("nan")
        if not abs(number) <= 1e30:
            raise InputError(f"{where}: the score {score!r} is no finite number in [-1e30, 1e30]")
        q = queries.get(str(query))
        if q is None:
            strangers += 1
            continue
        d = documents.get(str(document))
        if d is None:
            raise InputError(f"{where}: the document {document!r:.60} is not in the corpus; add it, give corpus_ids, or leave the pair out")
        if (q, d) in found and not best and np.float32(found[q, d]) != np.float32(number):
            raise InputError(f"{where}: the pair of {query!r:.60} and {document!r:.60} has the scores {found[q, d]} and {number}; a pair has one")
        found[q, d] = max(number, found.get((q, d), -np.inf))
    if strangers:
        warnings.append(f"{name}: {strangers} pairs are of queries that the dataset does not have, and were left out.")
    if not found:
        raise InputError(f"{name}: has no pair of a query of the dataset; queries and documents are texts, or ids with query_ids and corpus_ids")
    pairs = np.array(list(found), np.int64)
    return Table(pairs[:, 0], pairs[:, 1], np.array(list(found.values()), np.float32))


def first_of_each(table: Table, depth: int) -> Table:
    """The best `depth` pairs of each query, by score and then by number of the document."""
    order = np.lexsort((table.document, -table.score.astype(np.float64), table.query))
    query = table.query[order]
    begin = np.searchsorted(query, query, "left")
    kept = order[np.arange(len(order)) - begin < depth]
    return Table(table.query[kept], table.document[kept], table.score[kept])


def cross_scores(cross_encoder: Any, pairs: Pairs, query: np.ndarray, document: np.ndarray, *, batch_size: int, pool: Any,
                 verbose: bool) -> np.ndarray:
    """float32 of cross_encoder.predict on pairs of texts. Raises InputError for what is no number per pair."""
    if not hasattr(cross_encoder, "predict"):
        raise ConfigError(f"cross_encoder: a {type(cross_encoder).__name__} has no predict")
    out = np.empty(len(query), np.float32)
    step = max(batch_size, 65536)
    for begin in range(0, len(query), step):
        part = slice(begin, begin + step)
        texts = [(pairs.queries[q], pairs.documents[d]) for q, d in zip(query[part].tolist(), document[part].tolist())]
        options: dict[str, Any] = {"batch_size": batch_size, "show_progress_bar": verbose}
        if pool is not None:
            options["pool"] = pool
        scores = cross_encoder.predict(texts, **options)
        if hasattr(scores, "detach"):
            scores = scores.detach().cpu().float().numpy()
        scores = np.asarray(scores, np.float32)
        if scores.shape != (len(texts),):
            raise InputError(f"cross_encoder: gave an array of shape {scores.shape} for {len(texts)} pairs; one number for each is needed")
        if not np.isfinite(scores).all():
            place = int(np.argmin(np.isfinite(scores)))
            raise InputError(f"cross_encoder: the score of {texts[place][0]!r:.60} and {texts[place][1]!r:.60} is {scores[place]}; finite "
                             "numbers are needed")
        out[part] = scores
    return out
