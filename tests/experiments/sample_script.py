"""Errors of `sngan sample` about wrong flags: JSON lists of arguments -> JSON sentences.

The workdirs `no-classes` and `uniform` stand for runs of such models.
"""

import json
import sys
from pathlib import Path

from ml_collections import ConfigDict

from experiments import cli, sample
from sngan_jax.base.errors import UserError
from sngan_jax.run.restore import RestoredRun, restore_run


def restored(workdir, iteration):
    latent = {Path("no-classes"): "normal", Path("uniform"): "uniform"}.get(workdir)
    if latent is None:
        return restore_run(workdir, iteration)
    return RestoredRun(ConfigDict({"latent": latent, "image_size": 8}), None, None, None, 1, 0, 1)


sample.restore_run = restored
said = []
for arguments in json.loads(sys.argv[1]):
    try:
        sample.main(cli.parse(sample.arguments, "", "sample", arguments))
        said.append("")
    except UserError as error:
        said.append(str(error))
print(json.dumps(said))
