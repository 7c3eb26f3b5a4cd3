"""Pairs: features found on tables, an accumulator, short constants."""
