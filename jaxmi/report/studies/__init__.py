"""Figures and tables of studies, drawn from their results."""
