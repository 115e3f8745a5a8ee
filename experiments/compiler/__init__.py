"""What `experiments.compile_check` is made of: real compilers asked about devices that are not there."""
