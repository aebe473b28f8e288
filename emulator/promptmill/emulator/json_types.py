"""Types of decoded JSON. The emulator imports none of the product's."""

from typing import Any

JsonObject = dict[str, Any]
"""A decoded JSON object. Readers check its values before they use them."""
