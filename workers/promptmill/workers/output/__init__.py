"""Parses a job's output lines, and reduces them to one final state per row."""
