"""The table of a config's fields in configs.md, from the code.

    python docs/config_table.py    (writes it into the page; tests/test_docs.py compares)
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configs.md"
BEGIN, END = "<!-- fields: from the code -->\n", "<!-- end of fields -->\n"


def field_table() -> str:
    """Markdown: one table for each section of sngan_jax/run/config.py."""
    sys.path.insert(0, str(ROOT))
    from sngan_jax.run.config import SECTIONS
    from sngan_jax.run.validate import in_words

    lines: list[str] = []
    for heading, fields in SECTIONS.items():
        lines += ["", f"### {heading}", "",
                  "| field | default | values | meaning |", "|---|---|---|---|"]
        for name, field in fields.items():
            cells = (f"`{name}`", shown(field.default), in_words(field), field.comment)
            lines.append("| " + " | ".join(re.sub(r"([|<>*])", r"\\\1", c) for c in cells) + " |")
    return "\n".join(lines[1:]) + "\n"


def shown(value: object) -> str:
    """A default as a flag would give it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "empty"


def page_with_table(page: str) -> str:
    """The page with the current table."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return before + BEGIN + field_table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
