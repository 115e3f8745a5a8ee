"""Parts of `experiments.compile_check`: compilers asked about devices that are not here."""
