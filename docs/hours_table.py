"""Tables of hours and cost in reproduce.md, from the TPU compiler's records of the runs.

    python docs/hours_table.py              (writes them into the page; tests/test_docs.py compares)
    python docs/hours_table.py --compile    (first compiles runs that have no record yet: hours)
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproduce.md"
RECORDS = ROOT / "experiments" / "results" / "tpu" / "tables.jsonl"
BEGIN, END = "<!-- hours: from the records -->\n", "<!-- end of hours -->\n"
SLICES = {"v3:2x2x1": "v3-8", "v5e:2x4": "v5e-8"}
H100 = "one H100"
# Dollars per hour.
PRICES = {"v3-8": 8.0, "v5e-8": 9.6, H100: 3.0}
# Iterations per second measured on one H100 (experiments/results/fashion_mnist_h100), and the
# updates of D in them: the standard CNN in float32, the ResNet in bfloat16.
MEASURED = {"cnn": ("cifar10,cnn,sn", 1, 171.3), "resnet": ("cifar10,resnet,sn", 5, 46.4)}
_GULRAJANI = ("--config.iterations=100000", "--config.generator_width=128", "--config.pool=mean",
              "--config.head_bias=yes")
# The configs that are compiled for a kind of run.
ROWS = {
    "cifar10,cnn,sn": ("cifar10_cnn.py:sn,A",),
    "cifar10,cnn,wgan_gp": ("cifar10_cnn.py:wgan_gp,A",),
    "cifar10,resnet,sn": ("cifar10_resnet.py",),
    "cifar10,resnet,wgan_gp": ("cifar10_resnet.py:wgan_gp", *_GULRAJANI),
    "cifar10,resnet,sn_wgan_gp": ("cifar10_resnet.py:sn_wgan_gp", *_GULRAJANI),
    "cifar10,resnet,sn_wgan_gp,1.5x": ("cifar10_resnet.py:sn_wgan_gp", *_GULRAJANI,
                                       "--config.discriminator_width=192"),
    "stl10,cnn,sn": ("stl10_cnn.py:sn,A",),
    "stl10,cnn,wgan_gp": ("stl10_cnn.py:wgan_gp,A",),
    "stl10,resnet,sn": ("stl10_resnet.py",),
    "imagenet128,projection": ("imagenet128.py",),
}
TABLES = (("2", "cifar10"), ("2", "stl10"), ("7", "cifar10"), ("8", "cifar10"),
          ("figure4", "cifar10"), ("figure11", "cifar10"), ("figure15", "cifar10"),
          ("steps", "cifar10"), ("norms", "cifar10"), ("conditional", "cifar10"))


def read_records() -> dict[tuple[str, str], dict[str, Any]]:
    """{(row, slice): record}."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    found = map(json.loads, lines)
    return {(record["row"], SLICES[record["topology"]]): record for record in found}


def compile_missing() -> None:
    """Appends a record for each row and slice that has none."""
    there = read_records()
    for row, (config, *changes) in ROWS.items():
        for place in SLICES.values():
            if (row, place) not in there:
                done = subprocess.run(
                    [sys.executable, "-m", "experiments.compile_check", f"--target={place}",
                     f"--config=experiments/configs/{config}", *changes], cwd=ROOT, text=True,
                    check=True, stdout=subprocess.PIPE)
                record = json.loads(done.stdout.splitlines()[-1])
                with RECORDS.open("a") as file:
                    file.write(json.dumps({"row": row, **record}) + "\n")


def seconds(records: dict[tuple[str, str], dict[str, Any]], row: str, n_dis: int
            ) -> dict[str, float]:
    """{device: seconds per iteration}."""
    from experiments.compiler.collectives import updates

    found = {}
    for place in SLICES.values():
        record = records[row, place]
        # For a number of updates that was not compiled, communication is scaled in proportion.
        found[place] = (record["optimal_seconds"] * updates(n_dis, record["loop_share"])
                        + record["communication_seconds"] * (n_dis + 1) / (record["n_dis"] + 1))
    base, base_n_dis, rate = MEASURED["cnn" if "cnn" in row else "resnet"]

    def work(row: str, n_dis: int) -> float:
        record = records[row, "v5e-8"]
        return record["flops"] * updates(n_dis, record["loop_share"])

    found[H100] = work(row, n_dis) / work(base, base_n_dis) / rate
    return found


def row_of(dataset: str, variant: str, config: Any) -> str:
    """The key of ROWS for a run of a sweep."""
    from sngan_jax.methods import METHODS

    penalty = METHODS[config.method].regularizer == "gradient_penalty"
    if config.model == "cnn":
        return f"{dataset},cnn,{'wgan_gp' if penalty else 'sn'}"
    return f"{dataset},{variant.replace(',ac,', ',') if penalty else 'resnet,sn'}"


def runs() -> Iterator[tuple[str, str, list[tuple[str, Any, str]]]]:
    """(table, data set, (variant, config, row) of each run) for each sweep."""
    from experiments.read_config import read_config
    from experiments.sweeps.tables import Request, plan_table

    for table, dataset in TABLES:
        cells = plan_table(Request(table, dataset, "paper", seeds=3))
        configs = [read_config(cell.run.config, cell.run.changes, 1) for cell in cells]
        yield table, dataset, [(cell.variant, config, row_of(dataset, cell.variant, config))
                               for cell, config in zip(cells, configs, strict=True)]


def tables() -> str:
    """Markdown: the hours of one run of each kind, and of each table."""
    records = read_records()

    def hours(row: str, n_dis: int, iterations: int) -> dict[str, float]:
        return {device: iterations * s / 3600
                for device, s in seconds(records, row, n_dis).items()}

    imagenet = hours("imagenet128,projection", 5, 450_000)
    single, whole = {}, []
    for table, dataset, planned in runs():
        total = dict.fromkeys(PRICES, 0.0)
        for variant, config, row in planned:
            own = hours(row, config.n_dis, config.iterations)
            total = {device: total[device] + own[device] for device in PRICES}
            if table in ("2", "7") and "2x" not in variant:
                name = f"`{row}`, n_dis {config.n_dis}"
                single[name] = _cells(f"{config.iterations:,}", *map("{:.2f}".format,
                                                                     own.values()))
        whole.append(_priced(f"`--table={table} --dataset={dataset}`", len(planned), total))
    single["`imagenet128.py`, projection, n_dis 5"] = _cells(
        "450,000", *map("{:.2f}".format, imagenet.values()))
    whole.append(_priced("no sweep: `imagenet128.py`", 1, imagenet))
    rule = "|---" * (len(PRICES) + 2) + "|"
    return "\n".join((
        "| run | iterations |" + _cells(*PRICES), rule,
        *(f"| {name} |{cells}" for name, cells in single.items()), "",
        "| flags of the sweep, with `--scale=paper --seeds=3` | runs |" + _cells(*PRICES), rule,
        *whole, ""))


def _cells(*texts: str) -> str:
    return "".join(f" {text} |" for text in texts)


def _priced(name: str, count: int, hours: dict[str, float]) -> str:
    return f"| {name} |" + _cells(str(count), *(
        f"{h:.0f} h, \\${PRICES[device] * h:,.0f}" if h >= 10 else
        f"{h:.1f} h, \\${PRICES[device] * h:,.0f}" for device, h in hours.items()))


def page_with_tables(page: str) -> str:
    """The page, with tables made from the current records and plans."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tables() + END + rest.split(END)[1]


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    if "--compile" in sys.argv:
        compile_missing()
    PAGE.write_text(page_with_tables(PAGE.read_text()))
