"""Explanation methods, and the questions about planted networks on which they are marked."""
