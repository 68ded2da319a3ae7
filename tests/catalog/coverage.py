#!/usr/bin/env python3
"""Writes docs/coverage.md: which of the reference's editor workflows consist of declared node types only.

usage: coverage.py [--check]
environment: ATELIER_GOLDEN (default ../shared/golden beside the checkout)
--check   writes nothing; exit status 1 when docs/coverage.md is stale, 77 without the golden data
"""
import collections
import json
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = ROOT / "docs/coverage.md"
# Types that the editor resolves itself.
VIRTUAL = {"Note", "MarkdownNote", "PrimitiveNode", "Reroute"}
# What shows that a workflow is not about still pictures: a part of a type's name.
MOVING = ("Video", "VHS_", "Wan", "Audio", "Hunyuan3D", "Hunyuan3Dv2", "SaveGLB", "Mesh", "SVD_", "LTXV", "AnimatedWEBP",
          "Mochi", "Cosmos", "Frames Slice", "3D", "Zero123", "AceStep", "Temporal")
# Types that name a family outside of SD 1.x, 2.x, XL, FLUX.1 and SD3.
OTHER_FAMILY = ("HiDream", "Quadruple", "Qwen", "Chroma", "UltraCascade", "Cascade", "Lumina", "AuraFlow", "Lotus", "PixArt",
                "HunyuanImage", "HunyuanDiT", "Omnigen", "ReAura", "ReLTX", "T5TokenizerOptions")
# Packs whose nodes' behaviour the specification leaves out but for what is declared already, by a part of the module's
# name. Whoever writes a rule down takes the pack from here.
WITHOUT_RULES = {"RES4LYF": "RES4LYF"}
# Types that the specification names without a rule to make them by, and what is missing.
NO_RULE = {
    "ModelPatchLoader": "names and layout of the tensors in a model patch",
    "USOStyleReference": "which layers of the vision encoder are looked at, and how they become tokens",
    "ColorMatch": "not described (KJNodes)",
    "LotusConditioning": "the constant embedding's numbers",
    "GITSScheduler": "the table of levels",
    "QuadrupleCLIPLoader": "HiDream, another family",
    "T5TokenizerOptions": "what its two numbers do to the tokens",
    "WanCameraEmbedding": "the paths of the nine camera poses",
    "WanCameraImageToVideo": "the paths of the nine camera poses",
    "WanAnimateToVideo": "which frames, faces and masks go where",
    "LTXVConditioning": "LTXV, another family",
    "ImageOnlyCheckpointLoader": "Stable Video Diffusion, another family",
    "SVD_img2vid_Conditioning": "Stable Video Diffusion, another family",
    "VAEDecodeAudio": "sound models, another family",
    "EmptyLatentAudio": "sound models, another family",
    "EmptyAceStepLatentAudio": "sound models, another family",
    "TextEncodeAceStepAudio": "sound models, another family",
    "TextEncodeQwenImageEdit": "Qwen-Image's edit models, another family",
    "TextEncodeQwenImageEditPlus": "Qwen-Image's edit models, another family",
    "QwenImageDiffsynthControlnet": "names and layout of the tensors in a model patch",
    "ChromaRadianceOptions": "Chroma Radiance, another family",
    "VHS_BatchManager": "it has the prompt run again for each part of a clip; here windows do that (docs/frames.md)",
    "MaskFromRGBCMYBW+": "not described (ComfyUI_essentials)",
    "MaskPreview+": "not described (ComfyUI_essentials)",
    "BlockifyMask": "not described (KJNodes)",
    "DrawMaskOnImage": "not described (KJNodes)",
    "PointsEditor": "not described (KJNodes)",
    "DownloadAndLoadSAM2Model": "not described (SAM 2)",
    "Sam2Segmentation": "not described (SAM 2)",
    "DWPreprocessor": "not described (ControlNet preprocessors)",
    "PixelPerfectResolution": "not described (ControlNet preprocessors)",
    "easy imageInterrogator": "not described (Easy-Use)",
    **{name: "3D models, another family" for name in
       ("EmptyLatentHunyuan3Dv2", "VAEDecodeHunyuan3D", "VoxelToMesh", "SaveGLB", "Hunyuan3Dv2Conditioning",
        "Hunyuan3Dv2ConditioningMultiView")},
    **{f"UltraCascade_{name}": "not described (UltraCascade)" for name in
       ("Loader", "PerturbedAttentionGuidance", "StageB_Patcher", "StageC_VAEEncode_Exact")},
}
SOURCES = {"templates": "official templates", "distributed": "ComfyUI-Distributed", "usdu": "Ultimate SD Upscale",
           "vhs": "VideoHelperSuite", "res4": "RES4LYF", "hand": "made by hand for conversion tests"}


def has(types, marks):
    return any(mark in name for name in types for mark in marks)


def load(golden):
    """Name, source, types of the converted prompt (muted and bypassed nodes are gone there), all types."""
    workflows = json.loads((golden / "workflows/index.json").read_text())["workflows"]
    for item in workflows:
        if not item.get("all_local"):
            continue
        everything = set(item["node_types"]) - VIRTUAL
        prompt = golden / "workflows/api" / f"{item['name']}.json"
        active = everything
        if prompt.exists():
            nodes = json.loads(prompt.read_text())
            named = {n.get("class_type") for n in nodes.values()}
            # A node without class_type is of a type that the reference did not know; its name is in the editor file.
            active = {n for n in named if n} | (everything & set(item.get("unknown_types", [])) if None in named else set())
        yield item["name"], item["source"], active, everything


def without_rules(golden, rows):
    """The types of packs without rules, and those that occur and that no catalogue knows are none of them."""
    info = json.loads((golden / "workflows/object_info.json").read_text())
    modules = {name: node.get("python_module") or "" for name, node in info.items()}
    packs = {}
    for row in rows:
        for name in row[3]:
            pack = next((pack for mark, pack in WITHOUT_RULES.items() if mark in modules.get(name, "")), None)
            if pack:
                packs[name] = pack
    return packs


def percent(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else ""


def document(golden, declared):
    rows = list(load(golden))
    real = [row for row in rows if row[1] != "hand"]
    kinds = {
        "still pictures, families SD 1.x, 2.x, XL, FLUX.1, SD3": [],
        "still pictures, other families": [],
        "video, sound, 3D": [],
    }
    names = list(kinds)
    for row in real:
        kind = names[2] if has(row[3], MOVING) else names[1] if has(row[3], OTHER_FAMILY) else names[0]
        kinds[kind].append(row)
    lines = ["# Coverage of workflows", "",
             "Of the editor workflows in the golden data that need no partner API: how many consist of declared node types "
             "only. Counted are the types of the converted prompt, without muted and bypassed nodes; the last column counts "
             "those too. Written by `tests/catalog/coverage.py`; do not edit. The families of a workflow are guessed from its "
             "node types.", "",
             "A node is built from the specification's rule for it. Types that have none stand in the tables below with what "
             "is missing; the pack RES4LYF is described only as far as its samplers, its schedulers and "
             "ClownsharKSampler_Beta go, so its other nodes wait for someone who may describe them.", "",
             "| workflows | number | all types declared | share | also muted ones |", "|---|---|---|---|---|"]

    def line(title, group):
        ready = sum(row[2] <= declared for row in group)
        strict = sum(row[3] <= declared for row in group)
        lines.append(f"| {title} | {len(group)} | {ready} | {percent(ready, len(group))} | {strict} |")

    packs = without_rules(golden, rows)
    line("**all but those made by hand**", real)
    for title, group in kinds.items():
        line(title, group)
        bound = [row for row in group if not any(packs.get(name) for name in row[2] - declared)]
        if len(bound) < len(group):
            line("... of them without those that wait for nodes of " + ", ".join(sorted(set(packs.values()))), bound)
    for source in sorted({row[1] for row in rows}):
        line("from " + SOURCES.get(source, source), [row for row in rows if row[1] == source])
    for title, group in kinds.items():
        missing = collections.Counter(name for row in group for name in row[2] - declared)
        # A workflow waits for this type alone.
        last = collections.Counter(next(iter(row[2] - declared)) for row in group if len(row[2] - declared) == 1)
        lines += ["", f"## Missing: {title}", ""]
        if not missing:
            lines.append("Nothing.")
            continue
        lines += ["| type | workflows that wait for it | for it alone | no rule for it |", "|---|---|---|---|"]
        for name, count in sorted(missing.items(), key=lambda item: (-item[1], item[0].lower())):
            reason = f"pack {packs[name]}" if name in packs else NO_RULE.get(name, "")
            lines.append(f"| {name} | {count} | {last[name] or ''} | {reason} |")
    return "\n".join(lines) + "\n"


def main():
    check = "--check" in sys.argv[1:]
    golden = pathlib.Path(os.environ.get("ATELIER_GOLDEN") or ROOT.parent / "shared/golden")
    if not (golden / "workflows/index.json").exists():
        print(f"SKIPPED: no golden data at {golden}; set ATELIER_GOLDEN")
        return 77
    nodes = json.loads((ROOT / "config/catalog.json").read_text())["nodes"]
    text = document(golden, {node["type"] for node in nodes if not node.get("internal")})
    if not check:
        TARGET.write_text(text)
        return 0
    if not TARGET.exists() or TARGET.read_text() != text:
        print("docs/coverage.md is stale: python3 tests/catalog/coverage.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
