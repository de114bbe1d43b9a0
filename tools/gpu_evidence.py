"""What tools/gpu_check and tools/verify_evidence share: the kernels of the tree, hashes of their sources and of their
PTX, the evidence files of bench/results/gpu, and what each file proves. docs/gpu.md says it in words."""
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVIDENCE = ROOT / "bench/results/gpu"
PINNED = ROOT / "tests/golden/cases.txt"
FORMAT, SCHEMA = "quarry.gpu_evidence", 1
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
CASE_FIELDS = ("name", "seeds", "inputs", "ids", "scores", "reasons")
# As in cmake/QuarryCuda.cmake, without warnings.
PTX_FLAGS = ("-std=c++20", "-O2", "-DNDEBUG", "--fmad=false", "-DQUARRY_HAS_CUDA", "-Xcompiler=-ffp-contract=off")


class EvidenceError(Exception):
    """Something that a person must put right; the text says what."""


# --- the kernels of the tree


def cuda_files():
    return sorted(str(p.relative_to(ROOT)) for folder in ("kernels", "index") for p in (ROOT / folder).rglob("*.cu"))


@functools.lru_cache(maxsize=None)
def code_of(path):
    """The text of a file without comments and without differences of white space; strings stay as they are."""
    text = (ROOT / path).read_text(encoding="utf-8")
    token = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|\s+', re.S)

    def kept(match):
        return match.group() if match.group()[0] in "\"'" else " "

    return re.sub(r" +", " ", token.sub(kept, text)).strip()


@functools.lru_cache(maxsize=None)
def closure(path):
    """A file and all of this tree that it includes, sorted."""
    seen, todo = set(), [path]
    while todo:
        at = todo.pop()
        if at in seen or not (ROOT / at).is_file():
            continue
        seen.add(at)
        todo += re.findall(r'#\s*include "([^"]+)"', (ROOT / at).read_text(encoding="utf-8"))
    return tuple(sorted(seen))


def library_name(file):
    """Thrust and CUB kernels of one file: a hundred instantiations that nobody names."""
    return "thrust:" + pathlib.Path(file).stem.replace("_gpu", "")


@functools.lru_cache(maxsize=None)
def kernels():
    """{name: (file where it is written, .cu files that compile it)} of every kernel, in the order of files."""
    pattern = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(")
    found = {}
    for unit in cuda_files():
        own = False
        for file in closure(unit):
            if not file.endswith((".cu", ".cuh")):
                continue
            names = pattern.findall(code_of(file))
            if len(names) != len(re.findall(r"\b__global__\b", code_of(file))):  # one left out would never be missed
                raise EvidenceError(f"{file}: a kernel is not written as '__global__ void name(' or '__global__ void "
                                    "__launch_bounds__(...) name('; write it so, or teach tools/gpu_evidence.py")
            for name in names:
                own = True
                was_in, units = found.get(name, (file, ()))
                if was_in != file:
                    raise EvidenceError(f"two kernels are called {name}: in {was_in} and in {file}; rename one of them")
                found[name] = (file, units + (unit,))
        if not own and any("<thrust/" in code_of(f) or "<cub/" in code_of(f) for f in closure(unit)):
            found[library_name(unit)] = (unit, (unit,))
    if not found:
        raise EvidenceError("no kernel found in kernels/ and index/")
    return dict(sorted(found.items(), key=lambda item: (item[1][0], item[0])))


def sources_hash(name):
    """SHA-256 of the code and the flags that a kernel is compiled from; comments do not count."""
    digest = hashlib.sha256(" ".join(PTX_FLAGS).encode())
    for file in sorted({f for unit in kernels()[name][1] for f in closure(unit)}):
        digest.update(b"\0" + file.encode() + b"\0" + code_of(file).encode())
    return digest.hexdigest()


def tree_hash():
    """SHA-256 of all that decides results and tests of them."""
    digest = hashlib.sha256()
    for folder in ("kernels", "index", "host", "tests", "tools/quarry", "tools/demo"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".cu", ".cuh", ".h", ".cpp", ".txt"):
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def pinned():
    return PINNED.read_text(encoding="utf-8").splitlines()


# --- PTX


def find_nvcc():
    """CUDACXX as CMake reads it, else the one on PATH, else where the toolkit installs it; None without one."""
    found = os.environ.get("CUDACXX") or shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    return found if os.access(found, os.X_OK) else None


@functools.lru_cache(maxsize=None)
def nvcc_version(nvcc):
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"release [\d.]+, V([\d.]+)", text)
    if not found:
        raise EvidenceError(f"{nvcc} --version does not say its version")
    return found.group(1)


def normalised(ptx):
    """Without comments and without what the compiler makes of a file's path."""
    lines = (re.sub(r"//.*", "", line).strip() for line in ptx.splitlines())
    return re.sub(r"(_INTERNAL_|_GLOBAL__N__)[0-9a-f]{8}(_\d+_\w+?_cu_)[0-9a-f]{8}", r"\1X\2X",
                  "\n".join(line for line in lines if line))


def kernel_of(mangled, unit):
    """The name of a kernel in kernels() by the name of an entry point."""
    parts, at = [], re.match(r"_ZN?", mangled)
    at = at.end() if at else 0
    while match := re.match(r"\d+", mangled[at:]):
        at += match.end()
        parts.append(mangled[at:at + int(match.group())])
        at += int(match.group())
    return parts[-1] if parts and parts[-1] in kernels() else library_name(unit)


def split_ptx(ptx, unit):
    """{kernel: text}: its entry points, and what stands outside of all entry points of the file."""
    shared, entries, entry = [], {}, None
    for line in normalised(ptx).splitlines():
        start = re.match(r"(?:\.visible |\.weak )?\.entry (\w+)", line)
        if start:
            entry, depth, opened = entries.setdefault(kernel_of(start.group(1), unit), []), 0, False
        if entry is None:
            shared.append(line)
            continue
        entry.append(line)
        depth += line.count("{") - line.count("}")
        opened = opened or "{" in line
        if opened and depth == 0:
            entry = None
    return {name: "\n".join(shared + lines) for name, lines in entries.items()}


def compile_ptx(nvcc, unit, architecture):
    """{kernel: SHA-256 of its normalised PTX} of one file. Kept in build/ptx under what it was compiled from."""
    digest = hashlib.sha256(" ".join((nvcc_version(nvcc), architecture) + PTX_FLAGS).encode())
    for file in closure(unit):
        digest.update(b"\0" + file.encode() + b"\0" + code_of(file).encode())
    kept = ROOT / "build/ptx" / (digest.hexdigest() + ".json")
    if kept.is_file():
        return json.loads(kept.read_text())
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.ptx")
        command = [nvcc, *PTX_FLAGS, "-I.", f"-arch=compute_{architecture}", "-ptx", unit, "-o", out]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        if run.returncode != 0:
            raise EvidenceError(f"{unit} does not compile for {architecture}:\n{run.stdout}{run.stderr}")
        parts = split_ptx(pathlib.Path(out).read_text(), unit)
    hashes = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in sorted(parts.items())}
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(hashes))
    return hashes


def ptx_hashes(nvcc, architecture):
    """{kernel: SHA-256} of the tree; a kernel that several files compile gets one hash of all."""
    parts = {}
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for unit, hashes in zip(cuda_files(), pool.map(lambda u: compile_ptx(nvcc, u, architecture), cuda_files())):
            for name, value in hashes.items():
                parts.setdefault(name, []).append(f"{unit} {value}")
    return {name: values[0].split()[1] if len(values) == 1 else hashlib.sha256("\n".join(values).encode()).hexdigest()
            for name, values in parts.items()}


def architecture_of(compute_capability):
    """As the presets compile: the features of Hopper belong to sm_90a."""
    number = compute_capability.replace(".", "")
    return "90a" if number == "90" else number


# --- evidence files


def write_atomically(path, text):
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def evidence_text(evidence):
    """JSON with a line per case and per kernel, so that files can be read and compared."""
    lines = []
    for key, value in evidence.items():
        if key == "cases":
            text = "[\n" + ",\n".join("    " + json.dumps(case) for case in value) + "\n  ]"
        elif key == "kernels":
            text = "{\n" + ",\n".join(f"    {json.dumps(n)}: {json.dumps(k)}" for n, k in value.items()) + "\n  }"
        else:
            text = json.dumps(value, indent=2).replace("\n", "\n  ")
        lines.append(f"  {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def load(path):
    """One evidence file, checked for what the code below reads of it."""
    def fail(why):
        raise EvidenceError(f"{path}: {why}")

    try:
        run = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        fail(f"is not JSON ({error}); it was cut off or edited: take it from the machine that wrote it once more")
    if not isinstance(run, dict) or run.get("format") != FORMAT:
        fail(f'is no evidence: its "format" is not "{FORMAT}"')
    if run.get("schema") != SCHEMA:
        fail(f"has schema {run.get('schema')!r}, this tree reads schema {SCHEMA}; use the tools that wrote it, or run "
             "tools/gpu_check of this tree again")
    types = {"date": str, "device": dict, "nvcc": str, "architecture": str, "golden": list, "steps": dict,
             "kernels": dict, "cases": list, "sanitizers": dict}
    for key, kind in types.items():
        if not isinstance(run.get(key), kind):
            fail(f"has no {key}, or not as {kind.__name__}")
    if not isinstance(run["device"].get("name"), str):
        fail("does not say on which device it ran")
    for case in run["cases"]:
        if not isinstance(case, dict) or any(not isinstance(case.get(f), str) for f in CASE_FIELDS):
            fail(f"has a case without {', '.join(CASE_FIELDS)}: {case!r}"[:300])
    for name, kernel in run["kernels"].items():
        if not isinstance(kernel, dict) or not isinstance(kernel.get("launches"), int) or any(
                not re.fullmatch("[0-9a-f]{64}", str(kernel.get(f))) for f in ("sources", "ptx")):
            fail(f"has a kernel {name} without launches and SHA-256 of sources and ptx")
    for step, result in list(run["steps"].items()) + list(run["sanitizers"].items()):
        if not isinstance(result, dict) or not isinstance(result.get("state"), str):
            fail(f"has a step or sanitizer {step} without a state")
    run["path"] = str(path)
    return run


def newest_runs(folder):
    """The newest evidence of each device, by device; older files are history."""
    newest = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        run = load(path)
        device = run["device"]["name"]
        if device not in newest or run["date"] > newest[device]["date"]:
            newest[device] = run
    return [newest[device] for device in sorted(newest)]


def complaints(run):
    """What went wrong in a run, by its own record. What was not run or refused by the platform is no complaint, and
    nowhere counts as passed; nor is a slow sanitizer. Anything else that does not end may be a kernel that hangs."""
    found = []
    for step, result in run["steps"].items():
        if result["state"] == "failed" or (result["state"] == "timed out" and step not in ("sanitizers", "bench")):
            found.append(f"{step} {result['state']}: {result.get('why', '')}".rstrip(": "))
    for tool, result in run["sanitizers"].items():
        if result["state"] == "failed":
            found.append(f"{tool} failed: {result.get('why', '')}".rstrip(": "))
    if run["steps"].get("golden", {}).get("state") != "passed":
        if not any(text.startswith("golden ") for text in found):
            found.append("the golden cases were not run to their end")
    elif not run["cases"]:
        found.append("it says that the golden cases passed, and holds none")
    return found
