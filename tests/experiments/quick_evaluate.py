"""`experiments.evaluate`, with a tenth of the classifier's training steps."""

import runpy

from sngan_jax.metrics import classifier

if __name__ == "__main__":
    classifier.STEPS //= 10
    runpy.run_module("experiments.evaluate", run_name="__main__", alter_sys=True)
