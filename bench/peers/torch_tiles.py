"""torch: scores of a batch of rows with a tile of items, masks, topk, and a merge over the tiles."""
import numpy as np

import task


def main():
    parser = task.arguments(__doc__)
    parser.add_argument("--batch", type=int, default=0, help="rows at once; 0: 1,024 on a CPU, 4,096 on a GPU")
    parser.add_argument("--tile", type=int, default=0, help="items at once; 0: 8,192 on a CPU, 65,536 on a GPU")
    args = parser.parse_args()
    try:
        import torch
    except ImportError:
        task.skip("torch is not installed")
    if args.device == "cuda" and not torch.cuda.is_available():
        task.skip("this torch has no GPU to use")
    torch.set_num_threads(args.threads)
    gpu = args.device == "cuda"
    batch, tile = args.batch or (4096 if gpu else 1024), args.tile or (65536 if gpu else 8192)
    work = task.Task(args)
    with work.clock("build"):
        items = torch.nn.functional.normalize(torch.from_numpy(work.items).to(args.device), dim=1)
        items_t = items.T.contiguous()
    with work.clock("mine"), torch.inference_mode():
        users = torch.nn.functional.normalize(torch.from_numpy(work.users).to(args.device), dim=1)
        ceiling = ceilings(torch, users, items, work, args.device)
        out = torch.full((work.num_rows, args.k), -1, dtype=torch.int64)
        for begin, end in task.even_parts(work.num_rows, batch):
            excluded = work.excluded_of(begin, end)
            excluded = excluded[np.argsort(excluded & 0xFFFFFFFF, kind="stable")]  # by item, to cut them into tiles
            excluded_item = excluded & 0xFFFFFFFF
            pairs = torch.from_numpy(excluded).to(args.device)
            best_scores, best_ids = [], []
            for low in range(0, work.num_items, tile):
                scores = users[begin:end] @ items_t[:, low:low + tile]
                scores.masked_fill_(scores >= ceiling[begin:end, None], -torch.inf)
                first, last = np.searchsorted(excluded_item, [low, low + tile])
                here = pairs[first:last]
                scores[here >> 32, (here & 0xFFFFFFFF) - low] = -torch.inf
                found, place = torch.topk(scores, min(args.k, scores.shape[1]), dim=1)
                best_scores.append(found)
                best_ids.append(place + low)
            scores, place = torch.topk(torch.cat(best_scores, dim=1), min(args.k, work.num_items), dim=1)
            ids = torch.cat(best_ids, dim=1).gather(1, place)
            out[begin:end, :ids.shape[1]] = ids.masked_fill_(scores == -torch.inf, -1).cpu()
    work.facts["tiles"] = {"rows": batch, "items": tile}
    work.finish(out.numpy(), torch=torch.__version__)


def ceilings(torch, users, items, work, device):
    """task.ceilings where the vectors are."""
    lowest = torch.full((work.num_rows,), torch.inf, device=device)
    pairs = torch.from_numpy(work.positives).to(device)
    for part in pairs.split(1 << 18):
        row, item = part >> 32, part & 0xFFFFFFFF
        lowest.scatter_reduce_(0, row, (users[row] * items[item]).sum(dim=1), "amin")
    return torch.where(lowest.isinf(), lowest, lowest - (1 - task.RATIO) * lowest.abs())


if __name__ == "__main__":
    main()
