#!/usr/bin/env python3
"""ComfyUI-Distributed's five sample workflows, from their editor files, with tiny models under the names that they ask for:
on 1 and on 3 workers, equal pictures, and videos that play.

usage: samples_test.py ATELIER CATALOG [--whole] [NAME...]
  --whole  in the sizes and steps of the files (about an hour on two cores); else smaller ones are set
environment: ATELIER_GOLDEN (default ../shared/golden beside the checkout)
Exit status: 0 all pass, 1 some fail, 77 skipped because there is no golden data or no ffmpeg.
"""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tiny_models

SOURCE = pathlib.Path(__file__).resolve().parents[2]

# Name: (what is made smaller, replicas, what comes out: (extension, pictures or frames, frames a second)). The two that divide a
# batch into clips have as many replicas as their dividers have parts.
WORKFLOWS = {
    "distributed-txt2img": (["9.width=128", "9.height=64", "8.steps=2"], 2, [(".png", None, None)] * 2),
    "distributed-upscale": (["34.width=256", "34.height=256", "30.steps=1", "30.tile_width=128", "30.tile_height=128"], 2,
                            [(".png", None, None)]),
    "distributed-upscale-video": (["71.width=192", "71.height=128", "18.steps=1", "18.tile_width=128", "18.tile_height=128"], 2,
                                  [(".mp4", 5, 16)]),
    "distributed-wan": (["55.width=96", "55.height=64", "50.length=9"], 3, [(".mp4", 9, 16)] * 3),
    "distributed-wan-2.2_14b_t2v": (["59.width=96", "59.height=64", "59.length=9", "57.steps=2"], 4,
                                      [(".mp4", 9, 16)] * 4),
}


def command(*words):
    return subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, text=True)


def content(path):
    """A hash of what is seen: of a video its decoded frames, since the file tells when it was made."""
    if path.suffix != ".mp4":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    done = command("ffmpeg", "-v", "error", "-i", path, "-f", "md5", "-")
    return done.stdout.strip() or f"ffmpeg: {done.stderr.strip()[-200:]}"


def probe(path):
    done = command("ffprobe", "-v", "error", "-count_frames", "-show_entries", "stream=codec_name,nb_read_frames,r_frame_rate",
                   "-of", "json", path)
    stream = json.loads(done.stdout)["streams"][0]
    top, bottom = stream["r_frame_rate"].split("/")
    return stream["codec_name"], int(stream["nb_read_frames"]), int(top) / int(bottom)


def run(atelier, golden, folder, name, workers, replicas, sets, state):
    words = [atelier, "run", golden / "workflows/ui" / f"dist__{name}.json", "--json", "--models", folder / "models", "--input",
             folder / "input", "--output", state / "output", "--state", state, "--workers", workers, "--replicas", replicas]
    for one in sets:
        words += ["--set", one]
    done = command(*words)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        return None, f"exit {done.returncode}: {(lines[-1] if lines else done.stderr.strip())[-600:]}"
    return json.loads(lines[-1]), None


def check(atelier, golden, folder, name, whole):
    sets, replicas, expected = WORKFLOWS[name]
    seen = {}
    for workers in (1, 3):
        state = folder / f"{name}-{workers}"
        state.mkdir()
        answer, fault = run(atelier, golden, folder, name, workers, replicas, [] if whole else sets, state)
        if fault:
            return f"{workers} workers: {fault}"
        paths = [pathlib.Path(o["path"]) for o in answer["outputs"]]
        mains = [p for p in paths if p.suffix == ".mp4"] or [p for p in paths if p.suffix == ".png"]
        if [p.suffix for p in mains] != [e[0] for e in expected]:
            return f"{workers} workers: made {[p.name for p in paths]}, expected {len(expected)} of {expected[0][0]}"
        for path, (_, frames, rate) in zip(mains, expected):
            if frames is not None:
                codec, got, fps = probe(path)
                if codec != "h264" or fps != rate or (not whole and got != frames):
                    return f"{path.name}: {codec}, {got} frames, {fps} a second; expected h264, {frames}, {rate}"
        seen[workers] = [content(p) for p in mains]
        print(f"   {name}, {workers} workers: {answer['seconds']:.1f} s, {' '.join(h[-12:] for h in seen[workers])}", flush=True)
    if seen[1] != seen[3]:
        return "1 and 3 workers made different pictures"
    if len(set(seen[1])) != len(seen[1]):
        return "replicas with different seeds made the same pictures"
    return None


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("--")]
    whole = "--whole" in sys.argv
    golden = pathlib.Path(os.environ.get("ATELIER_GOLDEN") or SOURCE.parent / "shared/golden")
    if not (golden / "unpack").exists():
        print(f"SKIPPED: no golden data at {golden}; set ATELIER_GOLDEN")
        return 77
    if not shutil.which("ffprobe") or not shutil.which("ffmpeg"):
        print("SKIPPED: no ffmpeg and ffprobe to make and look at videos with; apt-get install ffmpeg")
        return 77
    failed = 0
    with tempfile.TemporaryDirectory(prefix="atelier-samples-") as temporary:
        folder = pathlib.Path(temporary)
        tiny_models.make(folder / "models", subprocess.check_output([golden / "unpack"], text=True).strip())
        (folder / "input").mkdir()
        shutil.copy(golden / "inputs/coffee_160x96.png", folder / "input/example.png")
        made = command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=size=96x64:rate=16", "-f", "lavfi", "-i",
                       "sine=frequency=440", "-t", "1", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:a", "aac",
                       folder / "input/ComfyUI_00005_.mp4")
        if made.returncode != 0:
            print(f"ffmpeg could not make the input clip: {made.stderr}")
            return 1
        declared = {node["type"] for node in json.loads(pathlib.Path(words[1]).read_text())["nodes"]}
        for name in words[2:] or WORKFLOWS:
            prompt = json.loads((golden / "workflows/api" / f"dist__{name}.json").read_text())
            if wanting := {entry.get("class_type") for entry in prompt.values()} - declared - {None}:  # None: unknown to the reference
                print(f"NOT RUN: {name} waits for {' '.join(sorted(wanting))}", flush=True)
                continue
            fault = check(words[0], golden, folder, name, whole)
            print(f"{name}: {fault or 'ok'}", flush=True)
            failed += fault is not None
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
