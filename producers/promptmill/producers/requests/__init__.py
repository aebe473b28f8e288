"""Turns prompts into validated requests, and requests into chunks."""
