"""The challenges as objects: domain, labels, split, network, published figures."""
