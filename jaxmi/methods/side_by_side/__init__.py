"""Methods that are marked side by side, each in a file of its own."""
