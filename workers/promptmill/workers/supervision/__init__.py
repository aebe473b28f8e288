"""Finds and repairs stalled work, polls jobs and raises alarms."""
