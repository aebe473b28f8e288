"""Counts used tokens and turns them into money."""
