"""What `experiments.compile_check` is made of: compilers asked about devices that are not here."""
