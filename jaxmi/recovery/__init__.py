"""Network to program: search within the language, from a network's outputs alone."""
