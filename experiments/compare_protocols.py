"""One checkpoint under eight protocols, to show how far the protocol alone moves a score.

    sngan compare-protocols --workdir=runs/fashion --extractor=classifier

Starts from the paper's protocol (10,000 real images of the test split, 5,000 generated) and changes
one thing at a time. Needs a set with a test split, and a run with a moving average of its
generator. Rows that --scores already holds are not computed again, so a run that was cut off can
continue; --rows selects some of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import NamedTuple

from sngan_jax.base.cache import cache_folder
from sngan_jax.base.errors import UserError
from sngan_jax.data.sources import options_of
from sngan_jax.metrics.choice import make_extractor
from sngan_jax.metrics.evaluate import append_record, of_images, of_samples, open_images, score
from sngan_jax.metrics.protocol import protocol_of
from sngan_jax.metrics.scores import METRICS
from sngan_jax.run.restore import restore_run

from . import cli


class Row(NamedTuple):
    """A protocol: its name, and what it changes."""

    name: str
    split: str = "test"
    num_real: int = 10_000
    num_fake: int = 5_000
    ema: bool = True
    bn_mode: str = "running"


ROWS = (Row("the paper's, with EMA"), Row("without EMA", ema=False),
        Row("batch norm: of the batch", bn_mode="batch"),
        Row("batch norm: standing", bn_mode="standing"), Row("1,000 generated", num_fake=1_000),
        Row("training images", split="train"),
        Row("all training images", split="train", num_real=0),
        Row("all training images, 50,000 generated", split="train", num_real=0, num_fake=50_000))


def arguments(parser: cli.Parser) -> None:
    """The flags of `compare-protocols`."""
    parser.add_argument("--workdir", required=True, metavar="FOLDER", help="the folder of a run")
    parser.add_argument("--extractor", type=cli.one_of(METRICS), default="inception",
                        metavar="|".join(METRICS), help="network that sees the images")
    parser.add_argument("--rows", type=cli.names, metavar="I,J", help="rows to compute, counted "
                        "from 1; otherwise all", default=[str(i) for i in range(1, 1 + len(ROWS))])
    parser.add_argument("--scores", metavar="FILE", help="file for the records; otherwise "
                        "protocols.jsonl in the workdir")


def main(options: argparse.Namespace) -> None:
    """Prints a Markdown table, one line per protocol."""
    for text in options.rows:
        if not text.isdigit() or not 1 <= int(text) <= len(ROWS):
            raise UserError(f"--rows names {text!r}: the rows are 1 to {len(ROWS)}")
    run = restore_run(Path(options.workdir))
    state = run.state.generator
    if state.ema_params is None:
        raise UserError(f"{options.workdir} kept no moving average of its generator: train one "
                        "with --config.ema_decay=0.99, say")
    config = run.config
    data = {"channels": run.channels, **options_of(config)}
    splits = {"test": "test", "train": config.split}
    wanted = {"train", *(ROWS[int(text) - 1].split for text in options.rows)}
    sets = {name: open_images(config.dataset, split=split, **data)
            for name, split in splits.items() if name in wanted}
    extractor = make_extractor(options.extractor, sets["train"])
    metric = {"inception": "fid", "classifier": "fcd"}[extractor.family]
    file = Path(options.scores or Path(options.workdir) / "protocols.jsonl")
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    here = str(Path(options.workdir).resolve())
    # A file in the workdir is of this run alone.
    known = {(r["row"], r["checksum"], r["fake"]["iteration"]): r for r in done
             if not options.scores or r.get("workdir") == here}
    print(f"| protocol | real | generated | EMA | batch norm | {metric.upper()} |\n"
          "|---|---|---|---|---|---|")
    for row in (ROWS[int(text) - 1] for text in options.rows):
        record = known.get((row.name, extractor.checksum, run.iteration))
        if record is None or record["real"]["split"] != splits[row.split]:
            protocol = protocol_of("free", row.num_real, row.num_fake)
            real = of_images(sets[row.split], splits[row.split], row.num_real, [metric], extractor,
                             cache=cache_folder(), name=row.split)
            fake = of_samples(run.generator, state, config, protocol, [metric], extractor,
                              ema=row.ema, bn_mode=row.bn_mode, iteration=run.iteration)
            record = {"row": row.name, "workdir": here,
                      **score([metric], real, fake, extractor, protocol)}
            append_record(file, record)
        real = record["real"]
        print(f"| {row.name} | {real['n']:,} {real['split']} | {row.num_fake:,} | "
              f"{'yes' if row.ema else 'no'} | {row.bn_mode} | {record['scores'][metric]:.2f} |",
              flush=True)


if __name__ == "__main__":
    sys.exit(cli.run(main, arguments, __doc__, "compare-protocols"))
