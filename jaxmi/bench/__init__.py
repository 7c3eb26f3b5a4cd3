"""How fast training is, beside PyTorch and beside the machine's own matrix products."""
