#!/usr/bin/env python3
"""Makes config/widgets.json: what an editor file's widget values mean, for node types of the reference.

usage: make_widgets.py GOLDEN_WORKFLOWS_FOLDER > widgets.json
Reads widget_layout.json, widget_layout_with_pack_js.json and object_info.json of the golden data. Facts only: names, types,
order, defaults, ranges, flags. Form, one node type a line:
  "Type": {"title": ..., "widgets": [...], "inputs": [[name, type]...], "outputs": [type...]}
A widget: n name, k kind, d default (absent: none), t wire type, r [min, max, step] of a number, p 0: never sent, v 0: takes no
place in widgets_values, s "text" (comments and {a|b} are resolved) or "prefix" (%date% and %Node.widget% are replaced).
Optional in a type: "by_name": widgets_values is an object; "forced": places in old files' values that belong to inputs that no
longer have a widget; "front_end": the type exists in the editor only; "by_choice": {widget: {choice: widgets that follow it}}.
"""
import json
import sys

LITERALS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")


def wire_type(declared):
    return "COMBO" if isinstance(declared, list) else str(declared)


def declared_inputs(info):
    """Name -> (type, options) in the reference's order."""
    found = {}
    for part in ("required", "optional"):
        order = info.get("input_order", {}).get(part) or list(info.get("input", {}).get(part, {}))
        for name in order:
            entry = info["input"][part][name]
            options = entry[1] if len(entry) > 1 and isinstance(entry[1], dict) else {}
            found[name] = (wire_type(entry[0]), options)
    return found


def forced_places(inputs):
    """Where values of forceInput inputs stood in files of old editors."""
    places, place = [], 0
    for name, (kind, options) in inputs.items():
        if kind not in LITERALS:
            continue
        if options.get("forceInput"):
            places.append(place)
        place += 1
        if not options.get("forceInput") and (options.get("control_after_generate") or (kind == "INT" and name in ("seed", "noise_seed"))):
            place += 1
    return places


def widget(entry, inputs):
    made = {"n": entry["name"], "k": entry["type"]}
    if entry.get("default") is not None and entry["default"] != "<object>":
        made["d"] = entry["default"]
    kind, options = inputs.get(entry["name"], (None, {}))
    if kind:
        made["t"] = kind
    if kind in ("INT", "FLOAT") and any(k in options for k in ("min", "max", "step")):
        made["r"] = [options.get("min"), options.get("max"), options.get("step")]
    if entry.get("in_prompt") is False:
        made["p"] = 0
    if entry.get("in_widgets_values") is False:
        made["v"] = 0
    if entry.get("custom_serialize"):
        if entry["type"] == "customtext":
            made["s"] = "text"
        elif entry["type"] == "text":
            made["s"] = "prefix"
    return made


def dependent(declared):
    """A widget that a choice of another one brings: [name, type or choices, options...]."""
    name, kind = declared[0], wire_type(declared[1])
    options = next((o for o in declared[2:] if isinstance(o, dict)), {})
    made = {"n": name, "k": "dependent", "t": kind}
    default = options.get("default", declared[1][0] if isinstance(declared[1], list) else None)
    if default is not None:
        made["d"] = default
    return made


def main():
    folder = sys.argv[1]
    load = lambda name: json.load(open(f"{folder}/{name}", encoding="utf-8"))
    layouts, packs, infos = load("widget_layout.json"), load("widget_layout_with_pack_js.json"), load("object_info.json")
    lines = []
    for name in sorted(layouts):
        layout = packs.get(name, layouts[name])
        info = infos.get(name, {})
        inputs = declared_inputs(info) if info else {}
        made = {"title": layout["title"], "widgets": [widget(w, inputs) for w in layout["widgets"]]}
        made["inputs"] = [[i, inputs[i][0] if i in inputs else "*"] for i in layout["inputs"]]
        made["outputs"] = [wire_type(o) for o in info["output"]] if info else list(layout["outputs"])
        if name in packs:
            made["by_name"] = True
        if layout.get("front_end_only"):
            made["front_end"] = True
        by_choice = {}
        for input_name, (_, options) in inputs.items():
            if name in packs and isinstance(options.get("formats"), dict):
                by_choice[input_name] = {c: [dependent(d) for d in ds] for c, ds in options["formats"].items()}
        if by_choice:
            made["by_choice"] = by_choice
        forced = forced_places(inputs)
        if forced:
            made["forced"] = forced
        lines.append(f"{json.dumps(name, ensure_ascii=False)}: {json.dumps(made, ensure_ascii=False, separators=(',', ':'))}")
    sys.stdout.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
