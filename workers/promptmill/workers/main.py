"""Entry point of Celery's own commands: ``celery -A promptmill.workers.main worker``."""

from promptmill.config.settings import load
from promptmill.workers.app import make_app
from promptmill.workers.services import build

app = make_app(load(), build)
