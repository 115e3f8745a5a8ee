"""`experiments.evaluate` as it is, but the classifier takes a tenth of its training steps."""

import runpy

from sngan_jax.metrics import classifier

if __name__ == "__main__":
    classifier.STEPS //= 10
    runpy.run_module("experiments.evaluate", run_name="__main__", alter_sys=True)
