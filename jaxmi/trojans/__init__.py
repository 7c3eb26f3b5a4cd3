"""Trojans: triggers that are implanted into networks, and how often they work."""
