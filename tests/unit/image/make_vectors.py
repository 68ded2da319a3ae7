#!/usr/bin/env python3
"""Writes vectors.txt: what Pillow 13 gives for small random pictures. Run with `pip install pillow==13.0.0 numpy`.

Line: op, numbers, input bytes in hex, output bytes in hex. The tests compare every byte.
  resize FILTER WIDTH HEIGHT CHANNELS TO_WIDTH TO_HEIGHT IN OUT
  blur SIGMA WIDTH HEIGHT CHANNELS IN OUT
  blend WIDTH HEIGHT IN OUT       IN: base RGB, tile RGB, mask L, one after the other
  seam SHAPE WIDTH HEIGHT OUT     (L)
  orient NUMBER WIDTH HEIGHT IN TO_WIDTH TO_HEIGHT OUT    (L)
  frames FILE WIDTH HEIGHT COUNT RGB...
  text FILE KEY TEXT KEY TEXT ...    keys and texts in hex, UTF-8
  file FORMAT WIDTH HEIGHT HAS_ALPHA FILE RGB ALPHA    by LoadImage's rules (spec engine.md 11.2)
"""
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageFilter, ImageOps
from PIL.PngImagePlugin import PngInfo

rng = np.random.default_rng(20261123)
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "lanczos": Image.LANCZOS}


def picture(width, height, channels, smooth=False):
    values = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    image = Image.fromarray(values[:, :, 0] if channels == 1 else values, MODES[channels])
    return image.filter(ImageFilter.GaussianBlur(1.5)) if smooth else image


def hexed(image):
    return np.asarray(image).tobytes().hex() or "-"


lines = []
# Shrinking, growing, one axis only, alpha, and shapes on both sides of the rule which axis comes first.
for name, w, h, c, tw, th in [
    ("lanczos", 36, 36, 3, 34, 34), ("lanczos", 17, 9, 1, 40, 30), ("lanczos", 40, 20, 1, 40, 9),
    ("lanczos", 13, 40, 3, 12, 11), ("bicubic", 12, 47, 1, 30, 34), ("bicubic", 7, 5, 3, 23, 19),
    ("bicubic", 41, 74, 1, 39, 70), ("bilinear", 41, 75, 1, 39, 70), ("bilinear", 30, 12, 3, 9, 12),
    ("lanczos", 20, 18, 4, 11, 25), ("bilinear", 14, 11, 2, 30, 5),
    ("lanczos", 1, 1, 3, 5, 4), ("lanczos", 33, 3, 1, 1, 1),
]:
    image = picture(w, h, c)
    out = image.resize((tw, th), FILTERS[name])
    lines.append(f"resize {name} {w} {h} {c} {tw} {th} {hexed(image)} {hexed(out)}")
for sigma, w, h, c in [
    (0.3, 9, 7, 1), (1, 20, 11, 3), (2.7, 33, 18, 1), (4, 40, 35, 1), (8, 5, 60, 1), (16, 70, 20, 1), (64, 30, 30, 1),
]:
    image = picture(w, h, c)
    lines.append(f"blur {sigma} {w} {h} {c} {hexed(image)} {hexed(image.filter(ImageFilter.GaussianBlur(sigma)))}")
for w, h in [(24, 20), (7, 50)]:
    base, tile, mask = picture(w, h, 3), picture(w, h, 3), picture(w, h, 1)
    over = tile.convert("RGBA")
    over.putalpha(mask)
    out = Image.alpha_composite(base.convert("RGBA"), over).convert("RGB")
    lines.append(f"blend {w} {h} {hexed(base)}{hexed(tile)}{hexed(mask)} {hexed(out)}")
for orientation in range(1, 9):
    image = picture(5, 3, 1)
    image.getexif()[0x112] = orientation
    out = ImageOps.exif_transpose(image)
    lines.append(f"orient {orientation} 5 3 {hexed(image)} {out.width} {out.height} {hexed(out)}")


def file_case(fmt, image, **options):
    data = io.BytesIO()
    image.save(data, fmt, **options)
    bytes_case(fmt, data.getvalue())


def bytes_case(fmt, data):
    loaded = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    alpha = None
    if "A" in loaded.getbands():
        alpha = loaded.getchannel("A")
    elif loaded.mode == "P" and "transparency" in loaded.info:
        alpha = loaded.convert("RGBA").getchannel("A")
    lines.append(f"file {fmt} {loaded.width} {loaded.height} {int(alpha is not None)} {data.hex()} "
                 f"{hexed(loaded.convert('RGB'))} {hexed(alpha) if alpha else '-'}")


def interlaced_png(width, height, bits, colour_type, channels):
    """Pillow reads these but does not write them."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    rows = b""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for x, y, dx, dy in passes:
        row_bytes = (-(-(width - x) // dx) * channels * bits + 7) // 8
        if width > x:
            for _ in range(-(-(height - y) // dy)):
                rows += b"\0" + rng.integers(0, 256, row_bytes, dtype=np.uint8).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


turned = Image.Exif()
turned[0x112] = 6
for channels in MODES:
    file_case("PNG", picture(11, 7, channels))
file_case("PNG", picture(12, 9, 3).convert("1"))
file_case("PNG", picture(12, 9, 3).quantize(4), bits=2)
file_case("PNG", picture(12, 9, 3).quantize(16), transparency=3)
file_case("PNG", picture(12, 9, 3), transparency=(1, 2, 3))
file_case("PNG", picture(12, 9, 3), exif=turned)
bytes_case("PNG", interlaced_png(13, 11, 4, 0, 1))
bytes_case("PNG", interlaced_png(13, 11, 16, 2, 3))
bytes_case("PNG", interlaced_png(5, 3, 8, 6, 4))
file_case("JPEG", picture(24, 17, 3, True), quality=90)
file_case("JPEG", picture(24, 17, 3, True), quality=90, progressive=True, exif=turned)
file_case("JPEG", picture(24, 17, 1, True))
file_case("JPEG", picture(24, 17, 3, True).convert("CMYK"))
file_case("WEBP", picture(16, 12, 3, True), quality=80)
file_case("WEBP", picture(9, 12, 4), lossless=True, exact=True, exif=turned)

animation = [picture(9, 6, 3, True) for _ in range(3)]
data = io.BytesIO()
animation[0].save(data, "WEBP", save_all=True, append_images=animation[1:], lossless=True)
lines.append(f"frames {data.getvalue().hex()} 9 6 3 " + " ".join(hexed(frame) for frame in animation))


def text_case(data, pairs):
    fields = " ".join(f"{key.encode().hex()} {text.encode().hex()}" for key, text in pairs)
    lines.append(f"text {data.hex()} {fields}")


info = PngInfo()
info.add_text("prompt", '{"1": {"class_type": "KSampler"}}')
info.add_text("latin", "gr\u00fc\u00df")
info.add_text("packed", "x" * 300, zip=True)
info.add_itxt("snow", "\u2744", "en", "Schnee")
info.add_itxt("packed snow", "\u2744" * 50, zip=True)
data = io.BytesIO()
picture(3, 3, 3).save(data, "PNG", pnginfo=info)
text_case(data.getvalue(), [("prompt", '{"1": {"class_type": "KSampler"}}'), ("latin", "gr\u00fc\u00df"),
                            ("packed", "x" * 300), ("snow", "\u2744"), ("packed snow", "\u2744" * 50)])
tags = Image.Exif()  # as SaveAnimatedWEBP does
tags[0x0110] = 'prompt:{"1": {}}'
tags[0x010F] = 'workflow:{"nodes": []}'
for fmt in ("WEBP", "JPEG"):
    data = io.BytesIO()
    picture(8, 8, 3).save(data, fmt, exif=tags)
    text_case(data.getvalue(), [("workflow", '{"nodes": []}'), ("prompt", '{"1": {}}')])

def two_halves(first, second, size, at):
    image = Image.new("L", size)
    image.paste(first, (0, 0))
    image.paste(second, at)
    return image


# The pictures of seam masks (spec distributed.md 3.16), odd sizes included.
linear, radial = Image.linear_gradient("L"), Image.radial_gradient("L")
band = two_halves(linear.resize((256, 128), Image.BICUBIC), linear.rotate(180).resize((256, 128), Image.BICUBIC),
                  (256, 256), (0, 128))
for w, h in [(64, 40), (33, 47), (7, 90)]:
    upper, lower = ((w, h // 2), (0, h // 2)), ((w // 2, h), (w // 2, 0))
    pictures = {
        "band_column": band.rotate(90).resize((w, h), Image.BICUBIC),
        "band_row": band.resize((w, h), Image.BICUBIC),
        "half_row": two_halves(linear.resize(upper[0], Image.BICUBIC), linear.rotate(180).resize(upper[0], Image.BICUBIC),
                               (w, h), upper[1]),
        "half_column": two_halves(linear.rotate(90).resize(lower[0], Image.BICUBIC),
                                  linear.rotate(270).resize(lower[0], Image.BICUBIC), (w, h), lower[1]),
        "intersection": ImageOps.invert(radial.resize((w, h), Image.BICUBIC)),
    }
    for name, image in pictures.items():
        lines.append(f"seam {name} {w} {h} {hexed(image)}")

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "vectors.txt"), "w") as out:
    out.write("\n".join(lines) + "\n")
