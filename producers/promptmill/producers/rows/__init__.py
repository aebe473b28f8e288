"""Renders rows of files, tables and frames into requests."""
