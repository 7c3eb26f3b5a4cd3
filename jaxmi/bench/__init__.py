"""Speed of training, beside PyTorch and the machine's matrix products; of programs; of start-up."""
