"""Chooses the rows of an attempt, and adjusts their requests to earlier failures."""
