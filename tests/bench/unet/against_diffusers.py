#!/usr/bin/env python3
"""One UNet step of Stable Diffusion 1.5 and SDXL, at their full sizes with noise for weights: ours against diffusers.

usage: against_diffusers.py [--bench PATH] [--size sd15|sdxl]... [--device cpu|cuda:0] [--repeats N] [--threads N]

Both run in turns on the same machine, threads, precision (float32 on the CPU, float16 on a GPU), weights and inputs; the
outputs are compared too. Bound: ours takes at most as long (median of the turns). The processor's seconds are told too,
which other work on the machine disturbs less. On the CPU both map the same file, so
SDXL (10.3 GB) needs about 16 GB of memory, SD 1.5 (3.4 GB) about 7; the file lies in the temporary folder (TMPDIR).
Needs torch, diffusers and safetensors in the Python that runs it:
python3 -m venv V && V/bin/pip install torch==2.11.0 diffusers safetensors transformers
"""
import argparse
import json
import math
import os
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[3]
SIZES = {
    "sd15": {"config": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}, "latent": 64, "batch": 2},
    "sdxl": {"config": {"sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20],
                        "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
                        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
                        "use_linear_projection": True, "addition_embed_type": "text_time",
                        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816},
             "latent": 64, "batch": 2},
}
RES = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
       "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
TOP = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
       "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
       "conv_out": "out.2"}


def layer(kind, rest):
    """Name of a layer's tensor inside its block: `kind` is resnets or attentions."""
    if kind == "attentions":
        return rest
    part, tail = rest.split(".", 1)
    return f"{RES[part]}.{tail}"


def original_name(name, attends_up):
    """The checkpoint's name of a diffusers parameter. attends_up: whether each up block has attention."""
    for theirs, ours in TOP.items():
        if name.startswith(theirs + "."):
            return ours + name[len(theirs):]
    parts = name.split(".", 4)
    if parts[0] == "mid_block":
        kind, j, rest = name.split(".", 3)[1:]
        place = 1 if kind == "attentions" else 2 * int(j)
        return f"middle_block.{place}.{layer(kind, rest)}"
    i, kind, j, rest = int(parts[1]), parts[2], int(parts[3]), parts[4]
    if parts[0] == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * (i + 1)}.0.op.{rest.split('.', 1)[1]}"
        return f"input_blocks.{1 + 3 * i + j}.{0 if kind == 'resnets' else 1}.{layer(kind, rest)}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * i + 2}.{2 if attends_up[i] else 1}.{rest}"
    return f"output_blocks.{3 * i + j}.{0 if kind == 'resnets' else 1}.{layer(kind, rest)}"


def write_noise(path, shapes, dtype, torch):
    """A safetensors file of noise with these names and shapes, without holding it in memory: weights by their fan-in,
    scales of normalisations about 1."""
    short, width = {torch.float32: ("F32", 4), torch.float16: ("F16", 2)}[dtype]
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = width * math.prod(shape)
        header[name] = {"dtype": short, "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    noise = torch.randn(1 << 24)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            left = math.prod(shape)
            norm = len(shape) == 1 and name.endswith("weight")
            piece = noise[:left] * (0.02 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5) + (1 if norm else 0)
            piece = piece.to(dtype).numpy()
            while left > 0:
                file.write(memoryview(piece[:left]).cast("B"))
                left -= len(piece[:left])


def compare(size, options, torch, diffusers, save_file):
    from safetensors import safe_open
    spec = SIZES[size]
    torch.manual_seed(0)
    dtype = torch.float32 if options.device == "cpu" else torch.float16
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**spec["config"]).eval()
    attends_up = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    batch, side = spec["batch"], spec["latent"]
    x = torch.randn(batch, 4, side, side)
    t = torch.full((batch,), 500.0)
    context = torch.randn(batch, 77, spec["config"]["cross_attention_dim"])
    extra, io = {}, {"x": x, "t": t, "context": context}
    if size == "sdxl":
        pooled, sizes = torch.randn(batch, 1280), torch.tensor([[512.0, 512, 0, 0, 512, 512]]).repeat(batch, 1)
        extra = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": sizes}}
        frequencies = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(128) / 128)
        angles = sizes.flatten()[:, None] * frequencies[None]
        io["y"] = torch.cat([pooled, torch.cat([angles.cos(), angles.sin()], 1).view(batch, -1)], 1)
    with tempfile.TemporaryDirectory() as folder:
        weights = f"{folder}/unet.safetensors"
        names = {k: original_name(k, attends_up) for k in unet.state_dict()}
        write_noise(weights, {names[k]: tuple(v.shape) for k, v in unet.state_dict().items()}, dtype, torch)
        with safe_open(weights, "pt") as file:
            unet.load_state_dict({k: file.get_tensor(n) for k, n in names.items()}, assign=True)
        unet.to(options.device)
        moved = [v.to(options.device, dtype) for v in (x, t, context)]
        extra = {k: {n: v.to(options.device, dtype) for n, v in d.items()} for k, d in extra.items()}

        def step():
            begin, clock = time.perf_counter(), time.process_time()
            with torch.inference_mode():
                out = unet(moved[0], moved[1], moved[2], **extra).sample.float().cpu()
            return time.perf_counter() - begin, time.process_time() - clock, out

        theirs, ours, theirs_busy, ours_busy = [], [], [], []
        io["out"] = step()[2].contiguous()
        save_file(io, f"{folder}/io.safetensors")
        for _ in range(options.repeats):
            seconds, busy, _ = step()
            theirs.append(seconds)
            theirs_busy.append(busy)
            line = subprocess.check_output([options.bench, weights, f"{folder}/io.safetensors", str(options.threads), "1",
                                            options.device], text=True)
            result = json.loads(line.splitlines()[-1])
            ours += result["seconds"]
            ours_busy += result["processor"]
    scale = io["out"].abs().max().item()
    ratio = statistics.median(ours) / statistics.median(theirs)
    good = ratio <= 1.0
    busy = [statistics.median(ours_busy), statistics.median(theirs_busy)]
    print(f"{size} UNet step, {batch} x {side * 8}x{side * 8}, {str(dtype)[6:]}: {ratio:.2f}x of diffusers (bound <= 1.0x, "
          f"{'OK' if good else 'MISSED'}; ours {statistics.median(ours):.2f} s, theirs {statistics.median(theirs):.2f} s; "
          f"processor {busy[0] / busy[1]:.2f}x, {busy[0]:.1f} s and {busy[1]:.1f} s; largest difference "
          f"{result['difference']:.2g} of {scale:.2g}; {options.threads} threads, load {os.getloadavg()[0]:.1f})", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default=str(SOURCE / "build/bin/unet_step_bench"))
    parser.add_argument("--size", action="append", choices=SIZES)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    import diffusers
    import torch
    from safetensors.torch import save_file
    torch.set_num_threads(options.threads)
    return 0 if all([compare(s, options, torch, diffusers, save_file) for s in options.size or SIZES]) else 1


if __name__ == "__main__":
    sys.exit(main())
