"""Types of decoded JSON."""

from typing import Any

JsonObject = dict[str, Any]
"""A decoded JSON object. Its values are checked where they are used."""
