#!/usr/bin/env python3
"""Runs one group of the reference's workflow cases through `atelier run` with the golden data's own check.

usage: reference_test.py GROUP ATELIER
environment: ATELIER_GOLDEN (default ../shared/golden beside the checkout)
Exit status: 0 all pass, 1 some fail, 77 skipped because there is no golden data.
"""
import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "golden"))
import roundings

# Cases that are left out, and why.
LEFT_OUT = {
    "image_composite/composite": "the check takes the names' last three digits for a counter; golden_nodes_test compares it",
    "sd3/te_0": "it has no output node; golden_nodes_test compares its conditionings",
    "sd3/te_1": "it has no output node; golden_nodes_test compares its conditionings",
}


def prepare(check):
    """The check makes itself an environment at its first run, for which two at once would be in each other's way."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "atelier"
    home.mkdir(parents=True, exist_ok=True)
    with (home / "check-venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if subprocess.run([check, "--help"], capture_output=True).returncode != 0:  # one that was cut short
            shutil.rmtree(home / "check-venv", ignore_errors=True)
            subprocess.run([check, "--help"], stdout=subprocess.DEVNULL, check=True)


def main():
    group, atelier = sys.argv[1], sys.argv[2]
    source = pathlib.Path(__file__).resolve().parents[2]
    golden = pathlib.Path(os.environ.get("ATELIER_GOLDEN") or source.parent / "shared/golden")
    if not (golden / "check").exists():
        print(f"SKIPPED: no golden data at {golden}; set ATELIER_GOLDEN")
        return 77
    prepare(golden / "check")
    models = pathlib.Path(subprocess.check_output([golden / "unpack"], text=True).strip())
    have = {p.name for p in models.rglob("*.safetensors")}
    chosen, no_model = [], []
    for case in json.loads((golden / "index.json").read_text())["cases"]:
        if case["group"] != group or case["kind"] != "workflow":
            continue
        if why := LEFT_OUT.get(f"{group}/{case['id']}"):
            print(f"left out {case['id']}: {why}")
        elif set(case.get("models") or []) - have:
            no_model.append(case["id"])
        else:
            chosen.append(case["id"])
    if no_model:
        print(f"NOT RUN, their models are not in {models} (golden/get_upscale_models adds them): {' '.join(no_model)}")
    if not chosen:
        print(f"no case of the group {group} can run")
        return 1

    def run(cases, environment):
        with tempfile.NamedTemporaryFile() as out:
            command = [golden / "check", "--atelier", atelier, "--models", models, "--json", out.name]
            for case in cases:
                command += ["--only", f"{group}/{case}"]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, env={**os.environ, **environment})
            if done.returncode == 0:
                return set()
            failed = {name.split("/")[-1] for name, why in json.loads(out.read() or "{}").items() if why}
            return failed & set(cases) or set(cases)

    return roundings.judge(chosen, run)


if __name__ == "__main__":
    sys.exit(main())
