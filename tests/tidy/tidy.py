#!/usr/bin/env python3
"""What a reviewer would tire of, as a test: one function a rule, each yielding "path:line: fault; remedy".

usage: tidy.py [--root DIR] [--build DIR] [RULE...]     (default: every rule; --build lets the compiled-files rule look)
       tidy.py --self-test                              (every rule finds the fault planted for it)
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import compile_commands

LINES_MAX = 800
# Files that were longer when the rule came; they may only shrink.
RATCHET = {"common/graph/convert.cc": 1150}
TORCH = re.compile(r'#include\s*[<"](ATen|c10|torch)/')
WIRE = re.compile(r'#include\s*[<"](google/protobuf|grpc|grpcpp|spdlog|absl/log)|\.pb\.h[>"]')
# Pattern, where it may stand, and what to use instead.
BANNED = [
    (r"\bsleep_for\b|\bsleep_until\b|\busleep\s*\(|\bnanosleep\s*\(|[^_\w]sleep\s*\(\s*\d", None,
     "wait on a condition variable or an event, never for time to pass"),
    (r"torch/torch\.h|torch/nn\.h|torch/extension\.h", None, "include <ATen/ATen.h>, the precompiled header"),
    (r"#include\s*[<\"]nlohmann/", r"^common/json/", "include common/json/json.h, which bounds what it reads"),
    (r"#include\s*[<\"]yaml-cpp/", r"^common/config/yaml_tree\.cc$", "use common/config/yaml_tree.h"),
    (r"#include\s*[<\"]lib(av|sw)\w+/", r"^worker/media/", "ask atelier-media (common/media), or the headers of worker/media"),
    (r"#include\s*[<\"]absl/status/", r"^common/base/status\.h$", "include common/base/status.h"),
    (r"\.detach\(\)\s*;", None, "join every thread: one that outlives main reads what is gone"),
    (r"\b(TODO|FIXME|XXX)\b", None, "do it, or write an issue"),
    (r"(?<!at::)\b(rand|srand)\s*\(", None, "take numbers from a seeded generator that was handed in"),
    (r"\bstrcpy\s*\(|\bsprintf\s*\(|\bgets\s*\(|\bstrtok\s*\(", None, "use std::string and Cat"),
]
# A tensor's detach() is no thread's.
TENSOR_FOLDERS = re.compile(r"^worker/(engine|models|nodes|sampling|text|upscale)/")
PURE = re.compile(r"^(master/(planner|control|policy)|common/(graph|executor))/")
IMPURE = re.compile(r"#include\s*<(thread|chrono|fstream|iostream|filesystem|random|mutex|condition_variable|future|sys/socket\.h|unistd\.h|fcntl\.h)>")
# What stands beside the pure part of a module: files that hand in what is committed, by the path they are given.
PURE_MAY = {"common/graph/schema.cc": {"fstream"}, "common/graph/widgets.cc": {"fstream"}}


def code(text):
    """The text with comments and string literals blanked, line for line."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


class Tree:
    def __init__(self, root, build=None):
        self.root = pathlib.Path(root)
        self.build = build
        if (self.root / ".git").exists():
            listed = subprocess.check_output(["git", "-C", str(self.root), "ls-files", "-co", "--exclude-standard"], text=True)
            self.names = sorted({n for n in listed.splitlines() if (self.root / n).is_file()})
        else:
            self.names = sorted(str(p.relative_to(self.root)) for p in self.root.rglob("*") if p.is_file())
        self.texts = {}

    def sources(self, *ends):
        for name in self.names:
            if name.endswith(ends or (".cc", ".h")):
                yield name, self.text(name)

    def text(self, name):
        if name not in self.texts:
            self.texts[name] = (self.root / name).read_text(errors="replace")
        return self.texts[name]


def rule_torch_wall(tree):
    for name, text in tree.sources():
        torch = TORCH.search(text)
        wire = WIRE.search(text)
        if torch and wire:
            line = text[:max(torch.start(), wire.start())].count("\n") + 1
            yield f"{name}:{line}: sees libtorch and protobuf, gRPC or spdlog; pass values across as dtype, shape and bytes"


def rule_banned(tree):
    for name, text in tree.sources():
        includes = "\n".join(l if l.startswith("#include") else "" for l in text.splitlines())
        bare = code(text)
        for pattern, may, instead in BANNED:
            if may and re.search(may, name) or pattern.startswith(r"\.detach") and TENSOR_FOLDERS.match(name):
                continue
            where = includes if "include" in pattern or "torch/" in pattern else text if "TODO" in pattern else bare
            for match in re.finditer(pattern, where):
                yield f"{name}:{where[:match.start()].count(chr(10)) + 1}: '{match.group(0).strip()}' is banned; {instead}"


def rule_using_in_headers(tree):
    for name, text in tree.sources(".h"):
        for match in re.finditer(r"^\s*using namespace\b", code(text), re.M):
            yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: using namespace in a header; name what is used"


def rule_headers_guarded(tree):
    for name, text in tree.sources(".h"):
        if "#pragma once" not in text:
            yield f"{name}:1: no #pragma once"


def rule_length(tree):
    for name, text in tree.sources(".cc", ".h", ".py", ".cu"):
        lines = text.count("\n")
        if name.startswith("deploy/demo-data/"):  # provenance, kept as it was
            continue
        most = RATCHET.get(name, LINES_MAX)
        if lines > most:
            yield f"{name}:{lines}: {lines} lines, at most {most}; split it by subject"


def rule_io_wall(tree):
    for name, text in tree.sources():
        if not PURE.match(name):
            continue
        for match in IMPURE.finditer(text):
            if match.group(1) in PURE_MAY.get(name, ()):
                continue
            yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: <{match.group(1)}> in a pure module; let the caller hand in what it needs"


# Folder, and what its files never include; the linker proves the arrows inside each of them.
ARROWS = [
    (r"^common/", r"(master|worker)/", "common stands above both; move what is shared into common"),
    (r"^master/", r"worker/", "the master runs no graph code; share a declaration through common"),
    (r"^worker/", r"master/", "a worker knows the master by the wire only"),
    (r"^worker/(engine|models|text|sampling|upscale|nodes)/", r"(worker/session|common/rpc|atelier/v1)/", "the engine sees no network"),
]


def rule_arrows(tree):
    for name, text in tree.sources():
        for folder, banned, why in ARROWS:
            if not re.match(folder, name):
                continue
            for match in re.finditer(rf'^#include "{banned}[^"]*"', text, re.M):
                yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: {match.group(0)}; {why}"


def rule_compiled(tree):
    """Every .cc is in the build, so no test or node is left out in silence."""
    if not tree.build or not (pathlib.Path(tree.build) / "compile_commands.json").exists():
        return
    built = {os.path.realpath(c["file"]) for c in compile_commands.entries(tree.build)}
    without_torch = not any("/worker/engine/" in f for f in built)
    for name, _ in tree.sources(".cc"):
        if os.path.realpath(tree.root / name) in built or without_torch and name.startswith(("worker/", "tests/")):
            continue
        yield f"{name}:1: is compiled nowhere; add its folder's CMakeLists.txt or delete it"


def rule_tests_listed(tree):
    folders = {os.path.dirname(n) for n in tree.names if n.endswith("CMakeLists.txt")}
    for name in tree.names:
        if name.endswith("_test.cc") and os.path.dirname(name) not in folders:
            yield f"{name}:1: its folder has no CMakeLists.txt, so it never runs"


def rule_links(tree):
    for name, text in tree.sources(".md"):
        text = re.sub(r"```.*?```", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
        for match in re.finditer(r"\]\(([^)\s]+)\)", text):
            target = match.group(1).split("#")[0]
            if not target or "://" in target or target.startswith("mailto:"):
                continue
            if not (tree.root / os.path.dirname(name) / target).exists():
                yield f"{name}:{text[:match.start()].count(chr(10)) + 1}: links to {target}, which is not there"


def rule_format(tree):
    tool = shutil.which("clang-format-14") or shutil.which("clang-format")
    files = [n for n, _ in tree.sources(".cc", ".h")]
    if not tool or not files or not (tree.root / ".clang-format").exists():
        if not tool:
            print("tidy: no clang-format-14, its rule is NOT checked; deploy/deps --checks installs it")
        return
    # One process for all: starting one a file would take longer than the work.
    run = subprocess.run([tool, "--dry-run", "-Werror", "--ferror-limit=1", *files], cwd=tree.root, stderr=subprocess.PIPE, text=True)
    seen = set()
    for match in re.finditer(r"^(\S+?):(\d+):\d+: error:", run.stderr, re.M):
        if match.group(1) not in seen:
            seen.add(match.group(1))
            yield f"{match.group(1)}:{match.group(2)}: not formatted; run clang-format-14 -i on it"


def rule_shell(tree):
    """Scripts parse, and stop at the first error."""
    for name in tree.names:
        path = tree.root / name
        if name.endswith((".png", ".safetensors")) or "." in os.path.basename(name) or path.stat().st_size > 1 << 20:
            continue
        text = tree.text(name)
        if not text.startswith("#!/bin/bash"):
            continue
        check = subprocess.run(["bash", "-n", str(path)], stderr=subprocess.PIPE, text=True)
        if check.returncode != 0:
            yield f"{name}:1: bash cannot read it: {check.stderr.splitlines()[0]}"
        elif not re.search(r"^set -euo pipefail$", text, re.M):
            yield f"{name}:1: goes on after errors; add set -euo pipefail"


def rule_settings_used(tree):
    """Every key of the configuration is read by the program, or it is a promise that nobody keeps."""
    header = "common/config/cluster_config.h"
    if header not in tree.names:
        return
    text = tree.text(header).split("DefaultClusterConfig")[0]
    used = "\n".join(t for n, t in tree.sources(".cc", ".h") if not n.startswith(("common/config/", "tests/")))
    for match in re.finditer(r"^\s+(?:std::\S+|double|int64_t|bool)\s+(?!operator)(\w+)(?:\s*=[^;]*)?;", text, re.M):
        if not re.search(rf"[.>]{match.group(1)}\b", used):
            yield f"{header}:{text[:match.start()].count(chr(10)) + 1}: nothing reads the setting {match.group(1)}; use it or remove it"


RULES = {n[len("rule_"):]: f for n, f in sorted(globals().items()) if n.startswith("rule_")}

# A file that each rule must object to.
FIXTURES = {
    "torch_wall": ("worker/x.cc", '#include <ATen/ATen.h>\n#include "atelier/v1/session.pb.h"\n'),
    "banned": ("worker/x.cc", "void F() { std::this_thread::sleep_for(x); }\n"),
    "using_in_headers": ("common/x.h", "#pragma once\nusing namespace std;\n"),
    "headers_guarded": ("common/x.h", "int F();\n"),
    "length": ("common/x.cc", "\n" * (LINES_MAX + 1)),
    "io_wall": ("master/control/x.cc", "#include <chrono>\n"),
    "arrows": ("common/x.cc", '#include "worker/engine/types.h"\n'),
    "compiled": ("common/x.cc", "int x;\n"),
    "tests_listed": ("tests/unit/x/x_test.cc", "int x;\n"),
    "links": ("docs/x.md", "see [it](nowhere.md)\n"),
    "format": ("common/x.cc", "int   x ;\n"),
    "shell": ("deploy/x", "#!/bin/bash\necho on\n"),
    "settings_used": ("common/config/cluster_config.h", "struct C {\n  int64_t orphan = 3;\n};\n"),
}


def self_test():
    bad = 0
    for name, rule in RULES.items():
        with tempfile.TemporaryDirectory() as root:
            path, text = FIXTURES[name]
            target = pathlib.Path(root) / path
            target.parent.mkdir(parents=True)
            target.write_text(text)
            (pathlib.Path(root) / ".clang-format").write_text("BasedOnStyle: Google\n")
            (pathlib.Path(root) / "compile_commands.json").write_text("[]")
            found = list(rule(Tree(root, root)))
            if len(found) != 1 or not found[0].startswith(path):
                print(f"the rule {name} did not find the fault planted for it: {found}")
                bad += 1
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parents[2])
    parser.add_argument("--build")
    parser.add_argument("--self-test", action="store_true")
    parser.add_argument("rules", nargs="*")
    args = parser.parse_args()
    if args.self_test:
        return 1 if self_test() else 0
    tree = Tree(args.root, args.build)
    faults = [fault for name in args.rules or RULES for fault in RULES[name](tree)]
    print("\n".join(faults))
    print(f"tidy: {len(faults)} faults in {len(tree.names)} files")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
