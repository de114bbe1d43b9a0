"""FAISS flat and a post-filter, as people write it: fetch K per row, mask, keep the first k.

  --fetch K        candidates per row (default 500); rows whose k best lie deeper stay short
  --until-full     fetch four times as many for the rows that are short, until none is; on a GPU FAISS's limit of 2,048
                   candidates ends it. It begins with what is fastest on a sample of the rows, which is tried outside of
                   the time that is measured
"""
import task


def main():
    parser = task.arguments(__doc__.splitlines()[0])
    parser.add_argument("--fetch", type=int, default=500)
    parser.add_argument("--until-full", action="store_true")
    parser.add_argument("--batch", type=int, default=4096, help="rows per search")
    args = parser.parse_args()
    try:
        import faiss
    except ImportError:
        task.skip("faiss is not installed")
    faiss.omp_set_num_threads(args.threads)
    # From 1.15 on FAISS leaves BLAS, and with it half its speed or more, where rows * dim is below 128,000.
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = 1
    versions = {"faiss": faiss.__version__}
    search = on_gpu(faiss, versions) if args.device == "cuda" else on_cpu(faiss)
    work = task.Task(args)
    with work.clock("build"):
        items = task.normalised(work.items)
        find = search(items)
    with work.clock("choose"):
        users = task.normalised(work.users)
        ceiling = task.ceilings(users, items, work.positives, work.num_rows)
        limit = min(work.num_items, 2048) if args.device == "cuda" else work.num_items
        deepest, fetch = min(args.fetch, limit), args.fetch
        if args.until_full:
            deepest = limit
            fetch = task.best_start(work, users, ceiling, find, deepest, args.batch)
    with work.clock("mine"):
        users = task.normalised(work.users)
        ceiling = task.ceilings(users, items, work.positives, work.num_rows)
        out, rounds = task.fetch_and_filter(work, users, ceiling, find, fetch, deepest, args.batch)
    work.facts["rounds"] = rounds  # [candidates per row, rows]
    work.finish(out, **versions)


def on_cpu(faiss):
    def search(items):
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(items)

        def find(users, fetch, ceiling, excluded, k):
            scores, ids = index.search(users, fetch)
            return task.first_allowed(scores, ids, ceiling, excluded, k)
        return find
    return search


def on_gpu(faiss, versions):
    """Candidates stay on the GPU; only the chosen ids come back."""
    if not hasattr(faiss, "StandardGpuResources") or faiss.get_num_gpus() == 0:
        task.skip("this FAISS has no GPU to use")
    try:
        import torch
        import faiss.contrib.torch_utils  # noqa: F401  lets indexes take and give tensors
    except ImportError:
        task.skip("torch is not installed")
    versions["torch"] = torch.__version__

    def search(items):
        resources = faiss.StandardGpuResources()
        index = faiss.GpuIndexFlatIP(resources, items.shape[1])
        index.add(torch.from_numpy(items).cuda())

        def find(users, fetch, ceiling, excluded, k):
            scores, ids = index.search(torch.from_numpy(users).cuda(), fetch)
            allowed = task.first_allowed_torch(torch, scores, ids, torch.from_numpy(ceiling).cuda(),
                                               torch.from_numpy(excluded).cuda(), k)
            return allowed.cpu().numpy()
        return find
    return search


if __name__ == "__main__":
    main()
