"""A minimal Django configuration. Promptmill reads its settings from the environment."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for this machine")
INSTALLED_APPS = ["shop"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", "shop.sqlite3"),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
