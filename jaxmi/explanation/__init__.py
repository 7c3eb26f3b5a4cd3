"""Mechanistic explanation: evidence for what a network computes, from its weights alone."""
