#!/usr/bin/env python3
"""The demo model on the GPU against the CPU: the same workflow and seed, latents compared.

Noise is drawn on the CPU and the sampler (euler) draws none, so the two runs differ by the GPU's half precision alone.
"""
import array
import json
import os
import pathlib
import subprocess
import sys
import tempfile

repo = pathlib.Path(__file__).resolve().parents[2]
atelier = pathlib.Path(os.environ.get("ATELIER_BIN", repo / "build/bin")) / "atelier"


def latent(path):
    raw = pathlib.Path(path).read_bytes()
    size = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8:8 + size])["latent_tensor"]
    assert entry["dtype"] == "F32", entry
    begin, end = entry["data_offsets"]
    return array.array("f", raw[8 + size + begin:8 + size + end])


def run(device, folder):
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "demo.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a red circle on a blue background"}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "5": {"class_type": "KSampler", "inputs": {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
              "seed": 1, "steps": 12, "cfg": 5.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}},
        "6": {"class_type": "SaveLatent", "inputs": {"samples": ["5", 0], "filename_prefix": "gpu"}},
    }
    workflow = folder / "workflow.json"
    workflow.write_text(json.dumps(prompt))
    done = subprocess.run([atelier, "run", workflow, "--device", device, "--models", repo / "deploy/demo-data/models", "--input", folder,
                           "--output", folder / device.replace(":", ""), "--json"], stdout=subprocess.PIPE, text=True, timeout=500)
    result = json.loads(done.stdout.splitlines()[-1])
    if result["state"] != "done":
        sys.exit(f"FAILED on {device}: {result.get('error')}")
    print(f"{device}: {result['seconds']:.2f} s")
    return latent(result["outputs"][0]["path"])


def main():
    if not any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
        print("SKIPPED: no device: this machine has no NVIDIA GPU (/dev/nvidia0 is absent)")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as tmp:
        gpu, cpu = run("cuda:0", pathlib.Path(tmp)), run("cpu", pathlib.Path(tmp))
    if len(gpu) != len(cpu):
        sys.exit(f"FAILED: {len(gpu)} values on the GPU, {len(cpu)} on the CPU")
    power = sum(c * c for c in cpu)
    error = sum((g - c) ** 2 for g, c in zip(gpu, cpu))
    print(f"relative error of the latent: {(error / power) ** 0.5:.4f} (bound 0.05)")
    if not (error / power) ** 0.5 <= 0.05:
        sys.exit("FAILED: the GPU's picture is not the CPU's")
    print("passed")


main()
