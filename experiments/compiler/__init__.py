"""Parts of `sngan compile-check`: compilers asked about devices that are not here."""
