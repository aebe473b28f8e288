"""Extends Celery: message leases, bootsteps, refused messages. Knows nothing of runs."""
