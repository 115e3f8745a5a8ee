"""The README's badges, made from setup.cfg as files of the repository, so that no other host is
needed.

    python docs/badges.py    (writes them into docs/images; tests/test_docs.py compares)
"""

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="20" role="img" \
aria-label="{name}: {value}"><title>{name}: {value}</title>\
<clipPath id="r"><rect width="{width}" height="20" rx="3"/></clipPath>\
<g clip-path="url(#r)"><rect width="{split}" height="20" fill="#444"/>\
<rect x="{split}" width="{right}" height="20" fill="#0072B2"/></g>\
<g fill="#fff" font-family="DejaVu Sans,Verdana,sans-serif" font-size="11">\
<text x="6" y="14" textLength="{name_length}">{name}</text>\
<text x="{value_start}" y="14" textLength="{value_length}">{value}</text></g></svg>
"""


def facts() -> dict[str, str]:
    """{name of a badge: its value}."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    metadata, options = config["metadata"], config["options"]
    pythons = re.findall(r"Python :: (3\.\d+)", metadata["classifiers"])
    needed = dict(re.findall(r"^(\w+)>=([\d.]+)$", options["install_requires"], re.MULTILINE))
    return {"version": metadata["version"], "licence": metadata["license"],
            "Python": f"{pythons[0]} to {pythons[-1]}", "JAX": f"{needed['jax']}+",
            "Flax": f"{needed['flax']}+"}


def badges() -> dict[Path, str]:
    """{file: its SVG}."""
    return {IMAGES / f"badge_{name.lower()}.svg": _svg(name, value)
            for name, value in facts().items()}


def _svg(name: str, value: str) -> str:
    name_length, value_length = map(_width, (name, value))
    split = name_length + 12
    return SVG.format(name=name, value=value, name_length=name_length, value_length=value_length,
                      split=split, value_start=split + 6, right=value_length + 12,
                      width=split + value_length + 12)


def _width(text: str) -> int:
    """Width of a text in the SVG's font, in pixels."""
    return round(sum(3.8 if letter in ".,-: ilt" else 7.2 for letter in text))


if __name__ == "__main__":
    for path, text in badges().items():
        path.write_text(text)
