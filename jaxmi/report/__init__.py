"""Results as figures, pages and tables."""
