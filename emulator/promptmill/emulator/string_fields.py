"""Which paths of a request hold strings, by Google's messages (google-cloud-aiplatform 2.7.0)."""

from itertools import pairwise

from .request_fields import to_camel_case

STRING_FIELDS = frozenset(
    {
        "allowedFunctionNames",
        "cachedContent",
        "code",
        "data",
        "description",
        "displayName",
        "enum",
        "excludeDomains",
        "fileUri",
        "format",
        "id",
        "languageCode",
        "mimeType",
        "model",
        "name",
        "output",
        "pattern",
        "propertyOrdering",
        "ref",
        "required",
        "responseMimeType",
        "role",
        "stopSequences",
        "text",
        "thoughtSignature",
        "title",
        "voiceName",
    }
)
_JSON_SCHEMAS = frozenset({"responseJsonSchema", "parametersJsonSchema"})
_OPEN_VALUES = frozenset({"args", "response", "default", "example"})
"""Fields whose values may be of any type."""
_MAPS_BY_NAME = frozenset({"properties", "defs", "labels", "patternProperties"})


def is_string_field(path: str) -> bool:
    """Return whether Gemini accepts only strings at a path such as `request.contents.role`."""
    names = [to_camel_case(name) for name in path.split(".")]
    if names[0] != "request" or len(names) == 1:
        return False
    if names[1:2] == ["labels"]:
        return True
    fields = [name for parent, name in pairwise(names) if not _is_map(parent)]
    is_open = any(name in _OPEN_VALUES for name in fields)
    return not is_open and not _is_map(names[-2]) and names[-1] in STRING_FIELDS


def is_json_schema(path: str) -> bool:
    """Return whether a path is inside a JSON schema, where values may be numbers too."""
    return any(to_camel_case(name) in _JSON_SCHEMAS for name in path.split("."))


def _is_map(name: str) -> bool:
    return name in _MAPS_BY_NAME
