"""What shape of answer a request asks for: the run's response schema in each, or whatever a request brings itself."""

from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode
_SCHEMAS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
_MIME_TYPES = ("responseMimeType", "response_mime_type")
_JSON = "application/json"
_REMEMBERED = 10_000


class UnfitSchema(Exception):
    """Why the schema that a request brings cannot be sent in this run."""


class Shape:
    """Puts the run's encoded ``schema`` into requests; without one, sees that the schemas of requests go together."""

    def __init__(self, schema: bytes = b"") -> None:
        config = b',"generationConfig":{"responseMimeType":"application/json","responseSchema":%s}' % schema
        self.after_text = b"}]}]%s}}\n" % (config if schema else b"")
        """What a line has after the text of a prompt that is a string."""
        self.size = len(config) if schema else 0
        """How many bytes that is more than without a schema."""
        self._own = {"responseMimeType": _JSON, "responseSchema": msgspec.Raw(schema)} if schema else {}
        self._kinds = _Kinds()

    def of_request(self, request: Any) -> Any:
        """Return a request as it is to be sent; raises UnfitSchema."""
        where = "generation_config" if "generation_config" in request else "generationConfig"
        config = request.get(where)
        if config is not None and not isinstance(config, Mapping):
            raise UnfitSchema(f"{where} is a mapping, not {type(config).__name__}")
        brought = next((name for name in _SCHEMAS if config and config.get(name) is not None), "")
        if self._own:
            return {**request, where: _check_alone(config or {}, brought) | self._own}
        if config and brought:
            self._kinds.check(config[brought], brought)
        return request


def _check_alone(config: Mapping[str, Any], brought: str) -> dict[str, Any]:
    """Return ``config`` without what the run's schema takes the place of."""
    if brought:
        raise UnfitSchema(
            f"the request brings a {brought} of its own, but the run has a response_schema; Vertex's importer "
            "gives each field one kind over the whole job, so use a run for each schema"
        )
    if any(config.get(name) not in (None, _JSON) for name in _MIME_TYPES):
        raise UnfitSchema(f"the request wants another responseMimeType than the run's response_schema, {_JSON}")
    return {name: value for name, value in config.items() if name not in (*_MIME_TYPES, *_SCHEMAS)}


class _Kinds:
    """Whether each field of the schemas of a run is a value, a list or an object in all of them.

    Where it is not, the importer refuses the whole job (see ``lint``).
    """

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}
        self._seen: set[int] = set()

    def check(self, schema: Any, name: str) -> None:
        digest = hash(_encode(schema))
        if digest in self._seen:
            return
        found: dict[str, str] = {}
        _note(schema, name, found)
        for path, kind in found.items():
            if self._kinds.get(path, kind) != kind:
                raise UnfitSchema(
                    f"{path} is {kind} here and {self._kinds[path]} in the schema of an earlier row; Vertex's importer "
                    "refuses the whole job for that, so use a run for each schema"
                )
        self._kinds |= found
        if len(self._seen) < _REMEMBERED:
            self._seen.add(digest)


def _note(value: Any, path: str, found: dict[str, str]) -> None:
    kind = "an object" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else "a value"
    if value is None:
        return
    if found.setdefault(path, kind) != kind:
        raise UnfitSchema(
            f"{path} is {kind} and {found[path]} in one schema; Vertex's importer refuses the whole job for that"
        )
    if isinstance(value, Mapping):
        for name, item in value.items():
            _note(item, f"{path}.{name}", found)
    elif isinstance(value, list | tuple):
        for item in value:
            _note(item, f"{path}[]", found)
