"""Entry point for Celery's commands: ``celery -A promptmill.workers.main worker``."""

from promptmill.config.settings import load_settings
from promptmill.workers.app import make_app
from promptmill.workers.services import build_services

app = make_app(load_settings(), build_services)
