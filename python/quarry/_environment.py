"""What the system's OpenMP and BLAS read from the environment when they are loaded, which is when the compiled part is imported."""
from __future__ import annotations

import contextlib
import os
import platform
from typing import Iterator


def blas_kernels(flags: str, machine: str) -> str | None:
    """Of OpenBLAS, for a processor with these flags (of /proc/cpuinfo): those that the program asks for (tools/quarry/blas.cpp). None: its own
    choice. An OpenBLAS that is older than its processor takes its oldest ones otherwise, which mine half as fast; it says so only once it is
    loaded. What a newer one would choose has the same kernels for matrices of fp32, or nearly."""
    known = set(flags.split())
    if machine != "x86_64" or not {"avx2", "fma"} <= known:
        return None
    return "SkylakeX" if {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= known else "Haswell"


def _flags() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return next((line.partition(":")[2] for line in file if line.startswith("flags")), "")
    except OSError:
        return ""


@contextlib.contextmanager
def for_the_library() -> Iterator[None]:
    """Sets what was not asked for otherwise, and takes it back: other libraries and child processes are none of ours."""
    wanted = {}
    # OpenMP's threads wait for each other by spinning unless they are told not to. Where processors are shared, or rationed as in a container,
    # a batch of a millisecond then takes a hundred.
    if "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ:
        wanted["OMP_WAIT_POLICY"] = "passive"
    kernels = blas_kernels(_flags(), platform.machine())
    if kernels is not None and "OPENBLAS_CORETYPE" not in os.environ:
        wanted["OPENBLAS_CORETYPE"] = kernels
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name in wanted:
            del os.environ[name]
