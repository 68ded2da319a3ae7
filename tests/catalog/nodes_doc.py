#!/usr/bin/env python3
"""Writes docs/nodes.md from config/catalog.json: every node type with inputs, ranges, defaults and tooltips.

usage: nodes_doc.py [--check]
--check   writes nothing; exit status 1 when docs/nodes.md is stale or an input has no tooltip
"""
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs/nodes.md"


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def kind(item):
    if item.get("folder"):
        return ", ".join([f"file of {item['folder']}"] + [s["name"] for s in item.get("sets", [])])
    if item.get("choices"):
        choices = item["choices"]
        shown = ", ".join(choices[:12])
        return f"one of: {shown}" + (f", ... ({len(choices)})" if len(choices) > 12 else "")
    return item["type"]


def span(item):
    parts = []
    if "min" in item or "max" in item:
        parts.append(f"{item.get('min', '')} to {item.get('max', '')}")
    if "step" in item:
        parts.append(f"step {item['step']}")
    return ", ".join(parts)


def entry(node):
    lines = [f"### {node['type']}", ""]
    title = node.get("display_name") or node["type"]
    named = "" if title == node["type"] else f"*{title}.* "
    lines.append(named + (node.get("description") or ""))
    if node.get("output_node"):
        lines[-1] += " Its result leaves the graph."
    lines.append("")
    inputs = [i for i in node.get("inputs", []) if not i.get("hidden")]
    if inputs:
        lines += ["| input | type | default | range | meaning |", "|---|---|---|---|---|"]
        for item in inputs:
            name = item["name"] + ("" if item.get("required", True) else " (optional)")
            default = json.dumps(item["default"], ensure_ascii=False) if "default" in item else ""
            lines.append("| " + " | ".join(map(cell, (name, kind(item), default, span(item), item.get("tooltip", ""))))
                         + " |")
        lines.append("")
    outputs = [o["name"] if o["name"] == o["type"] else f"{o['name']} ({o['type']})" for o in node.get("outputs", [])]
    if outputs:
        lines += ["Outputs: " + ", ".join(outputs), ""]
    return lines


def document(nodes):
    groups = {}
    for node in nodes:
        if not node.get("internal"):
            groups.setdefault(node.get("category") or "other", []).append(node)
    count = sum(map(len, groups.values()))
    lines = ["# Node types", "",
             f"The {count} node types of this build, by category. Written by `tests/catalog/nodes_doc.py` from "
             "config/catalog.json, that is from the declarations in `worker/nodes`; do not edit.", ""]
    for category in sorted(groups, key=str.lower):
        lines += [f"## {category}", ""]
        for node in sorted(groups[category], key=lambda n: n["type"].lower()):
            lines += entry(node)
    return "\n".join(lines).rstrip() + "\n"


def main():
    nodes = json.loads((ROOT / "config/catalog.json").read_text())["nodes"]
    text = document(nodes)
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
        return 0
    silent = [f"{n['type']}.{i['name']}" for n in nodes if not n.get("internal") for i in n.get("inputs", [])
              if not i.get("hidden") and not i.get("tooltip")]
    stale = not TARGET.exists() or TARGET.read_text() != text
    if silent:
        print(f"{len(silent)} inputs without a tooltip: {' '.join(silent)}")
    if stale:
        print("docs/nodes.md is stale: python3 tests/catalog/nodes_doc.py")
    return 1 if silent or stale else 0


if __name__ == "__main__":
    sys.exit(main())
