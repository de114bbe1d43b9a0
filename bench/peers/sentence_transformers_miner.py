"""sentence_transformers.util.mine_hard_negatives with precomputed vectors.

It takes texts and a model, so items and users are named by texts, and a stand-in model looks their vectors up. It knows
no exclusions but a query's positives, searches one window (--window, by default its own: max_positives + 10 k) and has
no rows for queries without positives: the comparison counts what that leaves in and leaves out.
"""
import numpy as np

import task


def main():
    parser = task.arguments(__doc__.splitlines()[0])
    parser.add_argument("--window", type=int, default=0, help="its range_max; 0: its default")
    args = parser.parse_args()
    try:
        import datasets
        import sentence_transformers
        import torch
    except ImportError as error:
        task.skip(f"{error.name} is not installed")
    try:
        import faiss
        faiss.omp_set_num_threads(args.threads)
        if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
            faiss.cvar.distance_compute_blas_threshold = 1  # as in faiss_flat.py
    except ImportError:
        faiss = None
    if args.device == "cuda" and not torch.cuda.is_available():
        task.skip("this torch has no GPU to use")
    torch.set_num_threads(args.threads)
    datasets.disable_progress_bars()
    work = task.Task(args)

    class StandIn:
        """What the miner asks of a model; texts are a letter and the number of a vector."""
        device = torch.device(args.device)
        similarity = staticmethod(sentence_transformers.util.cos_sim)
        similarity_pairwise = staticmethod(sentence_transformers.util.pairwise_cos_sim)

        def get_embedding_dimension(self):
            return work.dim

        get_sentence_embedding_dimension = get_embedding_dimension  # its name before 5.3

        def encode_document(self, texts, **_):
            return task.normalised(work.items[[int(text[1:]) for text in texts]])

        def encode_query(self, texts, **_):
            return task.normalised(work.users[[int(text[1:]) for text in texts]])

    # Names and lists are the price of the interface, not of mining: they are made outside of what is timed.
    corpus = [f"i{item}" for item in range(work.num_items)]
    pairs = datasets.Dataset.from_dict({"query": [f"u{row}" for row in (work.positives >> 32).tolist()],
                                        "answer": [f"i{item}" for item in (work.positives & 0xFFFFFFFF).tolist()]})
    with work.clock("mine"):
        mined = sentence_transformers.util.mine_hard_negatives(
            pairs, StandIn(), corpus=corpus, relative_margin=1 - task.RATIO, num_negatives=args.k,
            range_max=args.window or None, sampling_strategy="top", output_format="labeled-list",
            use_faiss=faiss is not None, verbose=False)
    out = np.full((work.num_rows, args.k), -1, dtype=np.int64)
    for query, documents in zip(mined["query"], mined["answer"]):  # a row per positive, with the same negatives
        out[int(query[1:]), :len(documents) - 1] = [int(text[1:]) for text in documents[1:]]
    work.facts["search"] = "faiss" if faiss is not None else "torch"
    work.finish(out, sentence_transformers=sentence_transformers.__version__, torch=torch.__version__,
                **({"faiss": faiss.__version__} if faiss is not None else {}))


if __name__ == "__main__":
    main()
