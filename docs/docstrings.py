"""Conversion of plain docstrings to reStructuredText, which Sphinx's autodoc reads.

Docstrings in this repository are written for readers of the source: `code` in single backticks,
indented blocks and tables as they stand, one "name: description" per line, and the sections Args,
Attributes, Returns, Yields and Raises. All other characters are plain text.
"""

import re
import textwrap

SECTION = re.compile(r"(Args|Attributes|Returns|Yields|Raises):(?: +(.*))?$")
# "name: text", "one, other: text", but not "Word: text"; in a section a name may be several words.
NAME = re.compile(r"(\*{0,2}[a-z_][\w.]*(?:, \*{0,2}[\w.]+)*|'\w+'):(?: (.*))?$")
PHRASE = re.compile(r"([^:`]*(?:`[^`]*`[^:`]*)*):(?: (.*))?$")


def to_rst(text: str) -> str:
    """The reStructuredText of a dedented docstring."""
    return "\n\n".join(_blocks(text.splitlines(), NAME)) + "\n"


def _blocks(lines: list[str], item: re.Pattern):
    while lines:
        if not lines[0].strip():
            lines = lines[1:]
        elif section := SECTION.match(lines[0]):
            body, lines = _split(lines[1:], lambda line: not line or line[0] == " ")
            yield f"**{section[1]}**"
            named = PHRASE if section[1] in ("Args", "Attributes", "Raises") else NAME
            if section[2] or not any(named.match(line.lstrip()) for line in body):  # one text
                body = [section[2] or "", *map(str.lstrip, body)]
            yield from _blocks(textwrap.dedent("\n".join(body)).splitlines(), named)
        elif lines[0][0] == " ":
            block, lines = _split(lines, lambda line: not line or line[0] == " ")
            yield _preformatted(textwrap.dedent("\n".join(block)).rstrip())
        else:
            block, lines = _split(lines, lambda line: bool(line.strip()))
            yield _paragraph(block, item)


def _split(lines: list[str], belongs) -> tuple[list[str], list[str]]:
    end = next((i for i, line in enumerate(lines) if not belongs(line)), len(lines))
    return lines[:end], lines[end:]


def _preformatted(text: str) -> str:
    """Indented text: a list of items, or lines that are kept as they are."""
    groups = _groups(text.splitlines())
    if all(NAME.match(group[0]) for group in groups):
        return "\n".join(_item(group, NAME) for group in groups)
    return "::\n\n" + _indented(text)


def _groups(lines: list[str]) -> list[list[str]]:
    """Each line with the indented lines under it."""
    groups: list[list[str]] = []
    for line in lines:
        if (not line or line[0] == " ") and groups:
            groups[-1].append(line)
        else:
            groups.append([line])
    return groups


def _paragraph(lines: list[str], item: re.Pattern) -> str:
    """A table, a list, "name: text" items, or plain text with the text indented under its lines."""
    if lines[0].startswith("|"):
        return "::\n\n" + _indented("\n".join(lines))
    groups = _groups(lines)
    if all(item.match(group[0]) and (item.match(group[0])[2] or group[1:]) for group in groups):
        return "\n".join(_item(group, item) for group in groups)
    if all(re.match(r"(-|\d+\.) ", group[0]) for group in groups):
        entries = (" ".join(map(str.strip, group)).split(" ", 1)[1] for group in groups)
        return "\n\n".join(f"* {escape(entry)}" for entry in entries)
    parts, text = [], []
    for group in groups:
        text.append(group[0])
        if len(group) > 1:
            below = textwrap.dedent("\n".join(group[1:])).splitlines()
            parts += [escape("\n".join(text)), _indented(_paragraph(below, NAME))]
            text = []
    return "\n\n".join([*parts, escape("\n".join(text))]).rstrip()


def _item(group: list[str], item: re.Pattern) -> str:
    name, first = item.match(group[0]).groups()
    below = textwrap.dedent("\n".join(group[1:])).splitlines()
    if below and all(NAME.match(part[0]) for part in _groups(below)):
        body = "\n\n".join(filter(None, [escape(first or ""), _paragraph(below, NAME)]))
    else:
        body = escape("\n".join([first or "", *below]).strip())
    return f"{_code(name.replace('`', ''))}\n{_indented(body)}"


def _indented(text: str) -> str:
    return textwrap.indent(text, "   ")


def _code(text: str) -> str:
    return "``" + " ".join(text.split()) + "``"


def escape(text: str) -> str:
    r"""Text with `code` as a literal and all other characters escaped.

    reStructuredText needs a space around a literal: `\ ` is an invisible one.
    """
    parts = re.split(r"(`+)(.+?)\1", text, flags=re.DOTALL)
    plain, codes = parts[::3], parts[2::3]
    result = _plain(plain[0])
    for code, after in zip(codes, plain[1:], strict=True):
        result += ("" if not result or result[-1].isspace() else "\\ ") + _code(code)
        result += ("\\ " if after and not after[0].isspace() else "") + _plain(after)
    return result


def _plain(text: str) -> str:
    text = re.sub(r"([\\*|_`])", r"\\\1", text)
    return re.sub(r"(?<!\S)\\\*(\w[^*\n]*\w)\\\*(?!\w)", r"*\1*", text)  # *stressed*
