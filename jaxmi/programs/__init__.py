"""Labelling programs: from inputs to exact labels."""
