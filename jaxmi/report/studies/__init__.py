"""Results of studies -> figures and tables. Nothing is computed here."""
