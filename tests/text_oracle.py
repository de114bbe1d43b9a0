"""Texts with made-up vectors, and brute force in double precision over them: what mine_hard_negatives is judged by."""
import hashlib

import numpy as np

CLOSE = 1e-5  # decisions nearer than this to a boundary, or to one another, are listed apart
FACTS = {"corpus": None, "range_min": 0, "range_max": None, "max_score": None, "min_score": None, "absolute_margin": None,
         "relative_margin": None, "num_negatives": 3, "include_positives": False, "cross_encoder": None}


def noise(text, dim):
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")).standard_normal(dim)


class Model:
    """Vectors made of texts: "q7" and "d7 b" lie near "d7". A prompt turns a vector a little."""

    def __init__(self, dim=24, near=0.9):
        self.dim, self.near, self.calls = dim, near, []

    def vectors(self, texts, prompt):
        out = np.empty((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            number = text.split(" ")[0][1:]
            vector = noise(f"d{number}", self.dim)
            if text[0] == "q":
                vector = self.near * vector + noise(text, self.dim)
            elif " " in text:
                vector = vector + 0.5 * noise(text, self.dim)
            out[row] = vector + (0.5 * noise(prompt, self.dim) if prompt else 0)
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def encode_query(self, texts, prompt=None, **more):
        self.calls.append(("query", len(texts), prompt, more))
        return self.vectors(texts, prompt)

    def encode_document(self, texts, prompt=None, **more):
        self.calls.append(("document", len(texts), prompt, more))
        return self.vectors(texts, prompt)


class CrossEncoder:
    """Scores of pairs that have little to do with vectors."""

    def __init__(self, shift=0.0):
        self.shift, self.pairs = shift, 0

    def predict(self, pairs, **_):
        self.pairs += len(pairs)
        return np.array([float(noise(query + "|" + document, 1)[0]) + self.shift for query, document in pairs], np.float32)


def pairs_of(queries, documents, each=1, seed=0, near=False):
    """Columns query and answer: query q has `each` answers, or 1 to -each of them; d<q> is the first, the others are any, or `near` it."""
    rng = np.random.default_rng(seed)
    data = {"query": [], "answer": []}
    for q in range(queries):
        count = each if each > 0 else int(rng.integers(1, 1 - each))
        for place, one in enumerate([q] + rng.choice(np.arange(queries, documents), count - 1, replace=False).tolist()):
            data["query"].append(f"q{q}")
            data["answer"].append(f"d{q} {place}" if near and place else f"d{one}")
    return data


def brute_force(data, query_vectors, document_vectors, **given):
    """For each different query: its positives and their scores, its negatives and theirs, and whether a decision was close. `query_vectors`,
    `document_vectors`: text to vector. What sentence-transformers documents, where margins are strict."""
    facts = {**FACTS, **given}
    corpus = list(dict.fromkeys((facts["corpus"] or data["answer"]) + data["answer"]))
    positives = {}
    for query, answer in zip(data["query"], data["answer"]):
        positives.setdefault(query, {})[answer] = None
    most = max(data["query"].count(query) for query in positives)
    k = facts["num_negatives"]
    bounds = [facts[name] for name in ("max_score", "min_score", "absolute_margin", "relative_margin")]
    filtered = any(one is not None for one in (bounds if facts["cross_encoder"] is not None else [bounds[0], *bounds[2:]]))
    last = facts["range_max"] or facts["range_min"] + (10 * k if filtered else k) + most
    matrix = np.stack([document_vectors[text] for text in corpus]).astype(np.float64)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    out = {}
    for query, own in positives.items():
        vector = query_vectors[query].astype(np.float64)
        scores = matrix @ (vector / np.linalg.norm(vector))
        order = np.argsort(-scores, kind="stable")
        depth = min(last + most, len(corpus))
        close = bool((-np.diff(scores[order[:depth + 1]]) < CLOSE).any())
        order = order[:depth]
        if facts["cross_encoder"] is not None:
            scores = facts["cross_encoder"].predict([(query, text) for text in corpus]).astype(np.float64)
            order = order[np.argsort(-scores[order], kind="stable")]
            close |= bool((-np.diff(scores[order]) < CLOSE).any())
        positive_scores = np.array([scores[corpus.index(text)] for text in own])
        least = positive_scores.min()
        limits = []
        if facts["absolute_margin"] is not None:
            limits.append(least - facts["absolute_margin"])
        if facts["relative_margin"] is not None:
            limits.append(least - abs(least) * facts["relative_margin"])
        kept = []
        for document in order:
            text, score = corpus[document], scores[document]
            if text in own and not facts["include_positives"]:
                continue
            close |= any(abs(score - limit) < CLOSE for limit in [*limits, *[one for one in bounds[:2] if one is not None]])
            if any(score >= limit for limit in limits) or facts["max_score"] is not None and score > facts["max_score"] or \
                    facts["min_score"] is not None and score < facts["min_score"]:
                continue
            kept.append((text, score))
        kept = kept[facts["range_min"]:last][:k]
        out[query] = {"positives": list(own), "positive_scores": positive_scores, "negatives": [text for text, _ in kept],
                      "scores": np.array([score for _, score in kept]), "close": close, "window": kept}
    return out


def table_of(answer, output_format, scores, k):
    """The columns that an output format has of it."""
    rows = {"query": [], "answer": []}

    def add(name, value):
        rows.setdefault(name, []).append(value)
    for query, one in answer.items():
        negatives = list(zip(one["negatives"], one["scores"]))
        if output_format == "labeled-pair":
            for text, label, score in [(text, 1, score) for text, score in zip(one["positives"], one["positive_scores"])] + \
                    [(text, 0, score) for text, score in negatives]:
                add("query", query), add("answer", text), add(*(("score", score) if scores else ("label", label)))
            continue
        for positive, own in zip(one["positives"], one["positive_scores"]):
            if output_format == "triplet":
                for text, score in negatives:
                    add("query", query), add("answer", positive), add("negative", text)
                    if scores:
                        add("scores", [own, score])
            elif output_format == "n-tuple" and len(negatives) == k:
                add("query", query), add("answer", positive)
                for slot, (text, _) in enumerate(negatives, 1):
                    add(f"negative_{slot}", text)
                if scores:
                    add("scores", [own, *one["scores"]])
            elif output_format == "labeled-list" and negatives:
                add("query", query), add("answer", [positive, *one["negatives"]])
                add(*(("scores", [own, *one["scores"]]) if scores else ("labels", [1] + [0] * len(negatives))))
    return rows


def rows_of(table, queries):
    """Rows of a table as tuples of names and values, of the queries alone; scores apart, in the same order."""
    names = [name for name in (table.column_names if hasattr(table, "column_names") else table) if name not in ("score", "scores")]
    columns = [list(table[name]) for name in names]
    kept = [row for row, query in enumerate(table["query"]) if query in queries]
    there = table.column_names if hasattr(table, "column_names") else list(table)
    scores = next((list(table[name]) for name in ("score", "scores") if name in there), None)
    return [tuple((name, column[row]) for name, column in zip(names, columns)) for row in kept], \
        None if scores is None else [np.asarray(scores[row], np.float64) for row in kept]
