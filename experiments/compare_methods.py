"""All methods on scikit-learn's digits at one budget, over several seeds.

    python -m experiments.compare_methods --workdir=runs/methods \\
        --out=experiments/results/digits_methods.md

Every method trains the same networks for the same number of iterations with the same optimizer and
the paper's coefficients; those that have a Lipschitz constant K once for each K. Runs that are
finished in the workdir are not trained again. The table says what it shows and what it does not.
"""

import contextlib
import io
import itertools
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments import cli
from experiments.configs import digits
from experiments.digit_grades import Grader
from sngan_jax.base.errors import UserError
from sngan_jax.base.files import write_text
from sngan_jax.methods import METHODS, layer_fields
from sngan_jax.run.loop import train
from sngan_jax.run.restore import restore_run
from sngan_jax.run.workdir import environment, write_json

WORKDIR = flags.DEFINE_string("workdir", None, "A folder for the runs, one below it for each.")
OUT = flags.DEFINE_string("out", None, "The Markdown file to write; none where it is left out.")
NAMES = flags.DEFINE_list("methods", list(METHODS), "Which methods.")
SEEDS = flags.DEFINE_integer("seeds", 3, "How many seeds.", lower_bound=1)
ITERATIONS = flags.DEFINE_integer("iterations", 2000, "Of every run.", lower_bound=1)
WIDTH = flags.DEFINE_integer("width", 16, "Base width of both networks.", lower_bound=1)
KS = flags.DEFINE_list("K", ["1.0", "1.7"], "Lipschitz constants; 1.7 is configs/digits.py's.")
SETTING = flags.DEFINE_string("setting", "", "A-F of Table 1; empty: learning rate 1e-3, beta "
                              "0.5 and 0.999, n_dis 1, as configs/digits.py.")

SAMPLES = 1000

_TEXT = """# The methods of the paper on 8x8 digits

{command}

Commit {commit}, {devices}, {cores} cores, jax {jax}, {date}. {minutes:.0f} minutes of training in
all.

Protocol: scikit-learn's 1,797 digits at their 8x8 pixels; the residual networks of Table 4 at
width {width}; {iterations:,} iterations of n_dis = {n_dis}, batch {batch}, Adam with learning rate
{rate:g} and betas {beta1:g}, {beta2:g}; the running average of G, decay {ema:g}; the coefficients
of experiments/configs/paper.py. {num:,} samples a run. Mean and standard deviation over {seeds}
seeds; the last column counts the seeds whose rarest digit has at least 3 % of the samples.

- **Fréchet ratio**: Fréchet distance of the pixels to all real digits, in units of that between two
  random halves of them. Lower is better; no neural network is in it. Not FID.
- **rarest**: share of the digit that a support vector machine ({accuracy:.1%} right on held-out
  real digits) finds least often among the samples; 10 % at best.

| method | Fréchet ratio | rarest | seconds a run | seeds with all digits |
|---|---|---|---|---|
{rows}

What it shows: that every method trains, and how they rank *on this small problem, at this one short
budget, with one learning rate for all*. The learning rate and K = 1.7 were chosen for `sn` with
networks twice as wide (experiments/configs/digits.py); nothing was tuned for any other method, so
the row of K = 1.7 is favoured, and the rows of K = 1 are the paper's. What it does not show: the
ranking of the paper, which is on CIFAR-10 and STL-10 with the best of six settings for each method,
in networks many times as wide, after 100,000 iterations. 1,797 images of 64 pixels need few modes
and little capacity, and a discriminator can learn them by heart. Differences within two standard
deviations mean nothing, and {seeds} seeds give but a rough deviation. Seconds include compilation.
"""


def main() -> None:
    """Trains what is missing, grades all, writes the table."""
    for name in NAMES.value:
        if name not in METHODS:
            raise UserError(f"--methods names {name!r}: the methods are {', '.join(METHODS)}")
    for k in KS.value:
        if not re.fullmatch(r"\d+(\.\d+)?", k) or not float(k):
            raise UserError(f"--K names {k!r}: it takes numbers above 0, as 1,1.7")
    workdir, grader, rows, seconds = Path(WORKDIR.value), Grader(), [], 0.0
    for name, config in itertools.chain.from_iterable(map(budgets, NAMES.value)):
        grades = []
        for seed in range(SEEDS.value):
            config.seed = seed
            folder = workdir / f"{name}-{seed}".replace(", K = ", "-K")
            grades.append(run(config, folder, grader))
            print(name, seed, json.dumps(grades[-1]), flush=True)
        seconds += sum(grade["seconds"] for grade in grades)
        rows.append((name, grades))
    rows.sort(key=lambda row: np.mean([grade["frechet_over_halves"] for grade in row[1]]))
    table = "\n".join(line(*row) for row in rows)
    print(table)
    if OUT.value:
        about = environment()
        flags_given = " ".join(about["command"][1:])
        text = _TEXT.format(
            command=f"    python -m experiments.compare_methods {flags_given}",
            commit=about["commit"], devices=about["devices"], cores=about["cores"],
            jax=about["packages"]["jax"], date=about["date"][:10], minutes=seconds / 60,
            width=WIDTH.value, iterations=config.iterations, n_dis=config.n_dis,
            batch=config.batch_size, rate=config.learning_rate, beta1=config.beta1,
            beta2=config.beta2, ema=config.ema_decay, num=SAMPLES, seeds=SEEDS.value,
            accuracy=grader.accuracy, rows=table)
        write_text(Path(OUT.value), text)
        print(f"written: {OUT.value}")


def budgets(method: str) -> Iterator[tuple[str, ConfigDict]]:
    """The rows of one method: names and configs."""
    config = digits.get_config(",".join(filter(None, (method, SETTING.value))))
    config.generator_width = config.discriminator_width = WIDTH.value
    config.iterations = ITERATIONS.value
    config.log_every = config.sample_every = config.checkpoint_every = max(ITERATIONS.value // 4, 1)
    if "lipschitz" not in layer_fields(METHODS[method], config):
        yield method, config
        return
    for k in KS.value:
        row = config.copy_and_resolve_references()
        row.lipschitz = float(k)
        yield f"{method}, K = {k.removesuffix('.0')}", row


def run(config: ConfigDict, workdir: Path, grader: Grader) -> dict[str, float]:
    """Trains where that is not done, and grades: the record, also in `grade.json`."""
    file = workdir / "grade.json"
    if file.exists():
        train(config, workdir)  # says if the folder is a run of another config
        return json.loads(file.read_text())
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        finished = train(config, workdir)
    if not finished:
        raise KeyboardInterrupt
    seconds = time.perf_counter() - start
    grade = {**grader.grade(restore_run(workdir), SAMPLES), "seconds": round(seconds, 1)}
    write_json(file, grade)
    jax.clear_caches()  # no later run uses what this one compiled
    return grade


def line(name: str, grades: list[dict[str, float]]) -> str:
    """A row of the table."""
    def both(key: str, scale: float = 1, unit: str = "") -> str:
        values = scale * np.array([grade[key] for grade in grades])
        deviation = values.std(ddof=1) if len(values) > 1 else float("nan")
        return f"{values.mean():.1f} ± {deviation:.1f}{unit}"

    whole = sum(grade["least"] >= 0.03 for grade in grades)
    seconds = np.mean([grade["seconds"] for grade in grades])
    return (f"| {name} | {both('frechet_over_halves')} | {both('least', 100, ' %')} | "
            f"{seconds:.0f} | {whole} of {len(grades)} |")


if __name__ == "__main__":
    cli.run(main, required=("workdir",))
