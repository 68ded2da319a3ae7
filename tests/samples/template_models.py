"""Models for the official templates: tiny ones of the golden data under the templates' file names, by what the name says."""
import io
import pathlib
import pickle
import re
import struct
import sys
import types
import zipfile

from tiny_models import Noise, clip_vision_h, count, ones, read, scaled_fp8, write

# A model's folder, a pattern of its name, and the maker below that writes it. The first that fits is taken.
RULES = [
    ("checkpoints", r"inpaint", "sd15_inpaint"),
    ("checkpoints", r"v2-1_768", "sd21"),
    ("checkpoints", r"sd_xl_base", "sdxl"),
    ("checkpoints", r"flux1", "flux_checkpoint"),
    ("checkpoints", r"sd3\.?5", "sd3_checkpoint"),
    ("checkpoints", r"refiner|lumina|yume", None),
    ("checkpoints", r".", "sd15"),
    ("diffusion_models", r"schnell", "flux_schnell"),
    ("diffusion_models", r"flux1", "flux_dev"),
    ("diffusion_models", r"wan.*(camera|animate|s2v|humo)", None),
    ("diffusion_models", r"wan.*fun_control_5b", "wan_5b_control"),
    ("diffusion_models", r"wan.*fun_inpaint_5b", "wan_5b_inpaint"),
    ("diffusion_models", r"wan.*5b", "wan_5b"),
    ("diffusion_models", r"wan2\.2.*fun_control", "wan22_control"),
    ("diffusion_models", r"wan2\.2.*(i2v|fun_inpaint)", "wan22_i2v"),
    ("diffusion_models", r"wan.*fun_control", "wan_control"),
    ("diffusion_models", r"wan.*(i2v|flf2v|fun_inp)", "wan_i2v"),
    ("diffusion_models", r"wan.*vace", "wan_vace"),
    ("diffusion_models", r"wan.*t2v", "wan_t2v"),
    ("text_encoders", r"umt5", "umt5"),
    ("vae", r"wan2\.2", "wan22_vae"),
    ("vae", r"wan", "wan21_vae"),
    ("text_encoders", r"t5xxl", "t5"),
    ("text_encoders", r"clip_l", "clip_l"),
    ("text_encoders", r"clip_g", "clip_g"),
    ("vae", r"^ae\.", "vae16"),
    ("vae", r"ft-mse|vae", "sd15_vae"),
    ("controlnet", r"t2i", "t2i_adapter"),
    ("controlnet", r"sd15", "control_sd15"),
    ("clip_vision", r"sigclip", "siglip"),
    ("clip_vision", r"_g\.", "clip_vision_g"),
    ("clip_vision", r".", "clip_vision"),
    ("style_models", r"redux", "redux"),
    ("upscale_models", r"\.pth$", "upscaler_pth"),
    ("upscale_models", r".", "upscaler"),
    ("loras", r".", "sd15_lora"),
]
FOLDERS = {"CheckpointLoaderSimple.ckpt_name": "checkpoints", "UNETLoader.unet_name": "diffusion_models",
           "CLIPLoader.clip_name": "text_encoders", "DualCLIPLoader.clip_name1": "text_encoders",
           "DualCLIPLoader.clip_name2": "text_encoders", "VAELoader.vae_name": "vae",
           "ControlNetLoader.control_net_name": "controlnet", "CLIPVisionLoader.clip_name": "clip_vision",
           "StyleModelLoader.style_model_name": "style_models", "UpscaleModelLoader.model_name": "upscale_models",
           "LoraLoader.lora_name": "loras", "LoraLoaderModelOnly.lora_name": "loras"}


def write_pth(path, tensors):
    """A torch.save file (zip) of float32 tensors."""
    path.parent.mkdir(parents=True, exist_ok=True)

    class Storage:
        def __init__(self, key, size):
            self.key, self.size = key, size

    class FloatStorage:
        pass

    def _rebuild_tensor_v2(*arguments):
        raise TypeError(arguments)

    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, item in ((torch, FloatStorage), (utils, _rebuild_tensor_v2)):
        item.__module__, item.__qualname__ = module.__name__, item.__name__
        setattr(module, item.__name__, item)

    class Tensor:
        def __init__(self, storage, shape):
            self.storage, self.shape = storage, shape

        def __reduce__(self):
            strides, step = [], 1
            for side in reversed(self.shape):
                strides.insert(0, step)
                step *= side
            return _rebuild_tensor_v2, (self.storage, 0, tuple(self.shape), tuple(strides), False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, item):
            return ("storage", FloatStorage, item.key, "cpu", item.size) if isinstance(item, Storage) else None

    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": torch, "torch._utils": utils})
    try:
        with zipfile.ZipFile(path, "w") as archive:
            state = {}
            for key, (name, (dtype, shape, raw)) in enumerate(sorted(tensors.items())):
                values = struct.unpack(f"<{count(shape)}{'e' if dtype == 'F16' else 'f'}", raw)
                archive.writestr(f"archive/data/{key}", struct.pack(f"<{len(values)}f", *values))
                state[name] = Tensor(Storage(str(key), len(values)), shape)
            buffer = io.BytesIO()
            Pickler(buffer, 2).dump(state)
            archive.writestr("archive/data.pkl", buffer.getvalue())
            archive.writestr("archive/version", "3\n")
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


NETWORK = "model.diffusion_model."


def prefixed(prefix, tensors):
    return {name if name.startswith(prefix) else prefix + name: tensor for name, tensor in tensors.items()}


def siglip(noise, width=64, size=56, patch=14):
    root, side = "vision_model.", size // patch
    out = {root + "embeddings.patch_embedding.weight": noise(width, 3, patch, patch),
           root + "embeddings.patch_embedding.bias": noise(width),
           root + "embeddings.position_embedding.weight": noise(side * side, width)}
    for norm in ["post_layernorm"] + [f"encoder.layers.{i}.layer_norm{k}" for i in range(2) for k in (1, 2)]:
        out[f"{root}{norm}.weight"], out[f"{root}{norm}.bias"] = ones(width), noise(width)
    for i in range(2):
        at = f"{root}encoder.layers.{i}."
        for name, into, of in [(f"self_attn.{p}_proj", width, width) for p in ("q", "k", "v", "out")] + \
                              [("mlp.fc1", 2 * width, width), ("mlp.fc2", width, 2 * width)]:
            out[f"{at}{name}.weight"], out[f"{at}{name}.bias"] = noise(into, of), noise(into)
    return out


def t2i_adapter(noise):
    widths, out, channels = [32, 64, 64, 64], {}, 32

    def conv(name, into, of, kernel):
        out[name + ".weight"], out[name + ".bias"] = noise(into, of, kernel, kernel), noise(into)

    conv("conv_in", channels, 192, 3)
    for i in range(8):
        wide = widths[i // 2]
        if wide != channels:
            conv(f"body.{i}.in_conv", wide, channels, 1)
        conv(f"body.{i}.block1", wide, wide, 3)
        conv(f"body.{i}.block2", wide, wide, 1)
        channels = wide
    return out


class Maker:
    def __init__(self, golden_models):
        self.golden = pathlib.Path(golden_models)
        self.noise = Noise(11)

    def tiny(self, name):
        return read(self.golden / f"{name}.safetensors")

    def part(self, checkpoint, prefix):
        return {n[len(prefix):]: t for n, t in self.tiny(checkpoint).items() if n.startswith(prefix)}

    def sd15(self): return self.tiny("checkpoints/tiny_sd15")
    def sd21(self): return self.tiny("checkpoints/tiny_sd21_v")
    def sdxl(self): return self.tiny("checkpoints/tiny_sdxl")
    def flux_dev(self): return self.tiny("diffusion_models/tiny_flux_dev")
    def flux_schnell(self): return self.tiny("diffusion_models/tiny_flux_schnell")
    def t5(self): return self.tiny("text_encoders/tiny_t5xxl")
    def clip_l(self): return self.tiny("text_encoders/tiny_clip_l")
    def clip_g(self): return self.tiny("text_encoders/tiny_clip_g")
    def vae16(self): return self.tiny("vae/tiny_vae16")
    def control_sd15(self): return self.tiny("controlnet/sd15_cn_a")
    def upscaler(self): return self.tiny("upscale_models/tiny_compact")
    def sd15_lora(self): return self.tiny("loras/sd15_kohya_a")
    def sd15_vae(self): return self.part("checkpoints/tiny_sd15", "first_stage_model.")
    def siglip(self): return siglip(self.noise)
    def t2i_adapter(self): return t2i_adapter(self.noise)
    def clip_vision(self): return clip_vision_h(self.noise)
    def clip_vision_g(self): return clip_vision_h(self.noise) | {"visual_projection.weight": self.noise(128, 1280)}

    def umt5(self): return self.tiny("text_encoders/tiny_umt5")
    def wan21_vae(self): return self.tiny("vae/tiny_wan21_vae")
    def wan22_vae(self): return self.tiny("vae/tiny_wan22_vae")
    def wan_t2v(self): return self.tiny("diffusion_models/tiny_wan21_t2v")
    def wan_i2v(self): return self.tiny("diffusion_models/tiny_wan21_i2v")
    def wan_5b(self): return self.tiny("diffusion_models/tiny_wan22_ti2v5b")
    def wan22_i2v(self): return self.wan(self.wan_t2v(), 36)
    def wan22_control(self): return self.wan(self.wan_t2v(), 52, 16)
    def wan_control(self): return self.wan(self.wan_i2v(), 48, 16)
    def wan_5b_inpaint(self): return self.wan(self.wan_5b(), 100)
    def wan_5b_control(self): return self.wan(self.wan_5b(), 148, 48)

    def wan(self, network, channels, reference=0, width=256):
        """`network` with other input channels and, if not 0, a layer for a reference latent of so many."""
        more = {"patch_embedding.weight": self.noise(width, channels, 1, 2, 2)}
        if reference:
            more |= {"ref_conv.weight": self.noise(width, reference, 2, 2), "ref_conv.bias": self.noise(width)}
        return network | more

    def wan_vace(self, width=256):
        network = self.wan_t2v()
        out = network | {"vace_" + n: t for n, t in network.items() if n.startswith("blocks.0.")}
        out |= {"vace_patch_embedding.weight": self.noise(width, 96, 1, 2, 2), "vace_patch_embedding.bias": self.noise(width)}
        for layer in ("before_proj", "after_proj"):
            out |= {f"vace_blocks.0.{layer}.weight": self.noise(width, width), f"vace_blocks.0.{layer}.bias": self.noise(width)}
        return out

    def redux(self):
        return {"redux_up.weight": self.noise(192, 64), "redux_up.bias": self.noise(192),
                "redux_down.weight": self.noise(64, 192), "redux_down.bias": self.noise(64)}

    def sd15_inpaint(self):
        rest = {n: t for n, t in self.sd15().items() if not n.startswith(NETWORK)}
        return rest | prefixed(NETWORK, self.tiny("diffusion_models/tiny_sd15_inpaint_unet"))

    def whole(self, network, encoders):
        out = prefixed(NETWORK, network) | prefixed("vae.", self.vae16())
        for name, tensors in encoders.items():
            out |= prefixed(f"text_encoders.{name}.transformer.", tensors)
        return out

    def flux_checkpoint(self):
        return self.whole(self.flux_dev(), {"clip_l": self.clip_l(), "t5xxl": self.t5()})

    def sd3_checkpoint(self):
        return self.whole(self.tiny("diffusion_models/tiny_sd3"),
                          {"clip_l": self.clip_l(), "clip_g": self.clip_g()})


def make(models, golden_models, wanted):
    """Writes the files of `wanted` ((folder, name)...) and returns those for which there is no rule or no maker."""
    maker, missing = Maker(golden_models), []
    for folder, name in sorted(wanted):
        rule = next((m for f, pattern, m in RULES if f == folder and re.search(pattern, name, re.I)), None)
        path = pathlib.Path(models) / folder / name.replace("\\", "/")
        if rule is None:
            missing.append(name)
        elif rule == "upscaler_pth":
            write_pth(path, maker.upscaler())
        else:
            tensors = getattr(maker, rule)()
            write(path, scaled_fp8(tensors) if "fp8_scaled" in name and folder == "diffusion_models" else tensors)
    return missing
