"""A mechanism for any network, from its weights, whatever its program."""
