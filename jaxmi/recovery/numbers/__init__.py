"""Search on pairs and triples: features found on tables, an accumulator, then a program."""
