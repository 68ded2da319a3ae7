"""Tiny models under the names that ComfyUI-Distributed's five sample workflows ask for: the golden data's own where it has
one (renamed, or packed anew as GGUF or scaled fp8), random weights of the published layouts for the rest.
"""
import json
import pathlib
import random
import struct

SIZES = {"F16": 2, "F32": 4, "U8": 1, "F8_E4M3": 1}
GGML_F32, GGML_F16, GGML_Q8_0 = 0, 1, 8
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9


def read(path):
    """name -> (dtype, shape, bytes) of a safetensors file."""
    raw = pathlib.Path(path).read_bytes()
    n = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8:8 + n])
    return {name: (t["dtype"], t["shape"], raw[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in head.items() if name != "__metadata__"}


def write(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    head, data = {}, bytearray()
    for name, (dtype, shape, raw) in sorted(tensors.items()):
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def count(shape):
    n = 1
    for side in shape:
        n *= side
    return n


class Noise:
    """Random fp16 weights between 2^-10 and 2^-6, either sign: fast, and the same on every machine."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.table = bytes(((b & 1) << 7) | (0x14 + (b >> 1) % 16) for b in range(256))

    def __call__(self, *shape):
        n = count(shape)
        raw = bytearray(2 * n)
        raw[0::2] = self.random.randbytes(n)
        raw[1::2] = self.random.randbytes(n).translate(self.table)
        return ("F16", list(shape), bytes(raw))


def ones(n):
    return ("F16", [n], struct.pack("<e", 1.0) * n)


def floats(tensor):
    dtype, shape, raw = tensor
    return struct.unpack(f"<{count(shape)}{'e' if dtype == 'F16' else 'f'}", raw)


# ---- scaled fp8

def e4m3_table():
    """The 127 finite magnitudes of e4m3, ascending; a value's index is its code."""
    return [(m / 8) * 2.0 ** -6 if e == 0 else (1 + m / 8) * 2.0 ** (e - 7) for e in range(16) for m in range(8)][:127]


def scaled_fp8(tensors):
    """Linear weights in e4m3 with `scale_weight`, as published scaled files have them."""
    import bisect
    table = e4m3_table()
    middles = [(a + b) / 2 for a, b in zip(table, table[1:])]
    out = {"scaled_fp8": ("F8_E4M3", [2], b"\0\0")}
    for name, tensor in tensors.items():
        if len(tensor[1]) != 2 or not name.endswith(".weight") or not name.startswith("blocks."):
            out[name] = tensor
            continue
        values = floats(tensor)
        scale = max(max(abs(v) for v in values) / 448.0, 1e-12)
        codes = {}
        raw = bytearray()
        for v in values:
            code = codes.get(v)
            if code is None:
                code = codes[v] = bisect.bisect_left(middles, abs(v) / scale) | (0x80 if v < 0 else 0)
            raw.append(code)
        out[name] = ("F8_E4M3", tensor[1], bytes(raw))
        out[name[:-len("weight")] + "scale_weight"] = ("F32", [], struct.pack("<f", scale))
    return out


# ---- GGUF. Source: spec extras.md 3.2, 3.3, 3.5

def q8_0(values):
    raw = bytearray()
    for at in range(0, len(values), 32):
        block = values[at:at + 32]
        scale = max(max(block), -min(block)) / 127.0
        inverse = 1.0 / scale if scale else 0.0
        raw += struct.pack("<e32b", scale, *(round(v * inverse) for v in block))
    return bytes(raw)


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def meta(key, kind, value, element=None):
    out = text(key) + struct.pack("<I", kind)
    if kind == STRING:
        return out + text(value)
    if kind == ARRAY:
        out += struct.pack("<IQ", element, len(value))
        if element == STRING:
            return out + b"".join(text(v) for v in value)
        return out + struct.pack(f"<{len(value)}{'f' if element == F32 else 'i'}", *value)
    return out + struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def write_gguf(path, architecture, tensors, metadata=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    entries, data = [], bytearray()
    for name, tensor in sorted(tensors.items()):
        shape, values = tensor[1], floats(tensor)
        if len(shape) == 2 and shape[1] % 32 == 0:
            kind, raw = GGML_Q8_0, q8_0(values)
        elif len(shape) == 2:
            kind, raw = GGML_F16, tensor[2]
        else:
            kind, raw = GGML_F32, struct.pack(f"<{len(values)}f", *values)
        data += b"\0" * (-len(data) % 32)
        sizes = list(reversed(shape)) or [1]
        entries.append(text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data)))
        data += raw
    metas = [meta("general.architecture", STRING, architecture), *metadata]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(entries), len(metas)) + b"".join(metas) + b"".join(entries)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)


def varint(raw, at):
    value = shift = 0
    while True:
        value |= (raw[at] & 127) << shift
        shift += 7
        at += 1
        if raw[at - 1] < 128:
            return value, at


def fields(raw):
    """(number, value) of a protobuf message."""
    at = 0
    while at < len(raw):
        key, at = varint(raw, at)
        if key & 7 == 0:
            value, at = varint(raw, at)
        else:
            size = {1: 8, 5: 4}.get(key & 7)
            if size is None:
                size, at = varint(raw, at)
            value, at = raw[at:at + size], at + size
        yield key >> 3, value


def umt5_gguf(path, tensors):
    """llama.cpp's names and metadata of a UMT5 encoder; the tokenizer comes out of its sentencepiece model."""
    pieces = []
    for number, value in fields(tensors["spiece_model"][2]):
        if number == 1:
            piece = dict(fields(value))
            pieces.append((piece.get(1, b""), struct.unpack("<f", piece.get(2, b"\0\0\0\0"))[0], piece.get(3, 1)))
    # Longest first: "wi_0" must not be taken for a part of another name.
    names = [("encoder.block.", "enc.blk."), ("layer.0.SelfAttention.relative_attention_bias", "attn_rel_b"),
             ("layer.0.SelfAttention.", "attn_"), ("layer.0.layer_norm", "attn_norm"), ("layer.1.layer_norm", "ffn_norm"),
             ("layer.1.DenseReluDense.wi_0", "ffn_gate"), ("layer.1.DenseReluDense.wi_1", "ffn_up"),
             ("layer.1.DenseReluDense.wo", "ffn_down"), ("encoder.final_layer_norm", "enc.output_norm"),
             ("shared.weight", "token_embd.weight")]
    renamed = {}
    for name, tensor in tensors.items():
        if name == "spiece_model":
            continue
        for theirs, ours in names:
            name = name.replace(theirs, ours)
        renamed[name] = tensor
    write_gguf(path, "t5encoder", renamed, [
        meta("tokenizer.ggml.model", STRING, "t5"),
        meta("tokenizer.ggml.tokens", ARRAY, [p[0] for p in pieces], STRING),
        meta("tokenizer.ggml.scores", ARRAY, [p[1] for p in pieces], F32),
        meta("tokenizer.ggml.token_type", ARRAY, [p[2] for p in pieces], I32),
        meta("tokenizer.ggml.add_space_prefix", BOOL, True),
        meta("tokenizer.ggml.remove_extra_whitespaces", BOOL, False),
        meta("tokenizer.ggml.eos_token_id", U32, 1),
        meta("tokenizer.ggml.padding_token_id", U32, 0)])


# ---- networks of which the golden data has none

def clip_vision_h(noise):
    """CLIP vision's layout at ViT-H's width and patch, two layers of narrow MLPs."""
    width, hidden = 1280, 64
    root = "vision_model."
    out = {root + "embeddings.class_embedding": noise(width),
           root + "embeddings.patch_embedding.weight": noise(width, 3, 14, 14),
           root + "embeddings.position_embedding.weight": noise(257, width),
           "visual_projection.weight": noise(64, width)}

    def norm(name):
        out[name + ".weight"], out[name + ".bias"] = ones(width), noise(width)

    def linear(name, into, of):
        out[name + ".weight"], out[name + ".bias"] = noise(into, of), noise(into)

    norm(root + "pre_layrnorm")
    norm(root + "post_layernorm")
    for i in range(2):
        at = f"{root}encoder.layers.{i}."
        norm(at + "layer_norm1")
        norm(at + "layer_norm2")
        for part in "qkv":
            linear(f"{at}self_attn.{part}_proj", width, width)
        linear(at + "self_attn.out_proj", width, width)
        linear(at + "mlp.fc1", hidden, width)
        linear(at + "mlp.fc2", width, hidden)
    return out


def union_control_net(noise, checkpoint):
    """A control network of several kinds: the checkpoint's own encoder, with hint, kinds and outputs of random weights."""
    prefix = "model.diffusion_model."
    out = {name[len(prefix):]: tensor for name, tensor in checkpoint.items()
           if name.startswith(prefix) and name[len(prefix):].startswith(("input_blocks.", "middle_block.", "time_embed.", "label_emb."))}
    c, kinds = out["input_blocks.0.0.weight"][1][0], 8

    def layer(name, *shape):
        out[name + ".weight"], out[name + ".bias"] = noise(*shape), noise(shape[0])

    channels = [3, 16, 16, 32, 32, 96, 96, 256, c]
    for i in range(8):
        layer(f"input_hint_block.{2 * i}", channels[i + 1], channels[i], 3, 3)
    block = 0
    width = c
    while any(name.startswith(f"input_blocks.{block}.") for name in out):
        for part in ("0.weight", "0.op.weight", "0.out_layers.3.weight"):
            width = out.get(f"input_blocks.{block}.{part}", (0, [width]))[1][0]
        layer(f"zero_convs.{block}.0", width, width, 1, 1)
        block += 1
    layer("middle_block_out.0", width, width, 1, 1)
    out["task_embedding"] = noise(kinds, c)
    layer("spatial_ch_projs", c, c)
    layer("control_add_embedding.linear_1", 4 * c, kinds * 256)
    layer("control_add_embedding.linear_2", 4 * c, 4 * c)
    at = "transformer_layes.0."
    out[at + "attn.in_proj_weight"], out[at + "attn.in_proj_bias"] = noise(3 * c, c), noise(3 * c)
    layer(at + "attn.out_proj", c, c)
    layer(at + "mlp.c_fc", 4 * c, c)
    layer(at + "mlp.c_proj", c, 4 * c)
    for norm in ("ln_1", "ln_2"):
        out[at + norm + ".weight"], out[at + norm + ".bias"] = ones(c), noise(c)
    return out


def lora(noise, network, down, up):
    """Rank 4 on every linear layer of the attentions and MLPs."""
    out = {}
    for name, (_, shape, _) in network.items():
        if name.startswith("blocks.") and name.endswith(".weight") and len(shape) == 2:
            layer = "diffusion_model." + name[:-len(".weight")]
            out[f"{layer}.{down}.weight"] = noise(4, shape[1])
            out[f"{layer}.{up}.weight"] = noise(shape[0], 4)
    return out


def make(models, golden_models):
    """Writes all models below `models`. golden_models: the folder that ../shared/golden/unpack names."""
    models, golden = pathlib.Path(models), pathlib.Path(golden_models)
    noise = Noise(7)
    sdxl = read(golden / "checkpoints/tiny_sdxl.safetensors")
    write(models / "checkpoints/SDXL/juggernautXL_ragnarokBy.safetensors", sdxl)
    write(models / "controlnet/SDXL/xinsir-controlnet-union-sdxl-1.0-promax.safetensors", union_control_net(noise, sdxl))
    low = read(golden / "diffusion_models/tiny_wan22_low.safetensors")
    image_to_video = read(golden / "diffusion_models/tiny_wan21_i2v.safetensors")
    write(models / "diffusion_models/wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", scaled_fp8(low))
    write_gguf(models / "diffusion_models/Wan2.2-T2V-A14B-LowNoise-Q8_0.gguf", "wan", low)
    write_gguf(models / "diffusion_models/wan2.1-i2v-14b-720p-Q8_0.gguf", "wan", image_to_video)
    write(models / "loras/Wan2.2-Lightning_T2V-v1.1-A14B-4steps-lora_LOW_fp16.safetensors",
          lora(noise, low, "lora_down", "lora_up"))
    for folder in ("", "WAN/"):
        write(models / f"loras/{folder}Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32.safetensors",
              lora(noise, low, "lora_A", "lora_B"))
    umt5 = read(golden / "text_encoders/tiny_umt5.safetensors")
    write(models / "text_encoders/umt5_xxl_fp16.safetensors", umt5)
    umt5_gguf(models / "text_encoders/umt5-xxl-encoder-Q8_0.gguf", umt5)
    write(models / "vae/wan_2.1_vae.safetensors", read(golden / "vae/tiny_wan21_vae.safetensors"))
    write(models / "clip_vision/clip_vision_h.safetensors", clip_vision_h(noise))
