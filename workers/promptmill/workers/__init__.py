"""Celery tasks, the steps they call, and adapters of external systems."""
