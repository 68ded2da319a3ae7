#!/usr/bin/env python3
"""WAN 2.1: one step of the transformer in the size of 1.3B, and the decoding of a short clip by the full-size VAE, with
noise for weights: ours against diffusers.

usage: against_diffusers.py [--bin FOLDER] [--part step|vae]... [--frames N] [--side PIXELS] [--layers N]
                            [--device cpu|cuda:0] [--repeats N] [--threads N]

Both run in turns on the same machine, threads, precision (float32 on the CPU; float16 for the step and bfloat16 for the
VAE on a GPU), weights and inputs; the outputs are compared too. Bound: ours takes at most as long (median of the turns).
Needs torch, diffusers and safetensors in the Python that runs it:
python3 -m venv V && V/bin/pip install torch==2.11.0 diffusers safetensors transformers
"""
import argparse
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[3]

# Parts of a transformer's names in diffusers, and in WAN's own files.
STEP_NAMES = [("condition_embedder.time_embedder.linear_1.", "time_embedding.0."),
              ("condition_embedder.time_embedder.linear_2.", "time_embedding.2."),
              ("condition_embedder.time_proj.", "time_projection.1."),
              ("condition_embedder.text_embedder.linear_1.", "text_embedding.0."),
              ("condition_embedder.text_embedder.linear_2.", "text_embedding.2."),
              ("proj_out.", "head.head."), (".attn1.", ".self_attn."), (".attn2.", ".cross_attn."), (".to_q.", ".q."),
              (".to_k.", ".k."), (".to_v.", ".v."), (".to_out.0.", ".o."), (".ffn.net.0.proj.", ".ffn.0."),
              (".ffn.net.2.", ".ffn.2."), (".norm2.", ".norm3."), (".scale_shift_table", ".modulation")]
VAE_NAMES = [("post_quant_conv.", "conv2."), ("quant_conv.", "conv1."), (".conv_in.", ".conv1."),
             (".mid_block.resnets.0.", ".middle.0."), (".mid_block.resnets.1.", ".middle.2."),
             (".mid_block.attentions.0.", ".middle.1."), (".norm_out.", ".head.0."), (".conv_out.", ".head.2."),
             (".down_blocks.", ".downsamples.")]
RES_NAMES = [(".norm1.", ".residual.0."), (".conv1.", ".residual.2."), (".norm2.", ".residual.3."),
             (".conv2.", ".residual.6."), (".conv_shortcut.", ".shortcut.")]


def step_name(name):
    for theirs, ours in STEP_NAMES:
        name = name.replace(theirs, ours)
    return "head.modulation" if name == "scale_shift_table" else name


def vae_name(name):
    inside = re.search(r"(down_blocks|up_blocks|resnets)\.", name)
    for theirs, ours in RES_NAMES if inside else []:
        name = name.replace(theirs, ours)
    for theirs, ours in VAE_NAMES:
        if not (inside and theirs in (".conv_in.", ".conv_out.", ".norm_out.")):
            name = name.replace(theirs, ours, 1)
    name = re.sub(r"up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f"upsamples.{4 * int(m[1]) + int(m[2])}.", name)
    return re.sub(r"up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f"upsamples.{4 * int(m[1]) + 3}.", name)


def race(title, options, bench, weights, io, theirs_call, dtype, save_file, folder):
    """Both in turns; prints the line of the report."""
    def timed():
        begin = time.perf_counter()
        out = theirs_call()
        return time.perf_counter() - begin, out

    theirs, ours = [], []
    io["out"] = timed()[1].contiguous()
    save_file(io, f"{folder}/io.safetensors")
    for _ in range(options.repeats):
        theirs.append(timed()[0])
        line = subprocess.check_output([f"{options.bin}/{bench}", weights, f"{folder}/io.safetensors", str(options.threads),
                                        "1", options.device], text=True)
        result = json.loads(line.splitlines()[-1])
        ours += result["seconds"]
    ratio = statistics.median(ours) / statistics.median(theirs)
    good = ratio <= 1.0
    print(f"{title}, {str(dtype)[6:]}: {ratio:.2f}x of diffusers (bound <= 1.0x, {'OK' if good else 'MISSED'}; "
          f"ours {statistics.median(ours):.2f} s, theirs {statistics.median(theirs):.2f} s, largest difference "
          f"{result['difference']:.2g} of {io['out'].abs().max().item():.2g}; {options.threads} threads, "
          f"load {os.getloadavg()[0]:.1f})", flush=True)
    return good


def step(options, torch, diffusers, save_file, folder):
    dtype = torch.float32 if options.device == "cpu" else torch.float16
    torch.manual_seed(0)
    with torch.device("meta"):
        model = diffusers.WanTransformer3DModel(
            num_attention_heads=12, attention_head_dim=128, in_channels=16, out_channels=16, text_dim=4096, freq_dim=256,
            ffn_dim=8960, num_layers=options.layers, cross_attn_norm=True, qk_norm="rms_norm_across_heads")
    rope = diffusers.models.transformers.transformer_wan.WanRotaryPosEmbed(128, (1, 2, 2), 1024)
    model = model.to_empty(device="cpu").eval()
    model.rope = rope
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0) if "norm" in name and name.endswith("weight") else weight.normal_(0, 0.02)
    model.to(dtype)
    weights = f"{folder}/step.safetensors"
    save_file({step_name(k): v.contiguous() for k, v in model.state_dict().items()}, weights)
    frames, side = (options.frames - 1) // 4 + 1, options.side // 8
    io = {"x": torch.randn(1, 16, frames, side, side), "t": torch.full((1,), 500.0), "context": torch.randn(1, 512, 4096)}
    model.to(options.device)
    x, t, context = (v.to(options.device, dtype) for v in io.values())

    def call():
        with torch.inference_mode():
            return model(hidden_states=x, timestep=t, encoder_hidden_states=context).sample.float().cpu()

    title = f"WAN 1.3B step ({options.layers} blocks), {options.frames} frames of {options.side}x{options.side}"
    return race(title, options, "unet_step_bench", weights, io, call, dtype, save_file, folder)


def vae(options, torch, diffusers, save_file, folder):
    dtype = torch.float32 if options.device == "cpu" else torch.bfloat16
    torch.manual_seed(0)
    model = diffusers.AutoencoderKLWan().eval().to(dtype)
    weights = f"{folder}/vae.safetensors"
    save_file({vae_name(k): v.contiguous() for k, v in model.state_dict().items()}, weights)
    frames, side = (options.frames - 1) // 4 + 1, options.side // 8
    io = {"z": torch.randn(1, 16, frames, side, side)}
    model.to(options.device)
    z = io["z"].to(options.device, dtype)

    def call():
        with torch.inference_mode():
            video = model.decode(z).sample.float().cpu()
            return ((video[0] + 1) / 2).clamp(0, 1).permute(1, 2, 3, 0)

    title = f"WAN 2.1 VAE decode, {options.frames} frames of {options.side}x{options.side}"
    return race(title, options, "vae_decode_bench", weights, io, call, dtype, save_file, folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=str(SOURCE / "build/bin"))
    parser.add_argument("--part", action="append", choices=["step", "vae"])
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    import diffusers
    import torch
    from safetensors.torch import save_file
    torch.set_num_threads(options.threads)
    parts = {"step": step, "vae": vae}
    good = True
    for part in options.part or parts:
        with tempfile.TemporaryDirectory() as folder:
            good = parts[part](options, torch, diffusers, save_file, folder) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
