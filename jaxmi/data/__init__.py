"""Where inputs come from: MNIST in canonical order, and all pairs with their split."""
