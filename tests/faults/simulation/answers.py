"""How the simulated Gemini answers."""

import hashlib
from typing import Any


def answer(request: dict[str, Any]) -> dict[str, Any] | str:
    """Answer a request, the same every time: most with a text, some are blocked or cut off."""
    text = request["contents"][-1]["parts"][-1]["text"]
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest[0] == "0":
        return {"promptFeedback": {"blockReason": "SAFETY"}}
    if digest[0] == "1":
        return {"candidates": [{"content": {"parts": [{"text": "cut"}]}, "finishReason": "MAX_TOKENS"}]}
    return f"answer {digest[:12]}"
