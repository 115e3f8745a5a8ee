"""Parts of `sngan compile-check`, which asks compilers about absent devices."""
