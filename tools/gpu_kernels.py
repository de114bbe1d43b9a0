"""The table of Quarry's own kernels: registers, shared memory, stack and occupancy per architecture.

tools/check_cuda calls it with what ptxas reported; the table is docs/gpu_kernels.txt. A kernel that comes to need more
registers or shared memory changes a line there, so it is seen in review and not first on a GPU.
"""
import argparse
import dataclasses
import re
import sys

WARP = 32


@dataclasses.dataclass(frozen=True)
class Architecture:
    """What one multiprocessor has (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""

    registers: int = 65_536
    register_unit: int = 256  # registers are given to a warp in pieces of so many
    max_registers_of_thread: int = 255
    warp_unit: int = 4  # warps per multiprocessor come in fours: one to each scheduler
    warps: int = 64
    blocks: int = 32
    shared_bytes: int = 0
    shared_unit: int = 128
    shared_of_system: int = 1_024  # per block, since sm_80


ARCHITECTURES = {
    "sm_80": Architecture(shared_bytes=164 * 1024),
    "sm_90a": Architecture(shared_bytes=228 * 1024),
}


def round_up(number, unit):
    return -(-number // unit) * unit


def occupancy(arch, threads, registers, shared_bytes):
    """Share of a multiprocessor's warps that can be resident, and what limits it."""
    a = ARCHITECTURES[arch]
    warps = -(-threads // WARP)
    by_registers = a.registers // round_up(max(registers, 1) * WARP, a.register_unit) // a.warp_unit * a.warp_unit
    limits = {
        "warps": a.warps // warps,
        "blocks": a.blocks,
        "registers": by_registers // warps,
        "shared": a.shared_bytes // (round_up(shared_bytes, a.shared_unit) + a.shared_of_system),
    }
    blocks = min(limits.values())
    limiter = next(name for name, limit in limits.items() if limit == blocks)
    return blocks * warps / a.warps, limiter


@dataclasses.dataclass
class Kernel:
    arch: str
    name: str
    registers: int
    shared: int
    stack: int
    threads: int = 0
    dynamic: bool = False


HEADER = f"{'arch':<7} {'threads':>7} {'regs':>5} {'shared':>7} {'stack':>6} {'occupancy':>9}  {'limit':<9} {'at most':>7}  kernel"


def line_of(kernel, most_dynamic):
    share, limiter = occupancy(kernel.arch, kernel.threads, kernel.registers, kernel.shared)
    least = "-"
    if kernel.dynamic:  # shared memory asked for at the launch: up to the whole of what launch.cuh allows
        least = f"{occupancy(kernel.arch, kernel.threads, kernel.registers, most_dynamic)[0]:.0%}"
    return (f"{kernel.arch:<7} {kernel.threads:>7} {kernel.registers:>5} {kernel.shared:>7} {kernel.stack:>6} "
            f"{share:>9.0%}  {limiter:<9} {least:>7}  {kernel.name}")


def ours(demangled):
    """The kernel's name where it is one of Quarry's own; kernels of Thrust and CUB change with the toolkit."""
    name = re.sub(r"\(.*", "", demangled.removeprefix("void "))
    if not name.startswith("quarry::") or name.startswith("quarry::test::"):
        return None
    return name.removeprefix("quarry::")


def read_report(path):
    """Lines `arch registers shared stack threads dynamic(0|1) demangled name`, as tools/check_cuda writes them."""
    kernels = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            arch, registers, shared, stack, threads, dynamic, name = line.rstrip("\n").split(" ", 6)
            if (own := ours(name)) is not None:
                kernels.append(Kernel(arch, own, int(registers), int(shared), int(stack), int(threads), dynamic == "1"))
    return sorted(kernels, key=lambda k: (k.arch, k.name))


PREFACE = """# Quarry's kernels as {nvcc} compiles them with the flags of cmake/cuda_flags.txt; `tools/check_cuda` compares,
# `tools/check_cuda --update` writes. shared: bytes that are always used. occupancy: resident warps of those that a
# multiprocessor can hold, and what limits it; at most: what is left of it if a row needs all {most} bytes of shared
# memory that a launch may ask for. Computed from the registers; it is not a measurement.
"""


def table(kernels, nvcc, most):
    return PREFACE.format(nvcc=nvcc, most=f"{most:,}") + "\n".join([HEADER] + [line_of(k, most) for k in kernels]) + "\n"


def compare(kernels, text, nvcc, most):
    """What is different from the table, as lines for people; empty if nothing is."""
    wanted = table(kernels, nvcc, most).splitlines()
    found = text.splitlines()
    return [f"  now       {line}" for line in wanted if line not in found] + [
        f"  the table {line}" for line in found if line not in wanted]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report")
    parser.add_argument("file")
    parser.add_argument("--nvcc", required=True, help="version of the compiler")
    parser.add_argument("--dynamic", type=int, required=True, help="bytes of shared memory that a launch may ask for")
    parser.add_argument("--update", action="store_true")
    args = parser.parse_args()
    kernels = read_report(args.report)
    if not kernels:
        sys.exit("gpu_kernels: no kernel of namespace quarry in the report")
    if untold := [k.name for k in kernels if k.threads == 0]:
        sys.exit(f"gpu_kernels: without __launch_bounds__: {', '.join(untold)}")
    if args.update:
        with open(args.file, "w", encoding="utf-8") as file:
            file.write(table(kernels, args.nvcc, args.dynamic))
        return
    with open(args.file, encoding="utf-8") as file:
        text = file.read()
    if not text.startswith(f"# Quarry's kernels as {args.nvcc} compiles them"):
        print(f"gpu_kernels: {args.file} was made with another nvcc than {args.nvcc}; not compared")
        return
    if differences := compare(kernels, text, args.nvcc, args.dynamic):
        print("\n".join([HEADER.rjust(12 + len(HEADER))] + differences))
        sys.exit(f"gpu_kernels: {args.file} is out of date; tools/check_cuda --update, and look at what changed")


if __name__ == "__main__":
    main()
