#!/usr/bin/env python3
"""clang-tidy over the sources, as `tests/run --lint` runs it; prints each fault once and ends with 1 if there are any.

usage: clang_tidy.py [--build DIR] [--jobs N] [PATH...]     (default: every compiled source; PATH: those whose name begins so)

The tool is the clang-tidy of tests/tidy/requirements.txt, fetched once from PyPI into ~/.cache/atelier (ATELIER_CLANG_TIDY
names another): it does not look for faults in the system's headers, of which torch has many, and so takes a sixth of the
time of Debian's. Sources that the build compiles at once (ATELIER_UNITY) are
looked at at once: most of the time goes into the headers that they share. A group whose text, headers and .clang-tidy
were found clean before is not looked at again (BUILD/clang-tidy/clean).
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

import compile_commands

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAULT = re.compile(r"^(/[^:]+):(\d+):\d+: (?:error|warning): (.*)$", re.M)
GCC_ONLY = {"-fpch-preprocess", "-Winvalid-pch", "-Wno-maybe-uninitialized"}


def tool():
    """The path of the pinned clang-tidy, fetched if it is not there."""
    if os.environ.get("ATELIER_CLANG_TIDY"):
        return os.environ["ATELIER_CLANG_TIDY"]
    requirements = pathlib.Path(__file__).with_name("requirements.txt")
    version = re.search(r"clang-tidy==(\S+)", requirements.read_text())[1]
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "atelier"
    folder = cache / f"clang-tidy-{version}"
    if not folder.is_dir():  # x86_64's; for another machine the file needs another hash
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as part:
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--target",
                            f"{part}/files", "-r", str(requirements)], check=True)
            if not folder.is_dir():
                os.rename(f"{part}/files", folder)
    return str(folder / "clang_tidy" / "data" / "bin" / "clang-tidy")


def clang_commands(build):
    """The build's own compile commands, ours only, in clang's words."""
    out = []
    for entry in compile_commands.compiled(build):
        sources = [pathlib.Path(s) for s in compile_commands.sources_of(entry)]
        if any(not s.is_relative_to(ROOT) or s.is_relative_to(build) or s.suffix != ".cc" for s in sources):
            continue
        words = [w for w in shlex.split(entry["command"]) if w not in GCC_ONLY]
        words[0] = "clang++"
        out.append({"directory": entry["directory"], "file": entry["file"], "sources": [str(s) for s in sources],
                    "object": words[words.index("-o") + 1],
                    "command": shlex.join(words + ["-Wno-error"])})
    return out


def includes(build):
    """What each object file was made of when it was last compiled, as ninja has it: object -> files of the checkout."""
    found, current = {}, []
    for line in subprocess.check_output(["ninja", "-C", str(build), "-t", "deps"], text=True).splitlines():
        if line.startswith("    "):
            path = pathlib.Path(os.path.normpath(build / line.strip()))
            if path.is_relative_to(ROOT):
                current.append(path)
        elif ": #deps" in line:
            current = found.setdefault(line.split(":")[0], [])
    return found


def state_of(entry, included, checks):
    """A hash of all that a verdict depends on: the sources and what of the checkout they include, the checks, the tool."""
    seen = hashlib.sha256(checks)
    for path in sorted({*map(pathlib.Path, entry["sources"]), *included[entry["object"]]}):
        seen.update(path.read_bytes() if path.is_file() else b"")
    return seen.hexdigest()


def look(entry, work, clang_tidy):
    together = [f"--header-filter={ROOT}/(common|master|worker|tests)/", "--checks=-bugprone-suspicious-include"]
    folder = ROOT / "tests" if entry["sources"][0].startswith(f"{ROOT}/tests/") else ROOT
    words = [f"--config-file={folder}/.clang-tidy", *(together if entry["file"] not in entry["sources"] else [])]
    done = subprocess.run([clang_tidy, "-p", str(work), "--quiet", *words, entry["file"]], capture_output=True, text=True)
    faults = {f"{pathlib.Path(m[1]).relative_to(ROOT) if m[1].startswith(str(ROOT)) else m[1]}:{m[2]}: {m[3]}"
              for m in FAULT.finditer(done.stdout + done.stderr)}
    if done.returncode != 0 and not faults:
        faults = {f"{entry['file']}: clang-tidy ended with {done.returncode}: {done.stderr.strip()[-300:]}"}
    return entry, sorted(faults)


def checks_hash(clang_tidy):
    seen = hashlib.sha256(str(clang_tidy).encode())
    for path in (ROOT / ".clang-tidy", ROOT / "tests" / ".clang-tidy"):
        seen.update(path.read_bytes())
    return seen.digest()


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("paths", nargs="*")
    options = parser.parse_args()
    build = options.build.resolve()
    work = build / "clang-tidy"
    work.mkdir(exist_ok=True)
    clang_tidy = tool()
    entries = clang_commands(build)
    known = ("directory", "file", "command")  # with another key clang-tidy would look further up
    (work / "compile_commands.json").write_text(json.dumps([{key: e[key] for key in known} for e in entries]))
    included, checks = includes(build), checks_hash(clang_tidy)
    clean_file = work / "clean"
    clean = set(clean_file.read_text().split()) if clean_file.exists() else set()
    wanted = [e for e in entries
              if not options.paths or any(os.path.relpath(s, ROOT).startswith(p) for s in e["sources"] for p in options.paths)]
    states = {e["file"]: state_of(e, included, checks) for e in wanted if e["object"] in included}
    left = [e for e in wanted if states.get(e["file"]) not in clean]
    count = [sum(len(e["sources"]) for e in entries) for entries in (wanted, [e for e in wanted if e not in left])]
    print(f"clang-tidy: {count[0]} files, {count[1]} of them known to be clean", file=sys.stderr)
    left.sort(key=lambda e: -len(e["sources"]))
    told = set()
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for entry, faults in pool.map(lambda e: look(e, work, clang_tidy), left):
            if not faults and entry["file"] in states:
                with clean_file.open("a") as out:
                    out.write(states[entry["file"]] + "\n")
            for fault in faults:
                if fault not in told:
                    print(fault, flush=True)
                told.add(fault)
    print(f"clang-tidy: {len(told)} faults", file=sys.stderr)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
