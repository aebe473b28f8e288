"""Counts used tokens and computes their cost."""
