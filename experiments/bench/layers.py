"""Cost of normalized layers: forward and backward of the CIFAR ResNet D, with and without."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from sngan_jax.layers import SNConv, SNDense, SNEmbed
from sngan_jax.models.resnet import ResNetDiscriminator

from .. import cli
from .timing import in_turns, print_report, print_table


def arguments(parser: cli.Parser) -> None:
    """The flags of `bench layers`."""
    parser.add_argument("--batch", type=cli.whole(1, 65_536), default=64, metavar="N",
                        help="batch size (default: 64)")
    parser.add_argument("--repeats", type=cli.whole(1), default=20, metavar="N",
                        help="number of turns (default: 20)")
    parser.add_argument("--width", type=cli.whole(1, 8192), default=128, metavar="N",
                        help="channels of each block (default: 128)")


def main(options: argparse.Namespace) -> None:
    """Prints the figures; the last line has all of them as JSON."""
    print_report(layers(options.batch, options.repeats, options.width))


def layers(batch: int, repeats: int, width: int) -> dict[str, Any]:
    """Forward and backward of the CIFAR ResNet D, normalized over plain, alternating in one
    process.

    The backward pass goes from the hinge loss to the parameters; a power step is taken and stored.
    """
    x = jax.random.normal(jax.random.key(1), (batch, 32, 32, 3))
    widths = (width,) * 4
    plain = ResNetDiscriminator(widths=widths, conv=nn.Conv, dense=nn.Dense, embed=nn.Embed)
    normalized = plain.clone(conv=SNConv, dense=SNDense, embed=SNEmbed)
    passes = {name: _TrainingPass(net, x) for name, net in
              [("plain", plain), ("normalized", normalized)]}
    seconds = in_turns(passes, repeats)
    ratios = [n / p for n, p in zip(seconds["normalized"], seconds["plain"], strict=True)]
    report = {
        "benchmark": "layers",
        "batch": batch, "width": width, "repeats": repeats,
        "plain_seconds": round(statistics.median(seconds["plain"]), 4),
        "normalized_seconds": round(statistics.median(seconds["normalized"]), 4),
        "ratio": round(statistics.median(seconds["normalized"])
                       / statistics.median(seconds["plain"]), 4),
        "median_of_paired_ratios": round(statistics.median(ratios), 4),
        "normalized_layers": len(jax.tree.leaves(passes["normalized"].state)) // 2,
        **{f"hlo_dots_{name}": _dots(run.compiled) for name, run in passes.items()},
        **{f"jaxpr_dots_{name}": run.jaxpr_dots for name, run in passes.items()},
    }
    report["extra_dots_per_layer"] = (
        (report["jaxpr_dots_normalized"] - report["jaxpr_dots_plain"]) / report["normalized_layers"]
    )
    rows = [(name, f"{report[f'{name}_seconds'] * 1e3:.1f} ms", report[f"jaxpr_dots_{name}"],
             report[f"hlo_dots_{name}"]) for name in passes]
    print_table(("D", "forward + backward", "products traced", "products compiled"), rows)
    print(f"ratio {report['ratio']:.3f} (median of paired ratios "
          f"{report['median_of_paired_ratios']:.3f}) over {repeats} turns at batch {batch}; "
          f"{report['normalized_layers']} normalized layers, "
          f"{report['extra_dots_per_layer']:.2f} extra products each")
    return report


class _TrainingPass:
    """A compiled forward and backward pass of one network, called without arguments."""

    def __init__(self, net, x):
        variables = jax.jit(net.init)(jax.random.key(0), x[:1])
        self.params = variables.pop("params")
        self.state = variables
        self.x = x

        def loss(params, state, x):
            if state:
                logits, state = net.apply({"params": params, **state}, x, mutable=["spectral"])
            else:
                logits = net.apply({"params": params}, x)
            return jnp.mean(nn.relu(1 - logits)), state

        step = jax.jit(jax.value_and_grad(loss, has_aux=True))
        arguments = self.params, self.state, x
        self.jaxpr_dots = str(jax.make_jaxpr(step)(*arguments)).count("dot_general[")
        self.compiled = step.lower(*arguments).compile()

    def __call__(self):
        (loss, self.state), gradient = self.compiled(self.params, self.state, self.x)
        jax.block_until_ready((loss, gradient, self.state))


def _dots(compiled):
    text = compiled.as_text()
    return text.count(" dot(") + text.count("__onednn$matmul") + text.count("__cublas$gemm")
