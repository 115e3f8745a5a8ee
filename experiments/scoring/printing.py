"""Records of scores for people: a table, the protocol, and warnings."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path

from sngan_jax.base.errors import UserError
from sngan_jax.base.output import say
from sngan_jax.metrics.evaluate import append_record, score_table
from sngan_jax.metrics.scores import FEW


def timed(record: dict, start: float, options: argparse.Namespace) -> dict:
    """Adds the command, and the seconds since `start` (the statistics may come from the cache)."""
    return {**record, "seconds": round(time.perf_counter() - start, 1), "command": options.command}


def keep(records: list[dict], file: Path) -> None:
    """Appends the last record to a file. If that fails, prints them all before the error."""
    try:
        append_record(file, records[-1])
    except UserError:
        show(records, None)
        raise


def show(records: list[dict], file: Path | None) -> None:
    """Prints records, and names the file that holds them."""
    extractor = records[0]["extractor"]
    print(score_table(records))
    print(f"{extractor}, checksum {records[0]['checksum']}"
          + (f", resize {records[0]['resize']}" if records[0]["resize"] else "")
          + (f", as {records[0]['convention']}" if "convention" in records[0] else "")
          + (f"; recorded in {file}" if file else ""))
    for sentence in warnings(records[0]):
        say(f"warning: {sentence}")
    if len(records) == 1:
        print(json.dumps(records[0]["scores"]))


def warnings(record: dict) -> Iterator[str]:
    """Warnings about an FID of few images, and about statistics from other programs."""
    sides = [side for side in (record["fake"], record["real"]) if side]
    fewest = min((side["n"] for side in sides if isinstance(side["n"], int)), default=FEW)
    if "fid" in record["scores"] and fewest < FEW:
        why = ", fewer than its 2,048 dimensions," if fewest <= 2048 else ""
        halves = record["scores"].get("fid_halves")
        yield (f"an FID of {fewest:,} images{why} is biased upwards"
               + (f" (two halves of the real images are {halves:.4g} apart)" if halves else "")
               + ": compare it only with others of as many images")
    for side in sides:
        if side.get("unknown"):
            yield (f"{side['statistics']} does not say its {', '.join(side['unknown'])}: it is "
                   f"assumed to be of {record['extractor']} with the resize {record['resize']}; "
                   "otherwise the score is wrong")
