#!/usr/bin/env python3
"""mine_hard_negatives beside sentence-transformers' own: the same table for the same call, where what it documents is clear; and where it is known
to be wrong, the right one.

  tests/text_peer_test.py        prints a line per case: queries compared, queries apart (a decision within 1e-5 of a boundary), rows

Run it with a Python that has quarry, sentence-transformers and datasets; else it ends with 77, which means skipped."""
import contextlib
import io
import tempfile
import unittest

from python_package import main, or_skip

with or_skip("pip install sentence-transformers datasets"):
    import datasets
    import numpy as np
    import sentence_transformers
    import torch
    from sentence_transformers.util import mine_hard_negatives as theirs

    import quarry

from text_oracle import CrossEncoder, Model, brute_force, pairs_of, rows_of

datasets.disable_progress_bars()


class TheirModel(Model):
    """What sentence-transformers asks of a model."""

    device = torch.device("cpu")
    similarity = staticmethod(sentence_transformers.util.cos_sim)
    similarity_pairwise = staticmethod(sentence_transformers.util.pairwise_cos_sim)
    prompts: dict = {}

    def get_embedding_dimension(self):
        return self.dim


class TheirCrossEncoder(CrossEncoder):
    def predict(self, pairs, convert_to_tensor=False, **more):
        scores = super().predict(pairs)
        return torch.from_numpy(scores) if convert_to_tensor else scores


CORPUS = [f"d{number}" for number in range(400)]
ONE, MANY, UNEQUAL = pairs_of(60, 400), pairs_of(50, 400, 3, near=True), pairs_of(50, 400, -5, seed=3, near=True)
REPEATED = {name: column + column[:20] for name, column in UNEQUAL.items()}
CASES = {
    "triplets, nothing said": (ONE, {}),
    "n-tuples of 5": (ONE, {"num_negatives": 5, "output_format": "n-tuple"}),
    "n-tuple-scores": (ONE, {"output_format": "n-tuple-scores"}),
    "relative margin 0.05": (ONE, {"relative_margin": 0.05, "output_format": "n-tuple", "output_scores": True}),
    "absolute margin 0.1": (ONE, {"absolute_margin": 0.1, "output_format": "labeled-list", "output_scores": True}),
    "both margins and max_score": (ONE, {"relative_margin": 0.1, "absolute_margin": 0.02, "max_score": 0.35, "output_scores": True}),
    "range_min 5": (ONE, {"range_min": 5, "num_negatives": 4, "output_format": "labeled-list"}),
    "window 3 to 20, scores 0.1 to 0.45": (ONE, {"range_min": 3, "range_max": 20, "min_score": 0.1, "max_score": 0.45, "output_scores": True}),
    "short rows: window to 12, margin": (ONE, {"range_max": 12, "num_negatives": 5, "relative_margin": 0.4, "output_format": "labeled-list"}),
    "short n-tuples are dropped": (ONE, {"range_max": 12, "num_negatives": 5, "relative_margin": 0.4, "output_format": "n-tuple"}),
    "no corpus": (UNEQUAL, {"corpus": None, "num_negatives": 4, "relative_margin": 0.05}),
    "three positives each, relative margin": (MANY, {"relative_margin": 0.05, "range_max": 40, "output_scores": True}),
    "unequal positives, absolute margin": (UNEQUAL, {"absolute_margin": 0.02, "range_max": 40, "output_format": "n-tuple", "output_scores": True}),
    "unequal positives, labeled pairs": (UNEQUAL, {"relative_margin": 0.05, "output_format": "labeled-pair"}),
    "labeled pairs with scores": (MANY, {"output_format": "labeled-pair", "output_scores": True}),
    "repeated rows": (REPEATED, {"relative_margin": 0.05}),
    "repeated texts in the corpus": (ONE, {"corpus": CORPUS[:200] + CORPUS[100:], "relative_margin": 0.1}),
    "corpus without the positives": (ONE, {"corpus": CORPUS[60:], "output_format": "n-tuple"}),
    "corpus smaller than the window": (pairs_of(8, 12), {"corpus": CORPUS[:12], "num_negatives": 6, "relative_margin": 0.05}),
    "positives of negative scores": (pairs_of(30, 60), {"corpus": CORPUS[:60], "near": -0.3, "relative_margin": 0.3, "range_max": 58,
                                                        "output_format": "labeled-list", "output_scores": True}),
    "include_positives": (ONE, {"include_positives": True, "num_negatives": 6, "output_scores": True}),
    "prompts": (ONE, {"query_prompt": "query: ", "corpus_prompt": "passage: ", "relative_margin": 0.05}),
    "cross-encoder, relative margin": (ONE, {"cross_encoder": 3.0, "relative_margin": 0.1, "output_scores": True}),
    "cross-encoder, absolute margin, max_score": (UNEQUAL, {"cross_encoder": 0.0, "absolute_margin": 0.2, "max_score": 1.0, "output_scores": True}),
    "cross-encoder, min_score, window": (ONE, {"cross_encoder": 0.0, "min_score": -0.5, "range_min": 2, "range_max": 30, "output_format": "n-tuple"}),
}


def call(mine, data, more):
    facts = {"corpus": CORPUS, **more}
    near, shift = facts.pop("near", 0.9), facts.pop("cross_encoder", None)
    if shift is not None:
        facts["cross_encoder"] = TheirCrossEncoder(shift)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return mine(datasets.Dataset.from_dict(data), TheirModel(near=near), verbose=False, **facts)


def answer_of(data, more):
    facts = {"corpus": CORPUS, **{name: value for name, value in more.items() if name not in ("output_format", "output_scores")}}
    model = Model(near=facts.pop("near", 0.9))
    shift = facts.pop("cross_encoder", None)
    texts = list(dict.fromkeys((facts["corpus"] or []) + data["answer"]))
    queries = list(dict.fromkeys(data["query"]))
    vectors = dict(zip(queries, model.vectors(queries, facts.pop("query_prompt", None))))
    documents = dict(zip(texts, model.vectors(texts, facts.pop("corpus_prompt", None))))
    return brute_force(data, vectors, documents, cross_encoder=None if shift is None else CrossEncoder(shift), **facts)


class TextPeerTest(unittest.TestCase):
    def test_same_tables(self):
        print(f"sentence-transformers {sentence_transformers.__version__}, quarry beside it\n"
              f"{'case':<44}{'queries':>8}{'apart':>7}{'rows':>7}  names of those apart")
        for case, (data, more) in CASES.items():
            with self.subTest(case):
                answer = answer_of(data, more)
                clear = {query for query, one in answer.items() if not one["close"]}
                apart = len(answer) - len(clear)
                self.assertLessEqual(apart, max(1, 0.25 * len(answer)), "too few queries are left to compare")
                ours, other = call(quarry.mine_hard_negatives, data, more), call(theirs, data, more)
                self.assertEqual(ours.column_names, other.column_names)
                self.assertEqual({name: str(kind) for name, kind in ours.features.items()},
                                 {name: str(kind) for name, kind in other.features.items()})
                (rows, scores), (their_rows, their_scores) = rows_of(ours, clear), rows_of(other, clear)
                self.assertGreater(len(rows), 0)
                self.assertEqual(rows, their_rows)
                self.assertEqual(scores is None, their_scores is None)
                for one, another in zip(scores or [], their_scores or []):
                    np.testing.assert_allclose(one, another, atol=2e-6)
                named = " ".join(query for query, one in answer.items() if one["close"])
                print(f"{case:<44}{len(clear):>8}{apart:>7}{len(rows):>7}  {named}")

    def test_a_model_of_theirs(self):
        """A real SentenceTransformer, made of random vectors of words, with the prompts of its own."""
        try:
            from sentence_transformers.sentence_transformer.modules import StaticEmbedding
        except ImportError:  # before 6
            from sentence_transformers.models import StaticEmbedding
        from tokenizers import Tokenizer, models, pre_tokenizers
        words = [f"w{number}" for number in range(300)]
        tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(["unknown", "query", "passage", *words])}, "unknown"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        torch.manual_seed(5)
        model = sentence_transformers.SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=48)], device="cpu",
                                                          prompts={"query": "query ", "document": "passage ", "other": "passage query "})
        rng = np.random.default_rng(9)
        documents = [" ".join(rng.choice(words, 12)) for _ in range(200)]
        data = datasets.Dataset.from_dict({"query": [" ".join(text.split()[:5]) for text in documents[:50]], "answer": documents[:50]})
        for more in ({}, {"query_prompt_name": "other"}, {"query_prompt": "passage ", "corpus_prompt": ""}):
            facts = {"corpus": documents, "relative_margin": 0.1, "num_negatives": 2, "output_scores": True, "verbose": False, **more}
            with contextlib.redirect_stderr(io.StringIO()):
                ours, other = quarry.mine_hard_negatives(data, model, **facts), theirs(data, model, **facts)
            scores = np.array(other["scores"])
            apart = {other["query"][row] for row in np.flatnonzero(np.abs(scores[:, 1] - 0.9 * scores[:, 0]) < 1e-5)}
            self.assertLess(len(apart), 5)
            clear = set(data["query"]) - apart
            (rows, _), (their_rows, _) = rows_of(ours, clear), rows_of(other, clear)
            self.assertEqual(rows, their_rows)
            self.assertGreater(len(rows), 50)

    def test_a_vector_that_is_no_number(self):
        model = TheirModel()
        vectors = model.vectors

        def broken(texts, prompt):
            out = vectors(texts, prompt)
            for row, text in enumerate(texts):
                if text == "d300":
                    out[row, 2] = np.nan
            return out
        model.vectors = broken
        data = datasets.Dataset.from_dict(ONE)
        with contextlib.redirect_stderr(io.StringIO()):
            mined = theirs(data, model, corpus=CORPUS, relative_margin=0.05, verbose=False)
        self.assertIn("d300", mined["negative"], "theirs gives it as a negative")
        with self.assertRaisesRegex(quarry.InputError, "'d300'.*NaN"):
            quarry.mine_hard_negatives(data, model, corpus=CORPUS, relative_margin=0.05, verbose=False)

    def test_copies_of_the_positive_under_a_margin_of_0(self):
        """"Can be used to enforce that the negative is always further away from the anchor than the positive"."""
        model = TheirModel()
        vectors = model.vectors
        model.vectors = lambda texts, prompt: vectors([text.replace("copy of ", "") for text in texts], prompt)
        corpus = CORPUS + [f"copy of d{number}" for number in range(60)]
        more = {"corpus": corpus, "absolute_margin": 0.0, "num_negatives": 2}
        with contextlib.redirect_stderr(io.StringIO()):
            other = theirs(datasets.Dataset.from_dict(ONE), model, verbose=False, **more)
        copies = [one for one in zip(other["answer"], other["negative"]) if one[1] == f"copy of {one[0]}"]
        self.assertGreater(len(copies), 0, "theirs gives a copy of the positive as a negative")
        ours = quarry.mine_hard_negatives(datasets.Dataset.from_dict(ONE), model, verbose=False, output_scores=True, **more)
        self.assertGreater(len(ours), 0)
        for positive, negative, (own, score) in zip(ours["answer"], ours["negative"], ours["scores"]):
            self.assertNotEqual(negative, f"copy of {positive}")
            self.assertLess(score, own)

    def test_a_cross_encoder_without_bounds(self):
        more = {"cross_encoder": 0.0}
        cross = TheirCrossEncoder(0.0)
        with contextlib.redirect_stderr(io.StringIO()):
            other = theirs(datasets.Dataset.from_dict(ONE), TheirModel(), corpus=CORPUS, cross_encoder=cross, verbose=False)
        self.assertEqual(cross.pairs, 0, "theirs never asks it")
        answer = answer_of(ONE, more)
        ours = call(quarry.mine_hard_negatives, ONE, more)
        clear = {query for query, one in answer.items() if not one["close"]}
        for query in clear:
            mined = [text for anchor, text in zip(ours["query"], ours["negative"]) if anchor == query]
            self.assertEqual(mined, answer[query]["negatives"])
        self.assertNotEqual(list(ours["negative"]), list(other["negative"]))

    def test_columns_that_are_not_there(self):
        data = datasets.Dataset.from_dict(ONE)
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertGreater(len(theirs(data, TheirModel(), anchor_column_name="qeury", corpus=CORPUS, verbose=False)), 0)
        with self.assertRaisesRegex(quarry.ConfigError, "'qeury'.*query, answer"):
            quarry.mine_hard_negatives(data, TheirModel(), anchor_column_name="qeury", corpus=CORPUS, verbose=False)

    def test_an_anchor_in_the_corpus(self):
        corpus = CORPUS + ONE["query"]
        data = datasets.Dataset.from_dict(ONE)
        with contextlib.redirect_stderr(io.StringIO()):
            other = theirs(data, TheirModel(), corpus=corpus, verbose=False)
        self.assertTrue(any(a == n for a, n in zip(other["query"], other["negative"])), "theirs gives the anchor itself")
        ours = quarry.mine_hard_negatives(data, TheirModel(), corpus=corpus, verbose=False)
        self.assertFalse(any(a == n for a, n in zip(ours["query"], ours["negative"])))
        same = quarry.mine_hard_negatives(data, TheirModel(), corpus=corpus, verbose=False, exclude_anchor=False)
        self.assertEqual(list(same["negative"]), list(other["negative"]))

    def test_another_model_and_the_cache(self):
        """Theirs takes the first model's vectors for the second; ours has no cache to be wrong."""
        data = datasets.Dataset.from_dict(ONE)
        first, second = TheirModel(), TheirModel(near=0.3)
        for model in (first, second):
            model.model_card_data = type("Card", (), {"base_model": None})()
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            theirs(data, first, corpus=CORPUS, verbose=False, cache_folder=folder)
            calls = len(second.calls)
            theirs(data, second, corpus=CORPUS, verbose=False, cache_folder=folder)
            self.assertEqual(len(second.calls), calls, "theirs never asks the second model")
            with self.assertRaisesRegex(quarry.ConfigError, "query_embeddings"):
                quarry.mine_hard_negatives(data, first, corpus=CORPUS, cache_folder=folder)


if __name__ == "__main__":
    main()
