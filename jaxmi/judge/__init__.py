"""Submissions are judged: programs by their labels, explanations by causal scrubbing."""
