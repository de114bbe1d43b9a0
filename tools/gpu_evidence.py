"""What tools/gpu_check and tools/verify_evidence share: the kernels of the tree, hashes of their sources and of their
PTX, the evidence files of bench/results/gpu, and what each file proves. docs/gpu.md says it in words."""
import argparse
import collections
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
EVIDENCE = ROOT / "bench/results/gpu"
PINNED = ROOT / "tests/golden/cases.txt"
FLAGS = ROOT / "cmake/cuda_flags.txt"
FORMAT, SCHEMA = "quarry.gpu_evidence", 2
STEPS = ("golden", "tests", "sanitizers", "matrix", "ladder", "huge", "bench")
STATES = ("passed", "failed", "timed out", "unavailable", "not run")
SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")
CASE_FIELDS = ("name", "seeds", "inputs", "ids", "scores", "reasons")


class EvidenceError(Exception):
    """Something that a person must put right; the text says what."""


class Parser(argparse.ArgumentParser):
    """Of a tool whose --help is its description; a wrong argument gets one line."""

    def __init__(self, tool):
        super().__init__(prog=tool, add_help=False, allow_abbrev=False)

    def error(self, message):
        self.exit(2, f"{self.prog}: {message}; tools/{self.prog} --help\n")


# --- the flags of the kernels


@functools.lru_cache(maxsize=None)
def flags():
    """Those of cmake/cuda_flags.txt, which CMake builds with."""
    found = tuple(line.strip() for line in FLAGS.read_text(encoding="utf-8").splitlines() if line.startswith("-"))
    if not found:
        raise EvidenceError(f"{FLAGS} holds no flags")
    return found


def check_built_flags(folder):
    """Raises unless a configured build compiles each kernel with exactly those flags, whatever CUDAFLAGS or a cache
    added. Paths, architectures, warnings and macros of other libraries change no bit."""
    for name in ("NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"):
        if os.environ.get(name):
            raise EvidenceError(f"{name} is set, and nvcc reads it: unset it")
    harmless = re.compile(r"-forward-unknown-to-host-compiler|-D(FMT|SPDLOG|GTEST)_\S*|-I\S*|-isystem=?\S*|-ccbin=?\S*"
                          r"|-Xcompiler=(-fPIC|-W\S*)|-Werror=all-warnings|--generate-code=\S*|-MD")
    with_value = ("-o", "-c", "-x", "-MT", "-MF", "-isystem", "-I", "-ccbin")
    commands = json.loads((pathlib.Path(folder) / "compile_commands.json").read_text())
    for entry in commands:
        file = os.path.relpath(entry["file"], ROOT)
        if file not in cuda_files():
            continue
        words, left = shlex.split(entry["command"]), []
        words = words[next(i for i, word in enumerate(words) if word.startswith("-")):]
        while words:
            word = words.pop(0)
            if word in with_value:
                words.pop(0)
            elif not harmless.fullmatch(word):
                left.append(word)
        if set(left) != set(flags()):
            odd = [f"{word} is not in it" for word in left if word not in flags()]
            odd += [f"{word} is missing" for word in flags() if word not in left]
            raise EvidenceError(f"{file} is not compiled with the flags of cmake/cuda_flags.txt: {', '.join(odd)}")


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
    libraries = [name for name in found if name.startswith("thrust:")]
    if len(libraries) > 1:  # their launches are counted together
        raise EvidenceError(f"{' and '.join(libraries)}: whose library kernels were launched cannot be told apart; "
                            "put them into one file, or teach tools/gpu_evidence.py")
    if not found:
        raise EvidenceError("no kernel found in kernels/ and index/")
    return dict(sorted(found.items(), key=lambda item: (item[1][0], item[0])))


def sources_hash(name):
    """SHA-256 of the code and the flags that a kernel is compiled from; comments do not count."""
    digest = hashlib.sha256(" ".join(flags()).encode())
    for file in sorted({f for unit in kernels()[name][1] for f in closure(unit)}):
        digest.update(b"\0" + file.encode() + b"\0" + code_of(file).encode())
    return digest.hexdigest()


def tree_hash():
    """SHA-256 of all that decides results and tests of them, and of how it is built."""
    digest = hashlib.sha256()
    paths = [ROOT / "CMakeLists.txt", ROOT / "CMakePresets.json"]
    for folder in ("kernels", "index", "host", "tests", "tools/quarry", "tools/demo", "cmake"):
        paths += [path for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and (
            folder == "cmake" or path.suffix in (".cu", ".cuh", ".h", ".cpp", ".txt"))]
    for path in paths:
        text = path.read_bytes() if path.is_file() else b""
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + text + b"\0")
    return digest.hexdigest()


def file_hash(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


def pinned():
    return PINNED.read_text(encoding="utf-8").splitlines()


def unlike_pinned(names, lines=None):
    """How names of cases differ from those that pinned lines count; None if they do not."""
    twice = [name for name, times in collections.Counter(names).items() if times > 1]
    if twice:
        return f"{twice[0]} is there more than once"
    wanted = {line.split(" ")[0]: int(line.split(" ")[1]) for line in (pinned() if lines is None else lines)}
    seen = collections.Counter(name.split("/")[0] for name in names)
    for family in sorted(set(wanted) | set(seen)):
        if seen[family] != wanted.get(family, 0):
            return f"{seen[family]} cases of {family} instead of {wanted.get(family, 0)}"
    return None


# --- PTX


def find_program(named, what):
    """A program by path or by name, as a shell finds it."""
    found = shutil.which(named)
    if found is None:
        raise EvidenceError(f"{what} is {named!r}, and there is no such program")
    return found


def find_nvcc():
    """CUDACXX as CMake reads it, else the one on PATH, else where the toolkit installs it; None without one."""
    named = os.environ.get("CUDACXX")
    if named:
        return find_program(named, "CUDACXX")
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


@functools.lru_cache(maxsize=None)
def nvcc_version(nvcc):
    try:
        run = subprocess.run([nvcc, "--version"], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EvidenceError(f"{nvcc} --version: {error}") from error
    found = re.search(r"release [\d.]+, V([\d.]+)", run.stdout)
    if run.returncode != 0 or not found:
        raise EvidenceError(f"{nvcc} --version does not say its version (exit code {run.returncode}): is it nvcc? "
                            "CUDACXX, if set, must name nvcc")
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
    """{kernel: SHA-256 of its flags and normalised PTX} of one file, kept in build/ptx under what it was compiled from.
    Flags count by themselves: not all of them leave a trace in PTX."""
    digest = hashlib.sha256(" ".join((nvcc_version(nvcc), architecture) + flags()).encode())
    for file in closure(unit):
        digest.update(b"\0" + file.encode() + b"\0" + code_of(file).encode())
    kept = ROOT / "build/ptx" / (digest.hexdigest() + ".json")
    if kept.is_file():
        return json.loads(kept.read_text())
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.ptx")
        command = [nvcc, *flags(), "-I.", f"-arch=compute_{architecture}", "-ptx", unit, "-o", out]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300,
                             env={k: v for k, v in os.environ.items() if not re.match("NVCC_.*_FLAGS", k)})
        if run.returncode != 0:
            raise EvidenceError(f"{unit} does not compile for {architecture}:\n{run.stdout}{run.stderr}")
        parts = split_ptx(pathlib.Path(out).read_text(), unit)
    before = " ".join(flags()) + "\0"
    hashes = {name: hashlib.sha256((before + text).encode()).hexdigest() for name, text in sorted(parts.items())}
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


def pairs_once(pairs):
    """An object of JSON, in which a key stands once."""
    for key, number in collections.Counter(key for key, _ in pairs).items():
        if number > 1:
            raise ValueError(f"the key {key!r} stands {number} times in an object")
    return dict(pairs)


def load(path):
    """One evidence file. Whatever is not as tools/gpu_check writes it is an error that names file and field."""
    def fail(why):
        raise EvidenceError(f"{path}: {why}")

    def must(ok, field, value, what):
        if not ok:
            fail(f"{field} is {json.dumps(value)[:120]}; it must be {what}")

    def text(holder, field, key, pattern, what):
        value = holder.get(key)
        must(type(value) is str and re.fullmatch(pattern, value), f"{field}{key}", value, what)

    def kind(holder, field, key, wanted):
        must(type(holder.get(key)) is wanted, f"{field}{key}", holder.get(key),
             {dict: "an object", list: "a list", bool: "true or false"}[wanted])

    def number(value, field):
        must(type(value) is int and value >= 0, field, value, "a whole number, 0 or more")

    try:
        run = json.loads(pathlib.Path(path).read_text(encoding="utf-8"), object_pairs_hook=pairs_once)
    except (OSError, ValueError, RecursionError) as error:
        fail(f"is not JSON ({error}); it was cut off or edited: take it from the machine that wrote it once more")
    if type(run) is not dict or run.get("format") != FORMAT:
        fail(f'is no evidence: its "format" is not "{FORMAT}"')
    if type(run.get("schema")) is not int or run["schema"] != SCHEMA:
        fail(f"has schema {run.get('schema')!r}, this tree reads schema {SCHEMA}; use the tools that wrote it, or run "
             "tools/gpu_check of this tree again")
    sha256, hash64 = "[0-9a-f]{64}", "[0-9a-f]{16}"
    text(run, "", "date", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "a time like 2026-01-02T03:04:05+00:00")
    text(run, "", "nvcc", r"\d+(\.\d+)+", "a version like 13.0.88")
    text(run, "", "tree_sha256", sha256, "a SHA-256")
    for key, wanted in (("complete", bool), ("device", dict), ("golden", list), ("steps", dict), ("sanitizers", dict),
                        ("kernels", dict), ("library", dict), ("programs", dict), ("cases", list)):
        kind(run, "", key, wanted)
    for key, wanted in (("tests", dict), ("matrix", dict), ("ladder", list), ("huge", dict), ("timings", dict)):
        if key in run:
            kind(run, "", key, wanted)
    text(run["device"], "device.", "name", r"[\w .,:()/+-]+", "what the device is called")
    text(run["device"], "device.", "driver", r"[\w.]+", "the version of the driver")
    text(run["device"], "device.", "compute_capability", r"\d+\.\d", "a number like 9.0")
    wanted = architecture_of(run["device"]["compute_capability"])
    must(run.get("architecture") == wanted, "architecture", run.get("architecture"),
         f"that of the device, {wanted}")
    must("golden" in run["programs"], "programs", run["programs"], "an object with golden in it")
    for name in run["programs"]:
        text(run["programs"], "programs.", name, sha256, "a SHA-256")
    for what, known in (("steps", STEPS), ("sanitizers", SANITIZERS)):
        for name, result in run[what].items():
            must(name in known, what, name, f"one of {', '.join(known)}")
            must(type(result) is dict, f"{what}.{name}", result, "an object")
            must(result.get("state") in STATES, f"{what}.{name}.state", result.get("state"),
                 f"one of {', '.join(STATES)}")
            must(type(result.get("why", "")) is str, f"{what}.{name}.why", result.get("why"), "text")
    for i, line in enumerate(run["golden"]):
        must(type(line) is str and re.fullmatch(rf"[^ ]+ \d+ {hash64}", line), f"golden[{i}]", line,
             "a line of tests/golden/cases.txt")
    for name, kernel in run["kernels"].items():
        must(type(kernel) is dict, f"kernels.{name}", kernel, "an object")
        number(kernel.get("launches"), f"kernels.{name}.launches")
        for key in ("sources", "ptx"):
            text(kernel, f"kernels.{name}.", key, sha256, "a SHA-256")
        if name.startswith("thrust:"):
            must(kernel["launches"] == sum(n for n in run["library"].values() if type(n) is int),
                 f"kernels.{name}.launches", kernel["launches"], "the sum of library")
    for name, launches in run["library"].items():
        number(launches, f"library.{name}")
    passed = run["steps"].get("golden", {}).get("state") == "passed"
    for i, case in enumerate(run["cases"]):
        field = f"cases[{i}]"
        must(type(case) is dict, field, case, "an object")
        for key in CASE_FIELDS:
            text(case, field + ".", key, "[^ ]+" if key in ("name", "seeds") else hash64, "there, as golden prints it")
        kind(case, field + ".", "equal", bool)
        if passed and not case["equal"]:
            fail(f"{field}.equal is false ({case['name']}), yet steps.golden.state is passed")
    for field, names in (("golden", [line.split(" ")[0] for line in run["golden"]]),
                         ("cases", [case["name"] for case in run["cases"]])):
        twice = [name for name, times in collections.Counter(names).items() if times > 1]
        if twice:
            fail(f"{field} holds {twice[0]} more than once")
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
