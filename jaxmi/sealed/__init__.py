"""Sealed challenges as folders: written, read back, and opened."""

STATEMENT, NETWORK = "challenge.json", "network"
"""In a sealed challenge's folder: the file by which it is known, and its network."""
