"""FAISS's approximate indexes and the same post-filter: IVF with 4 sqrt(N) lists and nprobe 32, or HNSW32.

Rows that are short are searched four times as deep, up to --deepest candidates (efSearch, for HNSW). The index is kept
at --keep with the seconds that building it took, so that repetitions measure mining alone.
"""
import json
import math
import pathlib

import task


def main():
    parser = task.arguments(__doc__.splitlines()[0])
    parser.add_argument("--index", choices=("ivf", "hnsw"), required=True)
    parser.add_argument("--fetch", type=int, default=500)
    parser.add_argument("--deepest", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=4096, help="rows per search")
    parser.add_argument("--keep", type=pathlib.Path, help="file for the index")
    args = parser.parse_args()
    try:
        import faiss
    except ImportError:
        task.skip("faiss is not installed")
    gpu = args.device == "cuda"
    if gpu and args.index == "hnsw":
        task.skip("FAISS has no HNSW for GPUs")
    if gpu and (not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0):
        task.skip("this FAISS has no GPU to use")
    faiss.omp_set_num_threads(args.threads)
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = 1  # as in faiss_flat.py
    work = task.Task(args)
    items = task.normalised(work.items)
    index = build(faiss, work, items, args)
    deepest = min(args.deepest, work.num_items)
    if args.index == "ivf":
        index.nprobe = min(32, index.nlist)
        if gpu:
            deepest = min(deepest, 2048)
            index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)

    def find(users, fetch, ceiling, excluded, k):
        if args.index == "hnsw":
            index.hnsw.efSearch = fetch
        scores, ids = index.search(users, fetch)
        return task.first_allowed(scores, ids, ceiling, excluded, k)

    with work.clock("mine"):
        users = task.normalised(work.users)
        ceiling = task.ceilings(users, items, work.positives, work.num_rows)
        out, rounds = task.fetch_and_filter(work, users, ceiling, find, args.fetch, deepest, args.batch)
    work.facts["rounds"] = rounds
    work.finish(out, faiss=faiss.__version__)


def build(faiss, work, items, args):
    lists = round(4 * math.sqrt(work.num_items))
    work.facts["index"] = f"IVF{lists},Flat" if args.index == "ivf" else "HNSW32,Flat"
    note = args.keep.with_name(args.keep.name + ".seconds") if args.keep else None
    if note and note.exists():
        work.seconds["build"] = json.loads(note.read_text())["build"]
        return faiss.read_index(str(args.keep))
    with work.clock("build"):
        index = faiss.index_factory(work.dim, work.facts["index"], faiss.METRIC_INNER_PRODUCT)
        if args.index == "ivf":
            index.train(items)
        index.add(items)
    if note:
        faiss.write_index(index, str(args.keep))
        note.write_text(json.dumps({"build": work.seconds["build"]}))
    return index


if __name__ == "__main__":
    main()
