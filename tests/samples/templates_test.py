#!/usr/bin/env python3
"""The official templates (and other people's workflows) whose node types are all declared, run to their end with tiny
models under the names that they ask for, in small sizes and two steps: nothing of a real workflow stops the engine.

usage: templates_test.py ATELIER CATALOG [NAME...]
environment: ATELIER_GOLDEN (default ../shared/golden beside the checkout)
Exit status: 0 all end, 1 some do not, 77 skipped because there is no golden data.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import template_models

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SMALL = {"width": 64, "height": 64, "length": 9, "steps": 2, "tile_width": 64, "tile_height": 64, "megapixels": 0.01,
         "left": 16, "top": 16, "right": 16, "bottom": 16}
PICTURE = (".png", ".jpg", ".jpeg", ".webp")
CLIP = (".mp4", ".webm", ".mov", ".mkv")


def smaller(prompt):
    """--set of every size and number of steps that would take long; sizes of parts of a picture (x, y beside them) go by 8."""
    for node, entry in prompt.items():
        for name, value in entry["inputs"].items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            if name in ("width", "height", "x", "y") and {"x", "y"} <= set(entry["inputs"]):
                yield f"{node}.{name}={max(int(value) // 8 // 8 * 8, 0 if name in 'xy' else 64)}"
            elif name in SMALL and value > SMALL[name]:
                yield f"{node}.{name}={SMALL[name]}"


def models_of(prompt):
    for entry in prompt.values():
        for name, value in entry["inputs"].items():
            folder = template_models.FOLDERS.get(f"{entry['class_type']}.{name}")
            if folder and isinstance(value, str):
                yield folder, value


def files_of(prompt):
    """Pictures and clips that a prompt reads: (folder, name)."""
    for entry in prompt.values():
        for value in entry["inputs"].values():
            if "Load" not in entry["class_type"] or not isinstance(value, str):
                continue
            name, folder = value, "input"
            for annotated in ("input", "output"):
                if name.endswith(f" [{annotated}]"):
                    name, folder = name.removesuffix(f" [{annotated}]"), annotated
            if name.lower().endswith(PICTURE + CLIP):
                yield folder, name


def main():
    atelier, catalog, *names = sys.argv[1:]
    golden = pathlib.Path(os.environ.get("ATELIER_GOLDEN") or SOURCE.parent / "shared/golden")
    if not (golden / "unpack").exists():
        print(f"SKIPPED: no golden data at {golden}; set ATELIER_GOLDEN")
        return 77
    golden_models = subprocess.check_output([golden / "unpack"], text=True).strip()
    declared = {node["type"] for node in json.loads(pathlib.Path(catalog).read_text())["nodes"]}
    failed = ended = 0
    with tempfile.TemporaryDirectory(prefix="atelier-templates-") as temporary:
        folder = pathlib.Path(temporary)
        for item in json.loads((golden / "workflows/index.json").read_text())["workflows"]:
            name, api = item["name"], golden / "workflows/api" / f"{item['name']}.json"
            if item["source"] == "hand" or not api.exists() or (names and name not in names):
                continue
            prompt = json.loads(api.read_text())
            if not {e.get("class_type") for e in prompt.values()} <= declared:
                continue
            if missing := template_models.make(folder / "models", golden_models, set(models_of(prompt))):
                print(f"left out {name}: no tiny model for {' '.join(missing)}")
                continue
            if any(file.lower().endswith(CLIP) for _, file in files_of(prompt)):
                print(f"left out {name}: it reads a clip, whose size and length nothing here makes smaller; frames_test and samples do")
                continue
            for part in ("input", "output"):
                (folder / part).mkdir(exist_ok=True)
            for part, file in files_of(prompt):
                target = folder / part / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(golden / "inputs/coffee_160x96.png", target)
            command = [atelier, "run", golden / "workflows/ui" / f"{name}.json", "--json", "--models", folder / "models",
                       "--input", folder / "input", "--output", folder / "output"]
            for one in smaller(prompt):
                command += ["--set", one]
            done = subprocess.run([str(w) for w in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
            lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
            answer = json.loads(lines[-1]) if lines else {"state": "no answer", "error": done.stderr[-600:]}
            good = answer["state"] == "done" and answer["outputs"]
            print(f"{name}: {answer['state']}{'' if good else ': ' + str(answer.get('error') or 'no output')[:600]}", flush=True)
            ended += bool(good)
            failed += not good
    print(f"{ended} ended, {failed} failed")
    return 1 if failed or not ended else 0


if __name__ == "__main__":
    sys.exit(main())
