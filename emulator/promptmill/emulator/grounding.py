"""Grounding with Google Search: what an answer with the tool carries."""

from .json_types import JsonObject
from .request_fields import get_field, list_items

_PAGE = "https://vertexaisearch.cloud.google.com/grounding-api-redirect/emulated"


def has_search(request: JsonObject) -> bool:
    """Return whether the request has the tool `googleSearch`, even as an empty object."""
    tools = list_items(get_field(request, "tools"))
    return any(get_field(tool, "googleSearch") is not None for tool in tools)


def make_grounding(query: str, text: str) -> JsonObject:
    """Return `groundingMetadata` with one web page that supports the whole text."""
    segment = {"startIndex": 0, "endIndex": len(text.encode()), "text": text}
    page = {"uri": _PAGE, "title": "example.com", "domain": "example.com"}
    return {
        "webSearchQueries": [query[:100]],
        "searchEntryPoint": {"renderedContent": "<div></div>"},
        "groundingChunks": [{"web": page}],
        "groundingSupports": [{"segment": segment, "groundingChunkIndices": [0]}],
        "retrievalMetadata": {},
    }
