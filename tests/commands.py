"""Parses a command line of the documentation with its program's own flags, and runs nothing.

    python -m tests.commands "experiments.sample --workdir=runs/digits"

It is taken as far as the program reads flags and config. Exit status 1 where the program would
refuse it, with what it would say.
"""

import argparse
import runpy
import shlex
import sys

from absl import flags

from experiments import cli
from experiments.read_config import read_config
from sngan_jax.metrics.scores import check_names
from sngan_jax.run.validate import names_of, validate


class Accepted(BaseException):
    """The program would begin now."""


def parsed_by_absl(main, *, required=()):
    """In place of `cli.run`: its parsing and checks, and those of config and metrics."""
    assert len(cli._parse(sys.argv)) == 1, "every option is --name=value"
    values = flags.FLAGS
    missing = [name for name in required if not values[name].value]
    assert not missing, f"--{missing} is missing"
    config = values["config"].value if "config" in values else None
    if isinstance(config, str):
        read_config(config, [], 1)
    elif config is not None:
        validate(values.config, 1)
    if "metrics" in values and values["metrics"].value:
        check_names(names_of(values.metrics), values.extractor)
    raise Accepted


def parsed_by_argparse(parse):
    """A wrapper of `ArgumentParser.parse_args`."""
    def parse_args(self, *args, **kwargs):
        options = parse(self, *args, **kwargs)
        if getattr(options, "config", None):
            read_config(options.config, [], 1)
        raise Accepted
    return parse_args


def check(command):
    """Ends in Accepted, or in whatever the program says."""
    module, *arguments = shlex.split(command)
    cli.run = parsed_by_absl
    argparse.ArgumentParser.parse_args = parsed_by_argparse(argparse.ArgumentParser.parse_args)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    raise AssertionError("it reads no flags")


if __name__ == "__main__":
    try:
        check(sys.argv[1])
    except Accepted:
        sys.exit(0)
    except BaseException as error:
        sys.exit(f"{type(error).__name__}: {error}")
