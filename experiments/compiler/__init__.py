"""Parts of `sngan compile-check`, which asks compilers about devices that are not here."""
