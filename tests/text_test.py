#!/usr/bin/env python3
"""mine_hard_negatives against brute force in double precision: bounds, windows, formats, repeated texts, scores from elsewhere, and what is refused.

  tests/text_test.py

Run it with a Python that has the package (tools/check_python makes one); else it ends with 77, which means skipped."""
import contextlib
import io
import os
import subprocess
import sys
import tempfile
import unittest

from python_package import main, or_skip

with or_skip():
    import numpy as np

    import quarry
try:
    import datasets
    datasets.disable_progress_bars()
except ImportError:
    datasets = None

from text_oracle import CrossEncoder, Model, brute_force, noise, pairs_of, rows_of, table_of

CORPUS = [f"d{number}" for number in range(300)]
ONE, UNEQUAL = pairs_of(60, 300), pairs_of(50, 300, -4, seed=5)
FORMATS = ("triplet", "n-tuple", "labeled-pair", "labeled-list")
BOUNDS = ({}, {"relative_margin": 0.05}, {"absolute_margin": 0.05}, {"max_score": 0.5, "min_score": -0.2, "relative_margin": 0.02},
          {"range_min": 4, "range_max": 30, "max_score": 0.4}, {"range_min": 7}, {"range_max": 9, "relative_margin": 0.3})


def mine(data, model=None, **more):
    return quarry.mine_hard_negatives(data, Model() if model is None else model, **{"corpus": CORPUS, "verbose": False, **more})


def vectors_of(data, corpus=CORPUS):
    model = Model()
    queries, texts = list(dict.fromkeys(data["query"])), list(dict.fromkeys((corpus or []) + data["answer"]))
    return dict(zip(queries, model.vectors(queries, None))), dict(zip(texts, model.vectors(texts, None)))


def oracle(data, **more):
    more = {"corpus": CORPUS, **more}
    return brute_force(data, *vectors_of(data, more["corpus"]), **more)


def clear_of(answer):
    clear = {query for query, one in answer.items() if not one["close"]}
    if len(clear) < 0.75 * len(answer):
        raise AssertionError(f"only {len(clear)} of {len(answer)} queries can be compared")
    return clear


class TextTest(unittest.TestCase):
    def refused(self, kind, words, *arguments, **more):
        with self.assertRaises(kind) as caught:
            mine(*arguments, **more)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def same(self, table, answer, output_format, scores, k):
        clear = clear_of(answer)
        (rows, found), (wanted, expected) = rows_of(table, clear), rows_of(table_of(answer, output_format, scores, k), clear)
        self.assertEqual(rows, wanted)
        self.assertEqual(found is None, expected is None)
        for one, another in zip(found or [], expected or []):
            np.testing.assert_allclose(one, another, atol=2e-6)
        return len(rows)

    def test_bounds_and_formats(self):
        compared = 0
        for data in (ONE, UNEQUAL):
            for bounds in BOUNDS:
                for output_format in FORMATS:
                    for scores in (False, True):
                        with self.subTest(bounds=bounds, output_format=output_format, scores=scores, unequal=data is UNEQUAL):
                            answer = oracle(data, num_negatives=4, **bounds)
                            mined = mine(data, num_negatives=4, output_format=output_format, output_scores=scores, **bounds)
                            compared += self.same(mined, answer, output_format, scores, 4)
        self.assertGreater(compared, 3000)

    def test_a_margin_is_below_the_least_positive(self):
        mined = mine(UNEQUAL, relative_margin=0.1, range_max="all", as_negatives=True)
        filled = 0
        for query in range(len(mined)):
            least = mined.positive_scores[query].min()
            row = mined.scores[query][mined.negatives.fill[query] == 0]
            self.assertTrue((row < least - 0.1 * abs(least) + 1e-6).all())
            own = set(mined.positives[query].tolist())
            self.assertFalse(own & set(mined.negatives.item[query].tolist()))
            margins = mined.margins(query)
            self.assertEqual(margins.shape, (len(own), 3))
            np.testing.assert_allclose(margins[:, 0], mined.positive_scores[query] - mined.scores[query, 0])
            filled += len(row)
        self.assertGreater(filled, 100)

    def test_the_whole_corpus_fills_rows_that_a_window_leaves_short(self):
        few = mine(UNEQUAL, relative_margin=0.1, as_negatives=True)
        all_of_it = mine(UNEQUAL, relative_margin=0.1, range_max="all", as_negatives=True)
        self.assertGreater(few.fills()["max_rank"], 0)
        self.assertEqual(all_of_it.fills()["max_rank"], 0)
        answer = oracle(UNEQUAL, relative_margin=0.1, range_max=len(CORPUS))
        self.assertEqual(all_of_it.fills()["filled"], sum(len(one["negatives"]) for one in answer.values()))
        queries, documents = vectors_of(UNEQUAL)
        for query, text in enumerate(all_of_it.queries):
            found = [all_of_it.documents[item] for item in all_of_it.negatives.item[query] if item >= 0]
            gaps = [abs(float(documents[a].astype(np.float64) @ queries[text]) - float(documents[b].astype(np.float64) @ queries[text]))
                    for a, b in zip(found, answer[text]["negatives"])]
            self.assertLess(max(gaps, default=0.0), 1e-5)  # the whole corpus has close pairs: scores are compared, not names

    def test_ranks(self):
        mined = mine(ONE, range_min=3, range_max=12, as_negatives=True, num_negatives=5)
        self.assertTrue((mined.negatives.survivor_rank == np.arange(4, 9)).all())
        raw = mine(ONE, range_min=3, range_max=12, as_negatives=True, num_negatives=5, range_of="raw", relative_margin=0.2)
        ranks = raw.negatives.raw_rank[raw.negatives.fill == 0]
        self.assertTrue(((ranks >= 4) & (ranks <= 12)).all())
        answer = oracle(ONE, range_max=len(CORPUS), include_positives=True, num_negatives=12)
        for query, text in enumerate(raw.queries):
            if answer[text]["close"]:
                continue
            limit = raw.positive_scores[query].min() * 0.8
            wanted = [name for name, score in answer[text]["window"][3:12] if name not in answer[text]["positives"] and score < limit]
            self.assertEqual([raw.documents[item] for item in raw.negatives.item[query] if item >= 0], wanted[:5])

    def test_random_draws_from_the_window(self):
        facts = {"range_min": 2, "range_max": 22, "num_negatives": 5, "max_score": 0.45}
        answer = oracle(ONE, **{**facts, "num_negatives": 20})
        clear, drawn = clear_of(answer), {}
        for seed in range(40):
            mined = mine(ONE, sampling_strategy="random", seed=seed, as_negatives=True, **facts)
            for query, text in enumerate(mined.queries):
                row = [mined.documents[item] for item in mined.negatives.item[query]]
                self.assertEqual(len(set(row)), 5)
                self.assertTrue((np.diff(mined.scores[query]) <= 0).all())
                if text in clear:
                    self.assertLessEqual(set(row), set(answer[text]["negatives"]))
                    for name in row:
                        place = answer[text]["negatives"].index(name)
                        drawn[place] = drawn.get(place, 0) + 1
        for place in range(20):
            wanted = sum(40 * 5 / len(answer[text]["negatives"]) for text in clear if place < len(answer[text]["negatives"]))
            self.assertLess(abs(drawn.get(place, 0) - wanted), 5 * np.sqrt(wanted) + 1e-9)
        one, two = (mine(ONE, sampling_strategy="random", seed=9, **facts) for _ in range(2))
        self.assertEqual(list(one["negative"]), list(two["negative"]))
        self.assertNotEqual(list(one["negative"]), list(mine(ONE, sampling_strategy="random", seed=10, **facts)["negative"]))

    def test_equal_texts_are_one(self):
        corpus = CORPUS[:50] + CORPUS[20:] + ["d5"] * 3
        doubled = {name: column + column[:30] for name, column in UNEQUAL.items()}
        model = Model()
        mined = mine(doubled, model, corpus=corpus, as_negatives=True, num_negatives=5)
        self.assertEqual(mined.documents, CORPUS)
        self.assertEqual([call[:2] for call in model.calls], [("document", 300), ("query", 50)])
        for query in range(len(mined)):
            self.assertEqual(len(set(mined.negatives.item[query].tolist())), 5)
        merged = {}
        for query, answer in zip(UNEQUAL["query"], UNEQUAL["answer"]):
            merged.setdefault(query, []).append(answer)
        lists = mine({"query": list(merged), "answer": list(merged.values())}, as_negatives=True, num_negatives=5)
        np.testing.assert_array_equal(lists.negatives.item, mine(UNEQUAL, as_negatives=True, num_negatives=5).negatives.item)
        self.assertEqual([some.tolist() for some in lists.positives], [some.tolist() for some in mined.positives])

    def test_ways_to_pass_the_same(self):
        wanted = list(mine(UNEQUAL, relative_margin=0.05)["negative"])
        ways = {"list of dicts": [dict(zip(UNEQUAL, row)) for row in zip(*UNEQUAL.values())], "two lists": (UNEQUAL["query"], UNEQUAL["answer"])}
        if datasets is not None:
            ways["datasets"] = datasets.Dataset.from_dict({"more": list(range(len(UNEQUAL["query"]))), **UNEQUAL})
            ways["pyarrow"] = datasets.Dataset.from_dict(UNEQUAL).data.table
            ways["pandas"] = datasets.Dataset.from_dict(UNEQUAL).to_pandas()
        for way, data in ways.items():
            names = {"anchor_column_name": "query", "positive_column_name": "answer"} if way == "datasets" else {}
            with self.subTest(way):
                self.assertEqual(list(mine(data, relative_margin=0.05, **names)["negative"]), wanted)

    def test_given_vectors(self):
        wanted = mine(UNEQUAL, relative_margin=0.05, as_negatives=True)
        queries, documents = vectors_of(UNEQUAL)
        of_rows, of_corpus = np.stack([queries[text] for text in UNEQUAL["query"]]), np.stack([documents[text] for text in CORPUS])
        once = np.stack(list(queries.values()))
        with tempfile.TemporaryDirectory() as folder:
            np.save(os.path.join(folder, "corpus.npy"), of_corpus)
            for q, d in ((of_rows, of_corpus), (once, of_corpus), (once, os.path.join(folder, "corpus.npy"))):
                mined = quarry.mine_hard_negatives(UNEQUAL, corpus=CORPUS, query_embeddings=q, corpus_embeddings=d, relative_margin=0.05,
                                                   verbose=False, as_negatives=True)
                np.testing.assert_array_equal(mined.negatives.item, wanted.negatives.item)
        # As many entries, two of them equal, as there are different texts: rows are the entries'.
        some = CORPUS[2:] + CORPUS[2:4]
        part = mine(ONE, corpus=some, corpus_embeddings=np.concatenate([of_corpus[2:], -of_corpus[:2]]), as_negatives=True)
        np.testing.assert_array_equal(part.negatives.item, mine(ONE, corpus=some, as_negatives=True).negatives.item)
        twice = quarry.mine_hard_negatives(UNEQUAL, corpus=CORPUS + CORPUS, query_embeddings=once, relative_margin=0.05, verbose=False,
                                           corpus_embeddings=np.concatenate([of_corpus, -of_corpus]), as_negatives=True)
        np.testing.assert_array_equal(twice.negatives.item, wanted.negatives.item)  # the first entry of a text counts
        answers = np.stack([documents[text] for text in UNEQUAL["answer"]])
        alone = quarry.mine_hard_negatives(UNEQUAL, query_embeddings=of_rows, corpus_embeddings=answers, verbose=False, as_negatives=True)
        other = mine(UNEQUAL, corpus=None, as_negatives=True)
        np.testing.assert_array_equal(alone.negatives.item, other.negatives.item)
        part = mine(UNEQUAL, corpus=CORPUS[60:], corpus_embeddings=of_corpus[60:], as_negatives=True)  # the model has the positives
        np.testing.assert_array_equal(part.negatives.item, mine(UNEQUAL, corpus=CORPUS[60:], as_negatives=True).negatives.item)
        for words, more in ((["query_embeddings", "7 rows", "50"], {"query_embeddings": once[:7]}),
                            (["corpus_embeddings", "299 rows", "300"], {"corpus_embeddings": of_corpus[:299]}),
                            (["corpus_embeddings", "float64", "astype"], {"corpus_embeddings": of_corpus.astype(np.float64)}),
                            (["24", "23"], {"corpus_embeddings": np.ascontiguousarray(of_corpus[:, :23])}),
                            (["query_embeddings", "shape (50,)"], {"query_embeddings": once[:, 0].copy()})):
            self.refused(quarry.InputError, words, UNEQUAL, **{"query_embeddings": once, "corpus_embeddings": of_corpus, **more})
        with self.assertRaisesRegex(quarry.ConfigError, "model: there is none, and 50 documents"):
            quarry.mine_hard_negatives(ONE, corpus=CORPUS[50:], query_embeddings=once, corpus_embeddings=of_corpus[50:], verbose=False)

    def test_models_that_know_less(self):
        class Plain:
            def encode(self, texts):
                return Model().vectors(texts, None).astype(np.float64).tolist()
        np.testing.assert_array_equal(mine(ONE, Plain(), as_negatives=True).negatives.item, mine(ONE, as_negatives=True).negatives.item)
        seen = []

        class Prompted:
            def encode(self, texts, batch_size):
                seen.append((texts[0], batch_size))
                return Model().vectors([text.replace("query: ", "") for text in texts], None)
        mine(ONE, Prompted(), query_prompt="query: ", batch_size=7)
        self.assertEqual(seen, [("d0", 7), ("query: q0", 7)])
        self.refused(quarry.ConfigError, ["query_prompt_name", "takes no prompt_name"], ONE, Prompted(), query_prompt_name="query")
        model = Model()
        mine(ONE, model, query_prompt="a", corpus_prompt_name="b", batch_size=5)
        (_, _, none, documents), (_, _, prompt, queries) = model.calls
        self.assertEqual((none, documents["prompt_name"], prompt, queries["batch_size"], queries["normalize_embeddings"]), (None, "b", "a", 5, True))

        class Short(Model):
            def encode_query(self, texts, **more):
                return super().encode_query(texts)[:-1]
        self.refused(quarry.InputError, ["(59, 24)", "60 texts"], ONE, Short())
        Model.similarity_fn_name = "euclidean"
        try:
            self.refused(quarry.ConfigError, ["euclidean", "similarity='cosine'"], ONE)
        finally:
            del Model.similarity_fn_name

    def test_inner_products(self):
        queries, documents = vectors_of(ONE)
        length = {text: 0.5 + number % 7 / 7 for number, text in enumerate(documents)}
        long = np.stack([vector * length[text] for text, vector in documents.items()]).astype(np.float32)
        found = quarry.mine_hard_negatives(ONE, corpus=CORPUS, query_embeddings=np.stack(list(queries.values())), corpus_embeddings=long,
                                           similarity="dot", verbose=False, as_negatives=True)
        scores = np.stack(list(queries.values())).astype(np.float64) @ long.astype(np.float64).T
        for query in range(60):
            scores[query, query] = -np.inf
            best = np.argsort(-scores[query])
            if (np.diff(-scores[query, best[:5]]) > 1e-5).all():
                self.assertEqual(found.negatives.item[query].tolist(), best[:3].tolist())

    def test_cross_encoder(self):
        for more in ({}, {"relative_margin": 0.1}, {"absolute_margin": 0.3, "max_score": 1.5}, {"min_score": -0.4, "range_min": 2, "range_max": 30},
                     {"absolute_margin": 0.1, "relative_margin": 0.05, "max_score": 2.5, "min_score": -1.0, "range_max": 40}):
            for shift in (0.0, 3.0):
                with self.subTest(more=more, shift=shift):
                    answer = oracle(UNEQUAL, cross_encoder=CrossEncoder(shift), **more)
                    mined = mine(UNEQUAL, cross_encoder=CrossEncoder(shift), output_scores=True, **more)
                    self.same(mined, answer, "triplet", True, 3)
        self.refused(quarry.ConfigError, ["range_max: all", "all of them"], ONE, cross_encoder=CrossEncoder(), range_max="all")

        class Wrong(CrossEncoder):
            def predict(self, pairs, **_):
                return super().predict(pairs) * np.float32(np.nan)
        self.refused(quarry.InputError, ["cross_encoder", "'q0'", "nan"], ONE, cross_encoder=Wrong())

    def test_teacher_scores(self):
        """Order by vectors, bounds by the teacher; pairs that it does not know are kept, or rejected."""
        queries = list(dict.fromkeys(UNEQUAL["query"]))
        score = {(q, d): float(np.float32(noise(q + d, 1)[0])) for q in queries for d in CORPUS if noise(d + q, 1)[0] > -0.5}
        table = {"query": [q for q, _ in score], "document": [d for _, d in score], "score": list(score.values())}
        plain = oracle(UNEQUAL, range_max=60, num_negatives=60)
        clear = clear_of(oracle(UNEQUAL, range_max=60))
        for missing in ("keep", "reject"):
            for name, value in (("absolute_margin", 0.25), ("relative_margin", 0.2), ("max_score", 0.4), ("min_score", -0.2), (None, None)):
                with self.subTest(missing=missing, bound=name):
                    mined = mine(UNEQUAL, teacher_scores=table, teacher_missing=missing, range_max=60, as_negatives=True,
                                 **({name: value} if name else {}))
                    for query, text in enumerate(mined.queries):
                        if text not in clear:
                            continue
                        known = [score[text, d] for d in plain[text]["positives"] if (text, d) in score]
                        least = min(known) if known else None
                        kept = []
                        for document in plain[text]["negatives"]:
                            s = score.get((text, document))
                            if s is None:
                                passes = missing == "keep"
                            elif name == "absolute_margin":
                                passes = least is None or s < least - value
                            elif name == "relative_margin":
                                passes = least is None or s < least - abs(least) * value
                            else:
                                passes = name is None or (s <= value if name == "max_score" else s >= value)
                            if passes:
                                kept.append(document)
                        found = [mined.documents[item] for item in mined.negatives.item[query] if item >= 0]
                        self.assertEqual(found, kept[:3])
                        for document, got in zip(found, mined.scores[query]):
                            self.assertEqual(score.get((text, document)), None if np.isnan(got) else float(got))
        two = {name: column + column[:1] for name, column in table.items()}
        two["score"][-1] += 1.0
        self.refused(quarry.InputError, ["teacher_scores: entry", "'q0'", "a pair has one"], UNEQUAL, teacher_scores=two)
        self.refused(quarry.ConfigError, ["cross_encoder and teacher_scores"], ONE, teacher_scores=table, cross_encoder=CrossEncoder())
        self.refused(quarry.InputError, ["'dx'", "not in the corpus"], ONE, teacher_scores=(["q0"], ["dx"], [1.0]))
        self.refused(quarry.InputError, ["entry 0", "nan", "finite"], ONE, teacher_scores=(["q0"], ["d1"], [float("nan")]))

    def test_run(self):
        """Candidates of a run, in its order, without a model or with one."""
        rng = np.random.default_rng(8)
        queries = list(dict.fromkeys(UNEQUAL["query"]))
        run = {q: [(f"d{d}", float(np.float32(s))) for d, s in zip(rng.choice(300, 40, replace=False), np.sort(rng.random(40) * 20)[::-1])]
               for q in queries}
        own = {q: [d for one, d in zip(UNEQUAL["query"], UNEQUAL["answer"]) if one == q] for q in queries}
        arrays = [list(column) for column in zip(*[(q, d, s) for q in queries for d, s in run[q]])]
        with tempfile.TemporaryDirectory() as folder:
            trec, table = os.path.join(folder, "run.trec"), os.path.join(folder, "run.tsv")
            with open(trec, "w") as file:
                file.writelines(f"{q} Q0 {d} {rank} {s!r} bm25\n" for q in queries + ["q999"] for rank, (d, s) in enumerate(run.get(q, run["q0"]), 1))
            with open(table, "w") as file:
                file.write("query_id\tdocid\tscore\n")
                file.writelines(f"Q-{q}\tD-{d}\t{s!r}\n" for q, d, s in zip(*arrays))
            ids = {"query_ids": [f"Q-{q}" for q in UNEQUAL["query"]], "corpus_ids": [f"D-{d}" for d in CORPUS]}
            for given, more in ((tuple(arrays), {}), (trec, {}), (table, ids)):
                mined = quarry.mine_hard_negatives(UNEQUAL, corpus=CORPUS, run=given, verbose=False, as_negatives=True, num_negatives=6, **more)
                for query, text in enumerate(mined.queries):
                    wanted = [(d, s) for d, s in run[text] if d not in own[text]][:6]
                    self.assertEqual([mined.documents[item] for item in mined.negatives.item[query]], [d for d, _ in wanted])
                    np.testing.assert_array_equal(mined.scores[query], np.array([s for _, s in wanted], np.float32))
                self.assertEqual(len(mined.warnings), 1 if given == trec else 0)
            with open(trec, "a") as file:
                file.write("q1 Q0 d1 1 3.0\n")
            self.refused(quarry.InputError, [trec, ":2041", "5 fields"], UNEQUAL, run=trec)
            for record, words in ((b"q0,d1", [":2", "2 fields"]), (b'q0,"d1,0.5', ["quotes"]), (b"\xff,d1,1", ["UTF-8"]),
                                  (b"q0,d1,x", ["record 1", "'x'"]), (b"q0,d999,1", ["record 1", "'d999'"]),
                                  (b"q999,d1,1", ["no pair of a query"])):
                with open(os.path.join(folder, "bad.csv"), "wb") as file:
                    file.write(b"query,document,score\n" + record + b"\n")
                self.refused(quarry.InputError, words, UNEQUAL, run=os.path.join(folder, "bad.csv"))
            self.refused(quarry.IoError, ["gone.trec", "No such file"], UNEQUAL, run=os.path.join(folder, "gone.trec"))
        vectors, documents = vectors_of(UNEQUAL)
        most = max(len(some) for some in own.values())
        both = mine(UNEQUAL, run=tuple(arrays), relative_margin=0.1, range_max=8, as_negatives=True)  # margins by vectors
        self.assertTrue((both.negatives.count < 3).any() and (both.negatives.count == 3).any())
        for query, text in enumerate(both.queries):
            score = {d: float(vectors[text].astype(np.float64) @ documents[d].astype(np.float64)) for d in CORPUS}
            least = min(score[d] for d in own[text])
            limit = least - 0.1 * abs(least)
            if any(abs(score[d] - limit) < 1e-5 for d, _ in run[text]):
                continue
            wanted = [d for d, _ in run[text][:8 + most] if d not in own[text] and score[d] < limit][:3]
            self.assertEqual([both.documents[item] for item in both.negatives.item[query] if item >= 0], wanted)
        bounds = {"absolute_margin": 0.1, "relative_margin": 0.01, "max_score": 15.0, "min_score": 2.0}
        alone = quarry.mine_hard_negatives(UNEQUAL, corpus=CORPUS, run=tuple(arrays), verbose=False, as_negatives=True, range_max=30, **bounds)
        for query, text in enumerate(alone.queries):  # bounds by the run's own scores
            known = [score for d, score in run[text] if d in own[text]]
            ceiling = min(known) - max(0.1, 0.01 * min(known)) if known else np.inf
            wanted = [d for d, score in run[text][:30 + most] if d not in own[text] and 2.0 <= score <= 15.0 and score < ceiling][:3]
            self.assertEqual([alone.documents[item] for item in alone.negatives.item[query] if item >= 0], wanted)
        cross = mine(UNEQUAL, run=tuple(arrays), cross_encoder=CrossEncoder(), as_negatives=True)
        for query, text in enumerate(cross.queries):
            listed = [d for d, _ in run[text]][:3 + most + most]  # range_max is 3 + most
            ranked = sorted(listed, key=lambda d: -CrossEncoder().predict([(text, d)])[0])
            self.assertEqual([cross.documents[item] for item in cross.negatives.item[query]], [d for d in ranked if d not in own[text]][:3])

    def test_anchors_and_positives_as_candidates(self):
        corpus = CORPUS + ONE["query"]
        for own, more in ((False, {}), (True, {"exclude_anchor": False})):
            triplets = mine(ONE, corpus=corpus, **more)
            self.assertEqual(any(a == n for a, n in zip(triplets["query"], triplets["negative"])), own)
        tuples = mine(ONE, include_positives=True, num_negatives=8, output_scores=True)
        answer = oracle(ONE, include_positives=True, num_negatives=8)
        self.same(tuples, answer, "n-tuple", True, 8)
        columns = [list(tuples[name]) for name in ["answer"] + [f"negative_{n}" for n in range(1, 9)]]
        self.assertTrue(any(answer in row for answer, *row in zip(*columns)))

    def test_short_rows(self):
        more = {"range_max": 8, "relative_margin": 0.35, "num_negatives": 4}
        answer = oracle(ONE, **more)
        clear = clear_of(answer)
        kept = mine(ONE, output_format="n-tuple", output_scores=True, short_rows="keep", **more)
        rows = {query: [row for row in negatives if row is not None] for query, *negatives in
                zip(kept["query"], *[kept[f"negative_{n}"] for n in range(1, 5)])}
        for query in clear:
            self.assertEqual(rows.get(query, []), answer[query]["negatives"])
        lengths = {len(row) for row in rows.values()}
        self.assertTrue(lengths & {1, 2, 3} and 4 in lengths and 0 not in lengths)
        first = list(kept["scores"])[next(place for place, query in enumerate(kept["query"]) if len(rows[query]) == 1)]
        self.assertEqual([one is None for one in first], [False, False, True, True, True])

    def test_what_is_refused(self):
        ce, ie = quarry.ConfigError, quarry.InputError
        for kind, words, more in (
                (ce, ["anchor_column_name", "'anker'", "query, answer"], {"anchor_column_name": "anker"}),
                (ce, ["both 'query'"], {"anchor_column_name": "query", "positive_column_name": "query"}),
                (ce, ["num_negatives", "0"], {"num_negatives": 0}), (ce, ["range_min", "-1"], {"range_min": -1}),
                (ce, ["num_negatives: 3 of 2", "range_min 8", "range_max 10"], {"range_min": 8, "range_max": 10}),
                (ce, ["relative_margin", "1.0", "below 1"], {"relative_margin": 1.0}), (ce, ["absolute_margin", "-0.1"], {"absolute_margin": -0.1}),
                (ce, ["max_score", "nan"], {"max_score": float("nan")}),
                (ce, ["min_score: 0.5", "max_score 0.1"], {"min_score": 0.5, "max_score": 0.1}),
                (ce, ["output_format", "'tuple'", "n-tuple"], {"output_format": "tuple"}), (ce, ["sampling_strategy"], {"sampling_strategy": "best"}),
                (ce, ["short_rows", "triplet"], {"short_rows": "keep"}), (ce, ["cache_folder"], {"cache_folder": "x"}),
                (ce, ["query_ids", "neither"], {"query_ids": ["a"]}), (ce, ["range_max: 5000000000"], {"range_max": 5_000_000_000}),
                (ce, ["range_min: 5000000000"], {"range_min": 5_000_000_000, "range_max": "all"}),
                (ce, ["use_multi_process"], {"use_multi_process": True}), (ie, ["corpus: entry 1", "None"], {"corpus": ["a", None]}),
                (ie, ["corpus: is a str"], {"corpus": "abc"})):
            with self.subTest(words):
                self.refused(kind, words, ONE, **more)
        self.refused(ie, ["query: row 1 is 7"], {"query": ["a", 7], "answer": ["b", "c"]})
        self.refused(ie, ["answer: row 0 is None"], {"query": ["a"], "answer": [None]})
        self.refused(ie, ["answer: row 1", "no positive"], {"query": ["a", "b"], "answer": ["c", []]})
        self.refused(ie, ["2 anchors and 1 positives"], {"query": ["a", "b"], "answer": ["c"]})
        self.refused(ie, ["no rows"], {"query": [], "answer": []})
        self.refused(ie, ["['query']", "two are needed"], {"query": ["a"]})
        self.refused(ie, ["dataset: is a int"], 7)
        self.refused(ce, ["'negative'", "rename"], {"query": ["a"], "negative": ["b"]})
        if datasets is not None:
            self.refused(ie, ["DatasetDict", "choose a split"], datasets.DatasetDict(train=datasets.Dataset.from_dict(ONE)))
        for bad, word in ((np.nan, "NaN"), (0.0, "zero")):
            class Bad(Model):
                def vectors(self, texts, prompt):
                    out = super().vectors(texts, prompt)
                    out[[text == "d77" for text in texts]] = bad
                    return out
            self.refused(ie, ["corpus_embeddings", "'d77'", word], ONE, Bad())

    def test_an_answer_without_rows(self):
        empty = mine(ONE, max_score=-0.999)
        self.assertEqual(len(empty["negative"]), 0)
        everything = mine(ONE, max_score=-0.999, as_negatives=True)
        self.assertEqual(everything.fills()["filled"], 0)

    def test_figures_are_printed(self):
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            mined = mine(ONE, relative_margin=0.4, range_max=6, verbose=True, as_negatives=True)
        short = int((mined.negatives.count < 3).sum())
        self.assertIn(f"{short} of 60 queries have fewer than 3 negatives", text.getvalue())
        self.assertIn(f"max_rank {mined.fills()['max_rank']}", text.getvalue())
        self.assertIn(f"{np.mean(np.concatenate(mined.positive_scores)):.4f}", text.getvalue())

    def test_without_datasets_it_is_a_dict(self):
        code = ("import sys; sys.modules['datasets'] = None; sys.path.insert(0, sys.argv[1]); import quarry; "
                "from text_oracle import Model, pairs_of; "
                "t = quarry.mine_hard_negatives(pairs_of(5, 30), Model(), verbose=False); "
                "print(type(t).__name__, list(t), len(t['negative']), type(t['negative'][0]).__name__)")
        done = subprocess.run([sys.executable, "-c", code, os.path.dirname(os.path.abspath(__file__))], capture_output=True, text=True)
        self.assertEqual(done.stdout.strip(), "dict ['query', 'answer', 'negative'] 15 str", done.stderr)
        if datasets is not None:
            self.assertIsInstance(mine(ONE), datasets.Dataset)

    def test_tables_that_could_be_misread(self):
        vectors = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
        given = {"corpus": ["a", "b"], "query_embeddings": vectors, "corpus_embeddings": vectors, "verbose": False, "num_negatives": 1}
        with self.assertRaisesRegex(quarry.InputError, "two rows or two columns"):
            quarry.mine_hard_negatives([("q0", "a"), ("q1", "b")], **given)
        with self.assertRaisesRegex(quarry.InputError, "x: row 1 .*surrogate"):
            quarry.mine_hard_negatives({"x": ["q0", "\ud800"], "y": ["a", "b"]}, **given)

    def test_frames_with_numbered_or_repeated_columns(self):
        try:
            import pandas
        except ImportError:
            self.skipTest("pandas is not installed")
        vectors = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
        given = {"corpus": ["a", "b"], "query_embeddings": vectors, "corpus_embeddings": vectors, "verbose": False, "num_negatives": 1,
                 "as_negatives": True}
        mined = quarry.mine_hard_negatives(pandas.DataFrame([("q0", "a"), ("q1", "b")]), **given)
        self.assertEqual((mined.anchor_column, mined.queries, mined.negatives.item.tolist()), ("0", ["q0", "q1"], [[1], [0]]))
        with self.assertRaisesRegex(quarry.InputError, "'x' 2 times"):
            quarry.mine_hard_negatives(pandas.DataFrame([("q0", "a"), ("q1", "b")], columns=["x", "x"]), **given)


if __name__ == "__main__":
    main()
