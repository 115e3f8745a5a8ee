"""The table of wrong command lines in commands.md, with the output of each.

    python docs/wrong_commands.py    (writes it into the page; a test compares)
"""

import contextlib
import io
import os
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

from experiments.__main__ import main

PAGE = Path(__file__).with_name("commands.md")
BEGIN, END = "<!-- wrong commands: as printed -->\n", "<!-- end of wrong commands -->\n"

# Files in the folder where the commands are typed.
FILES = {
    "notes.txt": "three\n", "settings.json": "{}\n", "pictures/readme.txt": "none yet\n",
    "broken.py": "def get_config():\n    return {\n", "shout.py": "get_config = 'digits'\n",
    "raises.py": "def get_config():\n    return 1 / 0\n",
    "number.py": "def get_config():\n    return 3\n",
    "plain.py": "from sngan_jax.experiments.configs.digits import get_config as digits\n\n\n"
                "def get_config():\n    return digits()\n",
    "own_field.py": "from sngan_jax.experiments.configs.digits import get_config as digits\n\n\n"
                    "def get_config():\n    return {**digits(), 'learning_rates': 1.0}\n",
    "runs/damaged/config.json": "{\"seed\": 0,\n",
    "runs/damaged/checkpoints/.keep": "",
}
TRAIN = "sngan train --config=digits --workdir=runs/a "
COMMANDS = (
    # Programs.
    "sngan trian --config=digits --workdir=runs/a",
    "sngan compile_chek --config=digits --target=h100",
    "sngan --config=digits train --workdir=runs/a",
    "sngan generate --workdir=runs/a",
    "sngan bench stepp --config=digits",
    # Configs.
    "sngan train --workdir=runs/a",
    "sngan train --config=digit --workdir=runs/a",
    "sngan train --config=configs/digits.py --workdir=runs/a",
    "sngan train --config=settings.json --workdir=runs/a",
    "sngan train --config=./pictures --workdir=runs/a",
    "sngan train --config=broken.py --workdir=runs/a",
    "sngan train --config=raises.py --workdir=runs/a",
    "sngan train --config=number.py --workdir=runs/a",
    "sngan train --config=shout.py --workdir=runs/a",
    "sngan train --config=own_field.py --workdir=runs/a",
    "sngan train --config=plain.py:sn --workdir=runs/a",
    "sngan train --config=digits:sn,wgan_gp --workdir=runs/a",
    "sngan train --config=folder:31 --workdir=runs/a",
    # Values.
    TRAIN + "--config.flip=yes",
    TRAIN + "--config.iterations=1e4",
    TRAIN + "--config.batch_size=-64",
    TRAIN + "--config.learning_rate=1/1000",
    TRAIN + "--config.beta1=1",
    TRAIN + "--config.method=SN",
    TRAIN + "--config.image_size=10",
    TRAIN + "--config.conditioning=concat",
    TRAIN + "--config.iterations_per_call=7",
    TRAIN + "--config.evaluate_every=100 --config.evaluate_metrics=FID",
    TRAIN + "--config.batch_size=5000",
    TRAIN + "--config.dataset=cifar10",
    TRAIN + "--config.dataset=npz:gone.npz",
    TRAIN + "--config.dataset=folder:pictures",
    TRAIN + "--config.seed",
    # Flags.
    "sngan train --config=digits",
    "sngan train digits --workdir=runs/a",
    "sngan train -config=digits --workdir=runs/a",
    "sngan train --config=digits --workdir",
    "sngan train --config=digits --workdir=notes.txt",
    "sngan train --config=digits --wokrdir=runs/a",
    TRAIN + "--resume",
    TRAIN + "--distributed=true",
    TRAIN + "--num-processes=two",
    TRAIN + "--accept-config-changes=maybe",
    # Other programs.
    "sngan sample --workdir=runs/a",
    "sngan sample --workdir=runs/damaged",
    "sngan sample --workdir=runs/a --num=ten",
    "sngan sample --workdir=runs/a --interpolate=5 --morph=1,2",
    "sngan sample --workdir=runs/a --path=curved",
    "sngan evaluate",
    "sngan evaluate --workdir=runs/a --metrics=fdi",
    "sngan evaluate --workdir=runs/a --protocol=papr",
    "sngan evaluate --images=digits --extractor=clasifier",
    "sngan evaluate --workdir=runs/a --save-statistics=mean.txt",
    "sngan audit --workdir=runs/a --num=1",
    "sngan sweep --table=3 --workdir=runs/t",
    "sngan sweep --table=2 --dataset=digits --workdir=runs/t",
    "sngan sweep --table=2 --config=digits --workdir=runs/t",
    "sngan sweep --table=2 --dataset=digits --scale=tiny --methods=spectral --workdir=runs/t",
    "sngan sweep --config=digits --grid=learning_rate --workdir=runs/t",
    "sngan sweep --config=digits --grid=rate=1e-3,1e-4 --workdir=runs/t",
    "sngan report --workdir=runs/gone",
    "sngan bench methods --methods=sn,spectral",
    "sngan bench step --config=digits --compare=tensorflow",
    "sngan compile-check --config=digits",
    "sngan compile-check --config=digits --target=h101",
    "sngan compile-check --config=digits --target=v5e-7",
    "sngan get-inception --file=gone.pth",
    "sngan prepare --dataset=mnist",
    "sngan prepare --dataset=cifar10 --archive=gone.tar.gz",
)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """Makes a new folder with FILES the current folder inside the block."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as made:
        for name, text in FILES.items():
            file = Path(made, name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        os.chdir(made)
        try:
            yield Path(made)
        finally:
            os.chdir(before)


def said(command: str) -> tuple[int, str]:
    """(exit status, output) of a command typed in the current folder."""
    first, *words = shlex.split(command)
    assert first == "sngan"
    text = io.StringIO()
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(text):
        status = main(words)
    return status, text.getvalue().strip()


def table() -> str:
    """The rows of the page."""
    with folder():
        rows = [(command, said(command)) for command in COMMANDS]
    lines = ["| command | what it prints |", "|---|---|"]
    for command, (status, text) in rows:
        assert status == 2, (command, status, text)
        cells = (f"`{command}`", text.replace("|", "\\|").replace("<", "&lt;"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page_with_table(page: str) -> str:
    """The page with the current table."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + table() + END + rest.split(END)[1]


if __name__ == "__main__":
    PAGE.write_text(page_with_table(PAGE.read_text()))
