"""What `experiments.tpu_check` is made of."""
