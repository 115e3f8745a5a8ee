"""Records of compilations in a file, so that none is done twice."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import jax

from sngan_jax.base.errors import UserError

from .step import SETS, Facts, with_batch
from .targets import Cards, Target


def same(config: Any, target: Target, per_device: int, facts: Facts | None = None
         ) -> dict[str, Any]:
    """The identity of a compilation: a digest of the config, the data, the batches and the target.

    For a card it includes the version of JAX, on which the launches depend.

    Args:
      facts: number and kind of the images, if they are not those of the config's data set.
    """
    config = with_batch(config, per_device, target.devices)
    text = json.dumps(config.to_dict(), sort_keys=True, default=str)
    if facts is not None and facts != SETS.get(config.dataset):
        text += str(facts)
    digest = hashlib.sha256(text.encode())
    found = {"topology": target.name, "config": digest.hexdigest()[:12],
             "batch_size": config.batch_size}
    return found | ({"jax": jax.__version__} if isinstance(target, Cards) else {})


def read(file: str | None) -> list[dict[str, Any]]:
    """The records in a file; none if there is no file. UserError if it is damaged."""
    if not file or not Path(file).exists():
        return []
    try:
        return [dict(json.loads(line)) for line in Path(file).read_text().splitlines()]
    except (OSError, TypeError, ValueError) as error:
        raise UserError(f"--out={file} cannot be read ({error}): move it away") from error


def find(records: list[dict[str, Any]], wanted: dict[str, Any]) -> dict[str, Any] | None:
    """The newest record of a compilation, if there is one.

    Records without launches and without `loop_share` are ignored: they date from when the loop over
    D's updates was counted as one update.
    """
    return next((r for r in reversed(records) if wanted.items() <= r.items()
                 and (not r["compiles"] or "loop_share" in r or "launches" in r)), None)
