"""Extends Celery: message leases, periodic steps, refused messages. Knows nothing of runs."""
