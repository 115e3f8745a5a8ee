"""sngan_jax: spectral normalization for generative adversarial networks in JAX and Flax.

    sngan train --config=digits --workdir=runs/digits
    sngan sample --workdir=runs/digits --num=100
"""

import sys

from . import cli, stopping

# The programs of `sngan` and `python -m experiments`, by the name of the module.
PROGRAMS = {
    "train": "train a GAN, or continue a run that was stopped",
    "sample": "draw samples from a run, or walk through its latents or classes",
    "evaluate": "score a run's samples, or any images, each with its protocol",
    "audit": "measure how Lipschitz a run's discriminator is",
    "sweep": "train a table of the paper, or a grid of configs, with several seeds",
    "report": "make a page of tables and figures from finished runs",
    "bench": "time the step, the layers, the methods, the scores, the input, the start",
    "compile-check": "compile a config for a TPU or a GPU that this machine does not have",
    "import-weights": "make a run from published weights: mimicry's, the authors', or our own file",
    "export-weights": "write the networks of a run as one .npz",
    "get-inception": "get the Inception weights for FID, once",
    "prepare": "prepare CIFAR-10 or CIFAR-100 from its archive, without TensorFlow",
    "check-digits": "grade the samples of a run on the digits",
    "compare-inception": "compare our Inception with the TorchScript one: speed and FID",
    "compare-protocols": "score one checkpoint under eight protocols",
}


def main(argv: list[str] | None = None) -> int:
    """Runs the program that the first word names; returns its exit status.

    Without `argv`, the command line is that of this process, which ends with the program.
    """
    if argv is None:
        argv = sys.argv[1:]
        if argv[:1] == ["train"]:
            stopping.end_at_once()  # a signal may come during the imports
    return cli.start(PROGRAMS, argv, __doc__ or "")


if __name__ == "__main__":
    sys.exit(main())
