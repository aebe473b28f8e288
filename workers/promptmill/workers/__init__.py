"""The way through: Celery tasks, the steps they call, and the adapters of the systems outside."""
