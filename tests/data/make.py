# /// script
# requires-python = ">=3.10"
# dependencies = ["captcha==0.7.1", "pillow==13.0.0"]
# ///
"""Draws the images in this folder and writes answers.json. The same versions give the same bytes."""

import hashlib
import io
import json
import math
import random
from pathlib import Path

import captcha.image
from PIL import Image, ImageDraw, ImageFont

HERE = Path(__file__).resolve().parent
FONT = str(Path(captcha.image.__file__).parent / "data" / "DroidSansMono.ttf")

# (text, format); the text is also in the file's name.
CAPTCHAS = [
    ("x7k2p", "png"),
    ("84613", "png"),
    ("QWNRT", "png"),
    ("m3hd9e", "png"),
    ("Ab4Yg", "png"),
    ("p9fs3", "jpg"),
    ("kettle", "jpg"),
    ("27095", "jpg"),
    ("RJ6VX", "jpg"),
    ("n8wcu", "gif"),
    ("6EHTA", "gif"),
    ("plum42", "gif"),
]


class Seeded(random.Random):
    """Stands in for the module `secrets` inside the generator, so that a run can be repeated."""

    randbelow = random.Random.randrange
    randbits = random.Random.getrandbits


def encode(image, suffix):
    out = io.BytesIO()
    if suffix == "jpg":
        image.convert("RGB").save(out, "JPEG", quality=40, optimize=True)
    else:
        few_colours = image.convert("RGB").quantize(16, dither=Image.Dither.NONE)
        few_colours.save(out, suffix.upper(), optimize=True)
    return out.getvalue()


def save(name, image):
    data = encode(image, name.rsplit(".", 1)[1])
    (HERE / name).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def text_captcha(text, width, height, **more):
    captcha.image.secrets = Seeded(text)
    return captcha.image.ImageCaptcha(width=width, height=height, **more).generate_image(text)


def star(draw, x, y, size, fill):
    points = []
    for corner in range(10):
        radius = size if corner % 2 == 0 else size * 0.4
        angle = math.pi * corner / 5 - math.pi / 2
        points.append((x + radius * math.cos(angle), y + radius * math.sin(angle)))
    draw.polygon(points, fill=fill)


def disc(draw, x, y, size, fill):
    draw.ellipse((x - size, y - size, x + size, y + size), fill=fill)


def square(draw, x, y, size, fill):
    draw.rectangle((x - size, y - size, x + size, y + size), fill=fill)


def grid(stars):
    """Nine cells of 100 px, numbered from 1, row by row; a star in each of `stars`."""
    chance = random.Random("grid")
    image = Image.new("RGB", (300, 300))
    draw = ImageDraw.Draw(image)
    for cell in range(9):
        left, top = cell % 3 * 100, cell // 3 * 100
        shade = [chance.randrange(150, 240) for _ in range(3)]
        draw.rectangle((left, top, left + 99, top + 99), fill=tuple(shade))
        shape = star if cell + 1 in stars else chance.choice([disc, square])
        x, y = left + chance.randrange(40, 60), top + chance.randrange(40, 60)
        shape(draw, x, y, chance.randrange(24, 34), tuple(chance.randrange(110) for _ in range(3)))
    for line in (100, 200):
        draw.line((line, 0, line, 299), fill="white", width=4)
        draw.line((0, line, 299, line), fill="white", width=4)
    return image


def click(stars):
    image = Image.new("RGB", (260, 130), "#e8e4d8")
    draw = ImageDraw.Draw(image)
    for x, y in [(30, 90), (90, 35), (130, 100), (235, 100)]:
        disc(draw, x, y, 16, "#7a5c8c")
    for x, y in [(90, 88), (150, 30), (232, 34)]:
        square(draw, x, y, 14, "#3f7d6b")
    for x, y in stars:
        star(draw, x, y, 20, "#c8452f")
    return image


def house(turned_by):
    """An upright house, turned clockwise by `turned_by` degrees."""
    image = Image.new("RGB", (100, 100), "#d6e6f2")
    draw = ImageDraw.Draw(image)
    draw.rectangle((28, 46, 72, 80), fill="#b5793c")
    draw.polygon([(20, 46), (50, 18), (80, 46)], fill="#8c2f2f")
    draw.rectangle((44, 58, 56, 80), fill="#40281a")
    return image.rotate(-turned_by, Image.Resampling.BICUBIC, fillcolor="#d6e6f2")


def instruction(text):
    image = Image.new("RGB", (100, 40), "white")
    ImageDraw.Draw(image).multiline_text((6, 4), text, fill="black", font=ImageFont.truetype(FONT, 13))
    return image


def main():
    answers = {}
    for number, (text, suffix) in enumerate(CAPTCHAS, 1):
        name = f"captcha-{number:02}-{text.lower()}.{suffix}"
        answers[save(name, text_captcha(text, 160, 60))] = text
    # "Big" is a sum of width and height above 400 px.
    answers[save("big-captcha-harbour7.png", text_captcha("harbour7", 320, 120, font_sizes=(56, 64)))] = "harbour7"

    answers[save("grid-3x3-2-4-9.jpg", grid({2, 4, 9}))] = "click:2/4/9/"
    stars = [(39, 36), (192, 72)]
    answers[save("click-39-36-192-72.png", click(stars))] = "coordinate:" + ";".join(f"x={x},y={y}" for x, y in stars)
    for number, angle in enumerate([40, 200, -120], 1):
        save(f"rotate-{number}-turned-{angle % 360}.png", house(angle))
    save("instruction-stars.png", instruction("Select all\nstars"))

    (HERE / "answers.json").write_text(json.dumps(answers, indent=2) + "\n")


if __name__ == "__main__":
    main()
