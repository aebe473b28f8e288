"""How the simulated Gemini answers."""

import hashlib
import json
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "minLength": 12}},
    "required": ["answer"],
}


def answer(request: dict[str, Any]) -> dict[str, Any] | str:
    """Answer a request, the same every time: most with a text, some are blocked or cut off.

    Where JSON is wanted some answers do not fit the schema; of these some do when the prompt says what was wrong.
    """
    text = request["contents"][0]["parts"][0]["text"]
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest[0] == "0":
        return {"promptFeedback": {"blockReason": "SAFETY"}}
    if digest[0] == "1":
        return {
            "candidates": [{"content": {"parts": [{"text": "cut"}]}, "finishReason": "MAX_TOKENS"}]
        }
    structured = "responseSchema" in request.get("generationConfig", {})
    if structured and digest[1] < "6" and not (heard(request) and digest[1] < "4"):
        return json.dumps({"answer": digest[:3]})
    return good(text, structured=structured)


def good(text: str, *, structured: bool) -> str:
    """The answer to a prompt that is answered well."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({"answer": digest[:12]}) if structured else f"answer {digest[:12]}"


def heard(request: dict[str, Any]) -> bool:
    """Whether the prompt says what was wrong with the last answer."""
    return len(request["contents"][-1]["parts"]) > 1


def fits(text: str) -> bool:
    """Whether an answer fits the schema."""
    return len(json.loads(text)["answer"]) >= 12
