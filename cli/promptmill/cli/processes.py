"""Commands that replace this process with another program.

Signals and exit codes are then those of that program.
"""

import importlib.util
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from promptmill.config.errors import NotInstalled

if TYPE_CHECKING:
    from promptmill.config.settings import Settings

CELERY_APP = "promptmill.workers.main"
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Click settings of a command that passes unknown options on."""

WORKER_MODULES = ("google.cloud.aiplatform", "google.cloud.storage")
"""Modules that the extra ``worker`` installs."""


def celery_command() -> list[str]:
    """Return Celery's command, as arguments of Python."""
    return ["-m", "celery", "-A", CELERY_APP]


def replace_process(arguments: list[str]) -> NoReturn:
    """Replace this process with Python and these arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 (no shell needed)


def load_process_settings(extra: str, *modules: str) -> "Settings":
    """Return the settings, validated here because Celery would print a traceback.

    Raises NotInstalled if a module is missing, and ConfigurationError.
    """
    from promptmill.config import settings

    require_modules(extra, *modules)
    current_settings = settings.load_settings()
    current_settings.refuse_insecure_redis()
    return current_settings


def require_modules(extra: str, *modules: str) -> None:
    """Raise NotInstalled if a module of this extra is missing."""
    for module in modules:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            spec = None
        if spec is None:
            raise NotInstalled(f"{module} is missing; run: pip install 'promptmill[{extra}]'")
