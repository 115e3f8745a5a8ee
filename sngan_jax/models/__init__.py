"""Generators and discriminators, and the pair that a config names."""
