#!/usr/bin/env python3
"""Runs every workflow case of the reference data through `atelier run` and writes docs/parity.md.

usage: parity.py [--atelier PATH] [--golden DIR] [--only GROUP]... [--output FILE]

For each group: cases, how many lie within their tolerance, and the case that comes closest to (or goes furthest beyond)
it, as error / tolerance. Tolerances are the data's own; a PNG is granted the one 8-bit step that rounding costs.
Needs numpy and Pillow; the golden data's `check` makes a private environment that has both, which is used if need be.
"""
import argparse
import collections
import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import numpy as np
    from PIL import Image
except ImportError:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    python = cache / "atelier/check-venv/bin/python"
    if not python.exists() or sys.executable == str(python):
        sys.exit("parity.py needs numpy and Pillow: run ../shared/golden/check once, which installs them for itself")
    os.execv(python, [str(python), *sys.argv])

SOURCE = pathlib.Path(__file__).resolve().parents[2]
# Printed when a case whose name has the word fails.
KNOWN = {"dpm_adaptive": """
dpm_adaptive takes its step sizes from the norm of a difference of two nearly equal latents. An error of 1e-7 in the first
prediction becomes 2e-4 in that norm and 0.03 timesteps by the fortieth prediction, and a level that lies so near the
middle between two timesteps goes to either; from there on the results are 0.08 apart. So the case passes on one processor
and fails on another: one binary, run with ATEN_CPU_CAPABILITY=avx2 and =default, gives both. The reference's own result
hangs on its processor too: libtorch's attention takes another exp() under AVX-512 than under AVX2. On an AVX2 machine
every operator of the first transformer block equals the reference's activations (module_forward/tiny_sd15_unet_*) to the
last bit but attention, and self-attention does as well once its exp() is the one of AVX-512.
"""}
TYPES = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "I32": np.int32, "U8": np.uint8}


def latent(path):
    """The samples of a .latent file."""
    raw = pathlib.Path(path).read_bytes()
    n = int.from_bytes(raw[:8], "little")
    info = json.loads(raw[8:8 + n])["latent_tensor"]
    begin, end = info["data_offsets"]
    return np.frombuffer(raw[8 + n + begin:8 + n + end], TYPES[info["dtype"]]).reshape(info["shape"]).astype(np.float64)


def picture(path):
    return np.asarray(Image.open(path).convert("RGBA"), dtype=np.int32)


def ratio(reference, made, tolerance, image_tolerance):
    """Largest error of one file as a multiple of its tolerance; infinite for another shape."""
    if str(reference).endswith(".png"):
        a, b, limit = picture(reference), picture(made), int(np.floor(image_tolerance * 255)) + 1
    else:
        a, b, limit = latent(reference), latent(made), tolerance
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max()) / limit


def in_groups(paths, pattern):
    groups = collections.defaultdict(list)
    for path in paths:
        groups[re.sub(pattern, "", pathlib.Path(path).name)].append(path)
    return groups


def worst(golden, case, outcome):
    """(error / tolerance, what is wrong) of a case."""
    if outcome is None or outcome.get("state") != "done":
        return float("inf"), str(outcome.get("error") if outcome else "no result")
    made = [o["path"] for o in outcome.get("outputs", [])]
    tolerance = case.get("tolerance_abs") or 1e-3
    image_tolerance = case.get("tolerance_image", min(tolerance, 0.02))
    largest = 0.0
    for end, made_tail, want_end, want_tail in ((".latent", r"_\d{5}_\.latent$", ".latent.safetensors", r"\.latent\.safetensors$"),
                                                (".png", r"_\d{5}_\.png$", ".png", r"(_\d{3})?\.png$")):
        got = in_groups([p for p in made if p.endswith(end)], made_tail)
        for prefix, wanted in in_groups([f for f in case["files"] if f.endswith(want_end)], want_tail).items():
            if len(got.get(prefix, [])) != len(wanted):
                return float("inf"), f"{len(got.get(prefix, []))} files {prefix}* instead of {len(wanted)}"
            for want, path in zip(wanted, got[prefix]):
                largest = max(largest, ratio(golden / want, path, tolerance, image_tolerance))
    return largest, "" if largest <= 1 else f"error {largest:.3g} x tolerance"


def run(atelier, golden, models, cases):
    results = {}
    for at in range(0, len(cases), 40):
        part = cases[at:at + 40]
        with tempfile.TemporaryDirectory() as folder:
            command = [atelier, "run", *[str(golden / c["workflow"]) for c in part], "--models", models, "--input",
                       str(golden / "inputs"), "--output", folder, "--workers", "1", "--json"]
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            lines = [json.loads(x) for x in done.stdout.splitlines() if x.startswith("{")]
            for i, case in enumerate(part):
                results[case["group"], case["id"]] = worst(golden, case, lines[i] if i < len(lines) else None)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--atelier", default=str(SOURCE / "build/bin/atelier"))
    parser.add_argument("--golden", default=os.environ.get("ATELIER_GOLDEN") or str(SOURCE.parent / "shared/golden"))
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--output", default=str(SOURCE / "docs/parity.md"))
    options = parser.parse_args()
    golden = pathlib.Path(options.golden)
    models = subprocess.check_output([golden / "unpack"], text=True).strip()
    have = {p.name for p in pathlib.Path(models).rglob("*") if p.is_file()}
    cases = [c for c in json.loads((golden / "index.json").read_text())["cases"] if c["kind"] == "workflow"]
    if options.only:
        cases = [c for c in cases if c["group"] in options.only]
    absent = {c["id"] for c in cases if set(c.get("models") or []) - have}
    results = run(options.atelier, golden, models, cases)

    lines = ["# Parity with the reference", "",
             f"Written by tests/parity/parity.py on {datetime.date.today()}, on the CPU in float32, from the workflow cases of the",
             "reference data through `atelier run`. *closest* is the case whose largest error comes nearest to its tolerance (or",
             "goes furthest beyond it), as error / tolerance. Tables, noise, tokenizers, text encoders and single networks are",
             "compared by the tests `golden_sampling_test`, `models_golden_test` and `text_test`.", "",
             "| group | cases | within tolerance | closest | error / tolerance |", "|---|---:|---:|---|---:|"]
    failing, total, passed = [], 0, 0
    groups = collections.OrderedDict((c["group"], None) for c in cases)
    for group in groups:
        part = {case: value for (g, case), value in results.items() if g == group}
        good = {case: value for case, value in part.items() if value[0] <= 1}
        total, passed = total + len(part), passed + len(good)
        top = max(good, key=lambda case: good[case][0], default="")
        lines.append(f"| {group} | {len(part)} | {len(good)} | {top} | {f'{good[top][0]:.2g}' if top else ''} |")
        reasons = collections.defaultdict(list)
        for case, (_, why) in part.items():
            if case not in good:
                reasons["its model is not in the data" if case in absent else why].append(case)
        failing += [f"- {group}: {', '.join(ids)}: {why}" for why, ids in reasons.items()]
    lines += [f"| all | {total} | {passed} | | |", ""]
    if failing:
        lines += ["Not within tolerance:", "", *failing, ""]
        lines += [why.strip() + "\n" for word, why in KNOWN.items() if any(word in line for line in failing)]
    pathlib.Path(options.output).write_text("\n".join(lines))
    print("\n".join(lines))
    return 0 if not failing else 1


if __name__ == "__main__":
    sys.exit(main())
