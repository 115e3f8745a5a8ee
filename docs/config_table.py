"""The table of a config's fields in configs.md, from the code.

    python docs/config_table.py    (writes it into the page; tests/test_docs.py compares)
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "configs.md"
BEGIN, END = "<!-- fields: from the code -->\n", "<!-- end of fields -->\n"


def comments(source: str) -> dict[str, str]:
    """{field: what its comment says}, of lines such as `config.seed = 0  # of all randomness`."""
    found = re.findall(r"^    (?:config\.)?(\w+)(?:: \w+| = [^#\n]+?)  # (.+)$", source,
                       re.MULTILINE)
    return dict(found)


def headings(source: str) -> dict[str, str]:
    """{field: the heading above it}: the first sentence of a comment after an empty line."""
    return {field: heading for heading, field in re.findall(
        r"\n\n    # (\w[\w ]*)\b[^\n]*(?:\n    #[^\n]*)*\n    config\.(\w+) =", source)}


def table() -> str:
    """Markdown: one table for each heading of experiments/configs/paper.py."""
    sys.path.insert(0, str(ROOT))
    from experiments.configs.paper import SETTINGS, paper_defaults
    from sngan_jax.run.validate import FIELDS

    source = (ROOT / "experiments" / "configs" / "paper.py").read_text()
    source = source.split("\ndef resnet_defaults")[0]
    config, words, heads = paper_defaults(), comments(source), headings(source)
    order = list(config)  # sorted; the file's own order reads better
    order = sorted(order, key=lambda name: position(source, name, SETTINGS["C"]._fields))
    lines: list[str] = []
    for name in order:
        if name in heads or not lines:
            lines += ["", f"### {heads.get(name, 'General')}", "",
                      "| field | default | values | meaning |", "|---|---|---|---|"]
        rule = FIELDS[name][2]
        cells = (f"`{name}`", shown(config[name]), rule if isinstance(rule, str) else rule(),
                 words[name])
        lines.append("| " + " | ".join(re.sub(r"([|<>*])", r"\\\1", c) for c in cells) + " |")
    return "\n".join(lines[1:]) + "\n"


def position(source: str, name: str, of_setting: tuple[str, ...]) -> tuple[int, int]:
    """Where a field is set in paper.py; those of a setting come by one line."""
    if name in of_setting:
        return source.index('config.update(SETTINGS["C"]'), of_setting.index(name)
    return source.index(f"config.{name} ="), 0


def shown(value: object) -> str:
    """A default as a flag would give it."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "empty"


def page_with_table(page: str) -> str:
    """The page with the table as it should be."""
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    return before + BEGIN + table() + END + after


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
