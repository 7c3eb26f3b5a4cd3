"""From a challenge and a recipe to trained networks, one seed or many at once."""
