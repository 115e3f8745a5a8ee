"""The tables of compile_check.md, from NVIDIA's compiler's records of the configs.

    python docs/launch_table.py              (writes them into the page; tests compare)
    python docs/launch_table.py --compile    (first compiles configs without a record: hours,
    [gpu-check])
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "compile_check.md"
RECORDS = ROOT / "experiments" / "results" / "nvidia" / "launches.jsonl"
BEGIN, END = "<!-- launches: from the records -->\n", "<!-- end of launches -->\n"
BF16 = "--config.dtype=bfloat16"
# What is compiled: {name: the config and its changes}.
CONFIGS: dict[str, tuple[str, ...]] = {
    "cifar10_resnet, bfloat16": ("cifar10_resnet.py", BF16),
    "cifar10_resnet, bfloat16, together": (
        "cifar10_resnet.py", BF16, "--config.discriminator_batches=together"),
    "cifar10_resnet": ("cifar10_resnet.py",),
    "cifar10_cnn:sn,C": ("cifar10_cnn.py:sn,C",),
    "imagenet128": ("imagenet128.py",),
    "stl10_resnet": ("stl10_resnet.py",),
    "stl10_cnn": ("stl10_cnn.py",),
    "cifar100_resnet": ("cifar100_resnet.py",),
    "imagenet64": ("imagenet64.py",),
    "celeba64": ("celeba64.py",),
    "fashion_mnist": ("fashion_mnist.py", "--images=60000"),
    "digits": ("digits.py",),
    "folder": ("folder.py", "--images=10000"),
}
TARGETS = ("h100", "a100")
SMALL = ("imagenet128", "l4")
# Forms of a config for which one target is enough.
_FORMS = ("cifar10_resnet, bfloat16", "cifar10_resnet, bfloat16, together")
# Compiled with `none` as well, to show what spectral normalization costs.
_COMPARED = {("cifar10_resnet, bfloat16", "h100"), ("cifar10_resnet", "h100"),
             ("cifar10_cnn:sn,C", "h100"), ("stl10_resnet", "h100"), ("stl10_cnn", "h100"),
             SMALL}


def wanted() -> list[tuple[str, str, bool]]:
    """(name, target, whether to compile `none` as well) for all compilations."""
    # The short compilations first.
    names = list(CONFIGS)[::-1]
    names.sort(key=lambda name: name.startswith(("imagenet", "stl10")))
    jobs = [SMALL, *((name, target) for name in names for target in TARGETS
                                     if target == "h100" or name not in _FORMS)]
    return [(*job, job in _COMPARED) for job in jobs]


def read_records() -> dict[tuple[str, str], dict[str, Any]]:
    """{(name, target): record}, some with `compared_with`."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    return {(record["row"], record["topology"]): record for record in map(json.loads, lines)}


def compile_missing() -> None:
    """Appends a record for each entry of `wanted` that has none."""
    RECORDS.parent.mkdir(parents=True, exist_ok=True)
    for name, target, compare in wanted():
        if (name, target) in read_records():
            continue
        config, *changes = CONFIGS[name]
        done = subprocess.run(
            [sys.executable, "-m", "experiments.compile_check", f"--target={target}",
             f"--config=experiments/configs/{config}", *changes,
             *(["--compare=none"] if compare else [])],
            cwd=ROOT, text=True, stdout=subprocess.PIPE)
        if done.returncode not in (0, 1):  # 1: does not fit, or does not compile
            sys.exit(f"{name} for {target} ended with status {done.returncode}")
        record = json.loads(done.stdout.splitlines()[-1])
        with RECORDS.open("a") as file:
            file.write(json.dumps({"row": name, **record}) + "\n")


def tables() -> str:
    """Markdown: launches on the first target by origin, then memory and verdict for all targets."""
    from experiments.compiler.origins import ORIGINS
    from experiments.compiler.tables import verdict

    records = read_records()
    launches = ["| config, on `h100` | n_dis | launches | once | an update of D | "
                + " | ".join(ORIGINS) + " | `none` | the method costs |",
                "|---" * (len(ORIGINS) + 7) + "|"]
    memory = ["| config | target | memory, GiB | of | | launches | `none` |", "|---" * 7 + "|"]
    for name, target, _ in sorted(wanted(), key=lambda job: list(CONFIGS).index(job[0])):
        record = records.get((name, target))
        if record is None:
            memory.append(f"| {name} | {target} | not run | | | | |")
            continue
        if not record["compiles"]:
            memory.append(f"| {name} | {target} | | | does not compile: {record['why_not']} | | |")
            continue
        other = record.get("compared_with", {}).get("launches")
        total = record["launches"]
        memory.append(
            f"| {name} | {target} | {record['hbm_bytes'] / 2**30:.2f} | "
            f"{record['hbm_of_core'] / 2**30:.1f} | {verdict(record)} | {total:,} | "
            + (f"{other:,} |" if other else "|"))
        if target == "h100":
            cells = [f"{record['n_dis']}", f"{total:,}", f"{record['launches_once']:,}",
                     f"{record['launches_of_an_update']:,}",
                     *(f"{record['launches_by_origin'][origin][2]:,}" for origin in ORIGINS),
                     f"{other:,}" if other else "not run",
                     f"{total - other:,}, {(total / other - 1):.0%}" if other else ""]
            launches.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join((*launches, "", *memory, "", *_small(records.get(SMALL)), ""))


def _small(record: dict[str, Any] | None) -> list[str]:
    """imagenet128 on a card of 24 GB: its memory by part, and the cost of the method."""
    from experiments.compiler import compare

    if record is None or not record["compiles"]:
        return ["`imagenet128` on `l4`: " + ("not run." if record is None else record["why_not"])]
    other = record["compared_with"]
    rows = [("memory of `imagenet128` on `l4`, MiB", "sn", "none"), ("---",) * 3]
    rows += [(name, f"{size / 2**20:,.1f}", f"{other['hbm_parts'][name] / 2**20:,.1f}")
             for name, size in record["hbm_parts"].items() if size]
    header, *counts = compare.table(record, other)
    counts = [("`imagenet128` on `l4`", *header[1:4], "in %"), ("---",) * 5, *counts]
    return ["| " + " | ".join(row) + " |" for row in rows] + [""] + [
        "| " + " | ".join(row) + " |" for row in counts]


def page_with_tables(page: str) -> str:
    """The page, with tables made from the current records."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if "--compile" in sys.argv:
        compile_missing()
    PAGE.write_text(page_with_tables(PAGE.read_text()))
