"""Inputs of the challenges: MNIST, pairs of numbers, and TensorFlow Datasets of them."""
