"""What shape of answer a request asks for: the run's response schema in each, or whatever a request brings itself."""

from collections.abc import Mapping
from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode
_SCHEMA_FIELDS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
_MIME_TYPE_FIELDS = ("responseMimeType", "response_mime_type")
_JSON_MIME_TYPE = "application/json"
_MAX_SEEN_SCHEMAS = 10_000


class UnsupportedSchema(Exception):
    """Why the schema that a request brings cannot be sent in this run."""


class ResponseShape:
    """Puts the run's encoded ``schema`` into requests; without one, sees that the schemas of requests go together."""

    def __init__(self, schema: bytes = b"") -> None:
        config = (
            b',"generationConfig":{"responseMimeType":"application/json","responseSchema":%s}'
            % schema
        )
        self.text_suffix = b"}]}]%s}}\n" % (config if schema else b"")
        """What a line has after the text of a prompt that is a string."""
        self.schema_bytes = len(config) if schema else 0
        """How many bytes that is more than without a schema."""
        self._run_config = (
            {"responseMimeType": _JSON_MIME_TYPE, "responseSchema": msgspec.Raw(schema)}
            if schema
            else {}
        )
        self._schema_types = _SchemaTypes()

    def prepare_request(self, request: Any) -> Any:
        """Return a request as it is to be sent; raises UnfitSchema."""
        config_field = "generation_config" if "generation_config" in request else "generationConfig"
        config = request.get(config_field)
        if config is not None and not isinstance(config, Mapping):
            raise UnsupportedSchema(f"{config_field} is a mapping, not {type(config).__name__}")
        schema_field = next(
            (name for name in _SCHEMA_FIELDS if config and config.get(name) is not None), ""
        )
        if self._run_config:
            return {
                **request,
                config_field: _strip_overridden_fields(config or {}, schema_field)
                | self._run_config,
            }
        if config and schema_field:
            self._schema_types.check_schema(config[schema_field], schema_field)
        return request


def _strip_overridden_fields(config: Mapping[str, Any], schema_field: str) -> dict[str, Any]:
    """Return ``config`` without what the run's schema takes the place of."""
    if schema_field:
        raise UnsupportedSchema(
            f"the request brings a {schema_field} of its own, but the run has a response_schema; Vertex's importer "
            "gives each field one kind over the whole job, so use a run for each schema"
        )
    if any(config.get(name) not in (None, _JSON_MIME_TYPE) for name in _MIME_TYPE_FIELDS):
        raise UnsupportedSchema(
            f"the request wants another responseMimeType than the run's response_schema, {_JSON_MIME_TYPE}"
        )
    return {
        name: value
        for name, value in config.items()
        if name not in (*_MIME_TYPE_FIELDS, *_SCHEMA_FIELDS)
    }


class _SchemaTypes:
    """Whether each field of the schemas of a run is a value, a list or an object in all of them.

    Where it is not, the importer refuses the whole job (see ``lint``).
    """

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._seen_digests: set[int] = set()

    def check_schema(self, schema: Any, name: str) -> None:
        digest = hash(_encode(schema))
        if digest in self._seen_digests:
            return
        types: dict[str, str] = {}
        _collect_types(schema, name, types)
        for path, field_type in types.items():
            if self._types.get(path, field_type) != field_type:
                raise UnsupportedSchema(
                    f"{path} is {field_type} here and {self._types[path]} in the schema of an earlier row; Vertex's importer "
                    "refuses the whole job for that, so use a run for each schema"
                )
        self._types |= types
        if len(self._seen_digests) < _MAX_SEEN_SCHEMAS:
            self._seen_digests.add(digest)


def _collect_types(value: Any, path: str, types: dict[str, str]) -> None:
    field_type = (
        "an object"
        if isinstance(value, Mapping)
        else "a list"
        if isinstance(value, list | tuple)
        else "a value"
    )
    if value is None:
        return
    if types.setdefault(path, field_type) != field_type:
        raise UnsupportedSchema(
            f"{path} is {field_type} and {types[path]} in one schema; Vertex's importer refuses the whole job for that"
        )
    if isinstance(value, Mapping):
        for name, item in value.items():
            _collect_types(item, f"{path}.{name}", types)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect_types(item, f"{path}[]", types)
