"""Search on pairs: features found on tables, an accumulator, then a program."""
