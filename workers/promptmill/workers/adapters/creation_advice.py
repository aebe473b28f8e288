"""What to do about Vertex's refusal to create a job.

Google's messages name neither the setting nor the way out.
"""

import re

_CHECK_MODEL = "check --model and GOOGLE_CLOUD_LOCATION"
_ADVICE = {
    # A region was asked for a model that batch jobs have in global, us and eu only.
    "MODEL_NOT_SUPPORTED_FOR_BATCH": (
        "this location has no batch jobs of the model: set GOOGLE_CLOUD_LOCATION=global, us or eu"
    ),
    # The model is retired, or not in this location (googleapis/python-genai, issue 704).
    "Do not support publisher model": (
        "the model is retired, or this location does not have it: choose another --model, or set "
        "GOOGLE_CLOUD_LOCATION=global"
    ),
    "Invalid hostname": (
        "the host does not serve this location: set GOOGLE_CLOUD_LOCATION to a location of "
        "Vertex AI, such as global, us or eu, and leave PROMPTMILL_VERTEX_ENDPOINT empty"
    ),
    "constraints/gcp.resourceLocations": (
        "a policy of your organisation forbids this location: set GOOGLE_CLOUD_LOCATION to a "
        "location that it allows, such as eu or us"
    ),
}
"""Advice by a text in Google's message."""
_PROVISIONING = re.compile("service agents are being provisioned", re.IGNORECASE)


def is_provisioning(message: str) -> bool:
    """Whether Google is still setting up the service agents of a new project."""
    return _PROVISIONING.search(message) is not None


def add_advice(message: str, *, is_missing: bool) -> str:
    """Return the message of a refusal with advice. ``is_missing``: Vertex answered 404."""
    default = _CHECK_MODEL if is_missing else ""
    texts = (advice for text, advice in _ADVICE.items() if text.lower() in message.lower())
    advice = next(texts, default)
    return f"{message}; {advice}" if advice else message
