"""Timings of the library on this machine: see __main__.py."""
