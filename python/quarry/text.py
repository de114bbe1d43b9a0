"""Hard negatives for text retrieval: the parameters of sentence-transformers' mine_hard_negatives, mined by a Miner."""
from __future__ import annotations

import dataclasses
from typing import Any, Sequence

import numpy as np

from ._errors import ConfigError, InputError
from ._miner import Miner
from ._negatives import Negatives
from ._text_output import TextNegatives, check_format, check_names, describe
from ._text_recipe import Bounds, Table, rank_filters, recipe_text, score_filters, table_filters, window
from ._text_scores import cross_scores, first_of_each, ids_of_texts, pair_table
from ._texts import Pairs, check_vectors, encode, loaded, number_texts, rows_of_texts

__all__ = ["TextNegatives", "mine_hard_negatives"]

_TILE = 16384


def mine_hard_negatives(
        dataset: Any, model: Any = None, anchor_column_name: str | None = None, positive_column_name: str | None = None,
        corpus: Sequence[str] | None = None, cross_encoder: Any = None, range_min: int = 0, range_max: int | str | None = None,
        max_score: float | None = None, min_score: float | None = None, absolute_margin: float | None = None,
        relative_margin: float | None = None, num_negatives: int = 3, sampling_strategy: str = "top", query_prompt_name: str | None = None,
        query_prompt: str | None = None, corpus_prompt_name: str | None = None, corpus_prompt: str | None = None,
        include_positives: bool = False, output_format: str = "triplet", output_scores: bool = False, batch_size: int = 32,
        faiss_batch_size: int = 16384, use_faiss: bool = False, use_multi_process: list[str] | bool = False, verbose: bool = True,
        cache_folder: str | None = None, *, query_embeddings: Any = None, corpus_embeddings: Any = None, run: Any = None,
        teacher_scores: Any = None, teacher_missing: str = "keep", query_ids: Any = None, corpus_ids: Any = None,
        similarity: str | None = None, range_of: str = "survivors", exclude_anchor: bool = True, short_rows: str = "drop", seed: int = 0,
        threads: int | None = None, as_negatives: bool = False) -> Any:
    """Hard negatives for (anchor, positive) pairs: for each anchor the documents that score next to its positives and are none of them.

    docs/text.md compares each rule with that of sentence-transformers. Equal texts are one anchor, or one document; the positives of equal anchors
    are merged. Searches are exact, scores float32, and of equal scores the document that comes first in the corpus wins.

    dataset: a datasets.Dataset, a dict of columns, a list of dicts, two lists (anchors, positives), or a table of pyarrow or pandas. A positive
        is a text or a list of texts. anchor_column_name, positive_column_name: None: the first and the second column.
    model: has encode_query and encode_document, or encode: texts to [texts, dim]. query_embeddings, corpus_embeddings: float32 or float16 in
        place of it (or the path of a .npy file), a row for each row of the dataset, and for each entry of `corpus` (without a corpus: for each
        positive of the dataset), or one for each different text in the order of first appearance.
    corpus: texts; positives that it lacks are added behind it. None: the positives.
    range_min, range_max: negatives come from the places range_min + 1 ... range_max among the candidates that are no positives and that bounds
        let through; with range_of="raw" among all candidates, positives counted. The first range_max + (most pairs of an anchor) are looked at, or
        the whole corpus with range_max="all". None: range_min + num_negatives, ten times as many with a bound, + (most pairs of an anchor).
    max_score, min_score: bounds, both allowed. absolute_margin, relative_margin: a negative scores below p - absolute_margin, and below
        p - |p| * relative_margin, p the least score of the anchor's positives. Scores are cosines, with similarity="dot" inner products.
    sampling_strategy: "top": the best; "random": drawn uniformly from the window by `seed`, then the best first.
    include_positives: positives are candidates like others; the output is n-tuples.
    cross_encoder: has predict([(anchor, document), ...]). Its scores order the candidates that the vectors (or the run) found, and bounds go by them.
    run: candidates from elsewhere (BM25), in place of the vectors' search: the path of a TREC run, of a .csv or .tsv with columns query, document
        and score, a tuple of three columns, or a table. Bounds go by the vectors if there are any, else by the run's scores.
    teacher_scores: scores of pairs in the same forms: bounds go by them. teacher_missing: "keep" or "reject" pairs that have none.
    query_ids, corpus_ids: what run and teacher_scores call the texts, one for each row or entry; None: the texts themselves.
    query_prompt ... use_multi_process: as the model's encode takes them; a prompt is put before the texts for a model that takes none.
    output_format, with columns called as the dataset's:
        "triplet": anchor, positive, negative; a row for each positive and negative. Scores: `scores` [positive's, negative's].
        "n-tuple": anchor, positive, negative_1 ... negative_n; a row for each positive. short_rows: anchors with fewer are left out ("drop"), or
            filled up with None ("keep") unless they have none. Scores: `scores` [positive's, each negative's].
        "labeled-pair": anchor, document under the positive's name, label 1 or 0. Scores: `score` in place of `label`.
        "labeled-list": anchor, [positive, negatives ...], labels [1, 0 ...]. Scores: `scores` in place of `labels`.
        "n-tuple-scores": "n-tuple" with scores. output_scores: scores as said.
    exclude_anchor: a document that is the anchor's own text is never its negative.
    verbose: prints figures. threads: of the search. faiss_batch_size, use_faiss: do nothing; they are there for calls written for others.
    as_negatives: TextNegatives in place of a table: ranks, fill codes, margins to each positive.

    Returns a datasets.Dataset where `datasets` is installed, else a dict of lists. Raises ConfigError, InputError naming column and row."""
    del faiss_batch_size, use_faiss
    if cache_folder is not None:
        raise ConfigError("cache_folder: texts and prompts do not tell two models apart; encode once yourself, keep the arrays, and give them as "
                          "query_embeddings and corpus_embeddings")
    if include_positives:
        output_format = "n-tuple" if output_format != "n-tuple-scores" else output_format
    output_format, output_scores = check_format(output_format, output_scores, short_rows)
    for name, value, allowed in (("sampling_strategy", sampling_strategy, ("top", "random")), ("range_of", range_of, ("survivors", "raw")),
                                 ("teacher_missing", teacher_missing, ("keep", "reject"))):
        if value not in allowed:
            raise ConfigError(f"{name}: {value!r} is not one of {', '.join(allowed)}")
    if cross_encoder is not None and teacher_scores is not None:
        raise ConfigError("cross_encoder and teacher_scores both say what bounds go by; give one of the two")
    if run is None and teacher_scores is None and (query_ids is not None or corpus_ids is not None):
        raise ConfigError("query_ids and corpus_ids say what run and teacher_scores call the texts; neither is given")
    bounds = Bounds(max_score, min_score, absolute_margin, relative_margin)
    bounds.check()
    pairs = number_texts(dataset, anchor_column_name, positive_column_name, corpus)
    first, last = window(range_min, range_max, num_negatives, bounds.any(), pairs.most_positives)
    if not as_negatives:
        check_names(pairs.anchor, pairs.positive, output_format, output_scores, num_negatives)
    depth = None if last is None else last + pairs.most_positives
    if cross_encoder is not None and run is None and (depth is None or min(depth, len(pairs.documents)) > 65535):
        raise ConfigError(f"range_max: {'all' if last is None else last} would have the cross-encoder score more than 65535 documents for each "
                          "anchor, or all of them; give a lower number")
    metric = _metric(similarity, model)
    warnings: list[str] = []

    queries = documents = None
    if run is None or model is not None or query_embeddings is not None or corpus_embeddings is not None:
        encoding = {"batch_size": batch_size, "normalize": metric == "cosine", "verbose": verbose}
        with _Pool(model, use_multi_process) as pool:
            documents = _vectors(corpus_embeddings, model, pairs, True, corpus_prompt_name, corpus_prompt, pool, encoding)
            queries = _vectors(query_embeddings, model, pairs, False, query_prompt_name, query_prompt, pool, encoding)
        if queries.shape[1] != documents.shape[1]:
            raise InputError(f"query_embeddings have {queries.shape[1]} numbers and corpus_embeddings {documents.shape[1]}; scores need as many")
        check_vectors(documents, "corpus_embeddings", pairs.documents, metric == "cosine")
        check_vectors(queries, "query_embeddings", pairs.queries, metric == "cosine")

    candidates = judge = None
    if run is not None or teacher_scores is not None:
        by_query = ids_of_texts(query_ids, "query_ids", pairs.query_of_row, pairs.queries)
        by_document = ids_of_texts(corpus_ids, "corpus_ids", pairs.document_of_entry, pairs.documents)
        if run is not None:
            candidates = pair_table(run, "run", by_query, by_document, best=True, warnings=warnings)
        if teacher_scores is not None:
            judge = pair_table(teacher_scores, "teacher_scores", by_query, by_document, best=False, warnings=warnings)
        elif cross_encoder is None and queries is None:
            judge = candidates

    work = _Work(pairs, metric, num_negatives, queries, documents, seed, threads)
    if cross_encoder is not None:
        candidates, judge = _rescored(work, cross_encoder, candidates, depth, batch_size, use_multi_process, verbose)
    tables: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    if candidates is None:
        limit = "" if depth is None or range_of == "raw" else f", max_rank = {depth}"
        source = f'{{ kind = "topk"{limit} }}'
    else:
        tables["run"] = (candidates.query, candidates.document, candidates.score)
        source = '{ kind = "run", table = "run" }'
    filters = []
    if candidates is not None and depth is not None and range_of != "raw" and cross_encoder is None:
        filters += rank_filters(0, depth, raw=True)
    if judge is None:
        filters += score_filters(bounds)
    else:
        filters += table_filters(bounds, judge, work.least(judge), teacher_missing if teacher_scores is not None else "keep", tables)
    filters += rank_filters(first, last, raw=range_of == "raw")
    select = '"sample"' if sampling_strategy == "random" else '{ kind = "top", by = "rank" }'
    text = recipe_text(metric=metric, k=num_negatives, source=source, filters=filters, select=select, allow_positives=include_positives)
    negatives, told = work.mine(text, tables, exclude_anchor and not include_positives)
    scores = work.scores_of(negatives, judge)
    if sampling_strategy == "random":
        negatives, scores = _best_first(negatives, scores)
    mined = TextNegatives(pairs.anchor, pairs.positive, pairs.queries, pairs.documents,
                          [np.array(some, np.int64) for some in pairs.positives], work.positive_scores(judge), negatives, scores, text,
                          warnings + told)
    if verbose:
        print(describe(mined))
    return mined if as_negatives else mined.to_dataset(output_format, output_scores, short_rows)


def _metric(similarity: str | None, model: Any) -> str:
    """The recipe's metric. Vectors are compared by cosine unless it is said otherwise, whatever the model's own similarity."""
    if similarity is None:
        own = str(getattr(getattr(model, "similarity_fn_name", None), "value", getattr(model, "similarity_fn_name", None)))
        if own in ("euclidean", "manhattan"):
            raise ConfigError(f"similarity: the model compares by {own} distance, which is no scale for margins; similarity='cosine' ranks unit "
                              "vectors as the euclidean distance does")
        similarity = "cosine"
    if similarity not in ("cosine", "dot"):
        raise ConfigError(f"similarity: {similarity!r} is not one of cosine, dot")
    return "cosine" if similarity == "cosine" else "ip"


class _Pool:
    """A pool of processes of a model, for as long as it is needed."""

    def __init__(self, model: Any, wanted: list[str] | bool) -> None:
        self.model, self.wanted, self.pool = model, wanted, None

    def __enter__(self) -> Any:
        if self.wanted and self.model is not None:
            if not hasattr(self.model, "start_multi_process_pool"):
                raise ConfigError(f"use_multi_process: a {type(self.model).__name__} has no start_multi_process_pool")
            self.pool = self.model.start_multi_process_pool(target_devices=None if self.wanted is True else list(self.wanted))
        return self.pool

    def __exit__(self, *_: Any) -> None:
        if self.pool is not None:
            self.model.stop_multi_process_pool(self.pool)


def _vectors(given: Any, model: Any, pairs: Pairs, documents: bool, prompt_name: str | None, prompt: str | None, pool: Any,
             encoding: dict[str, Any]) -> np.ndarray:
    texts = pairs.documents if documents else pairs.queries
    options = {"documents": documents, "prompt_name": prompt_name, "prompt": prompt, "pool": pool, **encoding}
    if given is None:
        return encode(model, texts, **options)
    name = "corpus_embeddings" if documents else "query_embeddings"
    given = loaded(given, name)
    if not documents:
        return rows_of_texts(given, name, pairs.query_of_row, len(texts), "each row of the dataset")
    in_corpus = max(pairs.document_of_entry, default=-1) + 1  # positives that the corpus lacks stand behind
    if len(given) == len(texts) != len(pairs.document_of_entry):
        return np.ascontiguousarray(given)
    found = rows_of_texts(given, name, pairs.document_of_entry, in_corpus, "each entry of the corpus (without one, each positive)")
    if in_corpus == len(texts):
        return found
    return np.concatenate([found, encode(model, texts[in_corpus:], **options).astype(found.dtype)])


class _Work:
    """Numbered texts with their vectors, mined and scored."""

    def __init__(self, pairs: Pairs, metric: str, k: int, queries: np.ndarray | None, documents: np.ndarray | None, seed: int,
                 threads: int | None) -> None:
        self.pairs, self.metric, self.k, self.seed, self.threads = pairs, metric, k, seed, threads
        self.vectors = queries is not None
        if queries is None or documents is None:  # candidates and scores are tables; the engine wants vectors all the same
            queries, documents = np.ones((len(pairs.queries), 1), np.float32), np.ones((len(pairs.documents), 1), np.float32)
            self.metric = "ip"
        self.queries, self.documents = queries, documents
        self.of_pair = np.repeat(np.arange(len(pairs.queries)), [len(some) for some in pairs.positives])
        self.positive = np.concatenate([np.array(some, np.int64) for some in pairs.positives])
        self.offsets = np.concatenate([[0], np.cumsum([len(some) for some in pairs.positives])]).astype(np.uint64)

    def mine(self, recipe: str, tables: dict[str, Any], exclude_anchor: bool) -> tuple[Negatives, list[str]]:
        """Negatives of all queries, and the Miner's warnings."""
        known_queries, known_documents = self.of_pair, self.positive
        if exclude_anchor:
            numbers = {text: number for number, text in enumerate(self.pairs.documents)}
            own = [(q, numbers[text]) for q, text in enumerate(self.pairs.queries) if text in numbers]
            if own:
                known_queries = np.concatenate([known_queries, [q for q, _ in own]])
                known_documents = np.concatenate([known_documents, [d for _, d in own]])
        miner = Miner(self.documents, recipe, users=self.queries, pairs=tables, known_positives=(known_queries, known_documents),
                      seed=self.seed, threads=self.threads)
        parts = []
        for begin in range(0, len(self.queries), _TILE):
            end = min(begin + _TILE, len(self.queries))
            offsets = self.offsets[begin:end + 1]
            values = self.positive[int(offsets[0]):int(offsets[-1])]
            parts.append(miner.mine(np.arange(begin, end), (offsets - offsets[0], values)))
        # Texts have no events, and positives as candidates were asked for.
        told = [one for one in miner.warnings if "[exposure]" not in one and "allow_positives" not in one]
        return Negatives.concatenate(parts), told

    def nearest(self, depth: int) -> tuple[np.ndarray, np.ndarray]:
        """Queries and documents of the best `depth` pairs of each query by vectors, positives included."""
        recipe = recipe_text(metric=self.metric, k=min(depth, len(self.documents)), source='"topk"', filters=[], select='"top"',
                             allow_positives=True)
        found, _ = self.mine(recipe, {}, False)
        query, slot = np.nonzero(found.fill == 0)
        return query, found.item[query, slot]

    def dots(self, query: np.ndarray, document: np.ndarray) -> np.ndarray:
        """float32 [n] scores of pairs by vectors, summed in double precision."""
        out = np.empty(len(query), np.float32)
        for begin in range(0, len(query), _TILE):
            part = slice(begin, begin + _TILE)
            left, right = self.queries[query[part]].astype(np.float64), self.documents[document[part]].astype(np.float64)
            score = np.einsum("ij,ij->i", left, right)
            if self.metric == "cosine":
                score /= np.sqrt(np.einsum("ij,ij->i", left, left) * np.einsum("ij,ij->i", right, right))
            out[part] = score
        return out

    def pair_scores(self, judge: Table | None) -> np.ndarray:
        """float32, of each pair of query and positive in order."""
        if judge is None:
            return self.dots(self.of_pair, self.positive)
        return judge.of(self.of_pair, self.positive, len(self.documents))

    def positive_scores(self, judge: Table | None) -> list[np.ndarray]:
        return np.split(self.pair_scores(judge), self.offsets[1:-1].astype(np.int64))

    def least(self, judge: Table) -> np.ndarray:
        """float32 [queries]: least score of each one's positives that have one; NaN: none has."""
        scores = self.pair_scores(judge)
        filled = np.where(np.isnan(scores), np.inf, scores)
        least = np.minimum.reduceat(filled, self.offsets[:-1].astype(np.int64))
        return np.where(np.isinf(least), np.nan, least).astype(np.float32)

    def scores_of(self, negatives: Negatives, judge: Table | None) -> np.ndarray:
        if judge is None:
            return negatives.score
        query = np.broadcast_to(np.arange(len(self.queries))[:, None], negatives.item.shape)
        return judge.of(query, np.maximum(negatives.item, 0), len(self.documents)) + np.where(negatives.item < 0, np.float32(np.nan), np.float32(0))


def _rescored(work: _Work, cross_encoder: Any, run: Table | None, depth: int | None, batch_size: int, use_multi_process: list[str] | bool,
              verbose: bool) -> tuple[Table, Table]:
    """Candidates by the cross-encoder's scores; and these with the positives' too."""
    if run is None:
        query, document = work.nearest(depth or len(work.documents))
    else:
        run = run if depth is None else first_of_each(run, depth)
        query, document = run.query, run.document
    width = len(work.documents)
    keys = query * width + document
    more = np.setdiff1d(work.of_pair * width + work.positive, keys)
    all_keys = np.concatenate([keys, more])
    with _Pool(cross_encoder, use_multi_process) as pool:
        scores = cross_scores(cross_encoder, work.pairs, all_keys // width, all_keys % width, batch_size=batch_size, pool=pool, verbose=verbose)
    everything = Table(all_keys // width, all_keys % width, scores)
    return Table(query, document, scores[:len(keys)]), everything


def _best_first(negatives: Negatives, scores: np.ndarray) -> tuple[Negatives, np.ndarray]:
    """Slots of each row in the order of the candidates; empty ones stay behind."""
    order = np.lexsort((negatives.raw_rank, negatives.fill != 0), axis=-1)
    taken: dict[str, Any] = {one.name: np.take_along_axis(getattr(negatives, one.name), order, axis=1) for one in dataclasses.fields(negatives)
             if one.name != "kappa" and np.shape(getattr(negatives, one.name)) == order.shape}
    return dataclasses.replace(negatives, **taken), np.take_along_axis(scores, order, axis=1)
