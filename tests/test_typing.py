"""mypy knows the library's layers in a program that uses it; `mypy sngan_jax` is a line of CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

USER = """\
from typing import assert_type

import jax
import jax.numpy as jnp
from flax import linen as nn

from sngan_jax import SNConv, SNDense, normalized, sigmas, specs, update_spectral

WNConv = normalized(nn.Conv, divisor="weight")
assert_type(WNConv, type[nn.Conv])


class Critic(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(SNConv(features=self.width, kernel_size=(3, 3), lipschitz=2.0, n_steps=2)(x))
        x = nn.relu(SNConv(self.width, (4, 4), strides=2, name="down")(x))
        x = nn.relu(WNConv(self.width, (3, 3))(x))
        return SNDense(1)(x.reshape(x.shape[0], -1))


def largest(x: jax.Array) -> float:
    model = Critic()
    variables = model.init(jax.random.key(0), x)
    _, new = model.apply(variables, x, mutable=["spectral"])
    known = specs(model, x)
    spectral = update_spectral({**variables, **new}, known, steps=10)
    found = sigmas({**variables, "spectral": spectral}, known)
    assert_type(found, dict[str, jax.Array])
    return max(float(sigma) for sigma in found.values())


largest(jnp.ones((2, 8, 8, 3)))
"""

WRONG = """\
from flax import linen as nn

from sngan_jax import SNConv, SNDense, normalized, sigmas

SNConv(features=8)
SNConv(features=8, kernel_size=(3, 3), lipschitz="one")
SNDense(8, steps=2)
normalized(nn.Conv)(features="eight", kernel_size=3)
normalized(lambda x: x)
sigmas(0)
"""


def mypy(*arguments, cwd, cache, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={cache}", "--no-pretty", *arguments], cwd=cwd,
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=700)
    return done.stdout.splitlines(), done.stderr


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_program_that_uses_the_library(tmp_path):
    program = tmp_path / "program"
    program.mkdir()
    (program / "user.py").write_text(USER)
    (program / "wrong.py").write_text(WRONG)
    exec(compile(USER, "user.py", "exec"), {"__name__": "user"})
    # As an installed package, which is believed only where it has a py.typed.
    found, errors = mypy("--strict", "user.py", "wrong.py", cwd=program, cache=tmp_path / "cache",
                         PYTHONPATH=str(ROOT))
    lines = {int(line.split(":")[1]) for line in found if line.startswith("wrong.py:")}
    assert lines == {5, 6, 7, 8, 9, 10}, "\n".join(found) + errors
    assert not any(line.startswith("user.py:") for line in found), "\n".join(found)
