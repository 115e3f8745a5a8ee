"""Records of compilations in a file, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from experiments.tpu.check import with_batch
from experiments.tpu.chips import Topology
from sngan_jax.base.errors import UserError


def same(config: Any, topology: Topology, per_device: int) -> dict[str, Any]:
    """What makes two compilations the same: a digest of the config, batches and the slice."""
    config = with_batch(config, per_device, topology.devices)
    digest = hashlib.sha256(json.dumps(config.to_dict(), sort_keys=True, default=str).encode())
    return {"topology": topology.name, "config": digest.hexdigest()[:12],
            "batch_size": config.batch_size}


def read(file: str | None) -> list[dict[str, Any]]:
    """The records of a file; none where there is no file. UserError where it is damaged."""
    if not file or not Path(file).exists():
        return []
    try:
        return [json.loads(line) for line in Path(file).read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f"--out={file} cannot be read ({error}): move it away") from error


def find(records: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The newest record of a compilation, if there is one.

    Those without `loop_share` are of a time when the loop over D's updates was taken for one.
    """
    return next((r for r in reversed(records) if wanted.items() <= r.items()
                 and (not r["compiles"] or "loop_share" in r)), None)
