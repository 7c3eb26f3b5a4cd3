"""Sealed challenges as folders (bundles): written, verified, and opened with a key."""

STATEMENT, NETWORK = "challenge.json", "network"
"""Names in a bundle: the file that identifies it, and the folder of its network."""
