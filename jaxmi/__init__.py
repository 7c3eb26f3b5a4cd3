"""Casper's two mechanistic-interpretability challenges, reimplemented in JAX."""

__version__ = "0.1.0"
