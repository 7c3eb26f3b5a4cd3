"""Scores of submissions: programs by their labels, explanations by causal scrubbing."""
