"""Parses the command lines of the documentation with the programs' own flags, and runs none.

    echo '["experiments.sample --workdir=runs/digits"]' | python -m tests.commands

Each is taken as far as its program reads flags and config; then the process, a fork with everything
imported, ends. Prints one line for each that its program would refuse.
"""

import argparse
import json
import os
import runpy
import shlex
import sys

import jax  # noqa: F401  (imported once, for all)
import ml_collections  # noqa: F401
from absl import flags

from experiments import cli
from experiments.read_config import read_config
from sngan_jax.metrics.scores import check_names
from sngan_jax.run.loop import train  # noqa: F401
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


def refused(command):
    """What the program says against a command, or None; in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(writer, 2)
        try:
            check(command)
        except Accepted:
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
        os._exit(1)
    os.close(writer)
    with open(reader) as said:
        text = said.read()
    return text if os.waitpid(child, 0)[1] else None


if __name__ == "__main__":
    for one in json.load(sys.stdin):
        if said := refused(one):
            print(f"{one}: {said[-400:]}")
