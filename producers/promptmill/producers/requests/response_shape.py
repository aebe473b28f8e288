"""The answer format of requests: the schema of the run, or that of one request."""

from collections.abc import Mapping

import msgspec

from promptmill.producers.pricing import tokens
from promptmill.producers.pricing.thinking import ThoughtCounter
from promptmill.producers.pricing.tokens import RequestTokens
from promptmill.producers.requests.converted_texts import PROMPT_PATH
from promptmill.producers.requests.protected_schemas import SchemaProtector

_encode = msgspec.json.Encoder(order="deterministic").encode
_SCHEMA_FIELDS = ("responseSchema", "response_schema", "responseJsonSchema", "response_json_schema")
_MIME_TYPE_FIELDS = ("responseMimeType", "response_mime_type")
_REPLACED_FIELDS = (*_MIME_TYPE_FIELDS, *_SCHEMA_FIELDS)
_JSON_MIME_TYPE = "application/json"
_MAX_SEEN_SCHEMAS = 10_000


class UnsupportedSchema(Exception):
    """The schema of a request cannot be sent in this run. The message says why."""


class ResponseShape:
    """Adds the encoded schema of the run to its requests.

    Without such a schema it checks that the schemas of the requests are compatible, and
    protects them from the importer's type conversion.
    """

    text_path = PROMPT_PATH

    def __init__(self, schema: bytes = b"") -> None:
        config = (
            b',"generationConfig":{"responseMimeType":"application/json","responseSchema":%s}'
            % schema
        )
        self.text_prefix = b'"request":{"contents":[{"role":"user","parts":[{"text":'
        """The start of a request, before its text."""
        self.text_suffix = b"}]}]%s}}\n" % (config if schema else b"")
        """The end of a wire line, after the text of a prompt."""
        self._schema_bytes = len(config) if schema else 0
        run_config = {"responseMimeType": _JSON_MIME_TYPE, "responseSchema": msgspec.Raw(schema)}
        self._run_config = run_config if schema else {}
        self._schema_types, self._protector = _SchemaTypes(), SchemaProtector()

    def request_from_text(self, text: str) -> Mapping[str, object]:
        """Return the request of a text."""
        return {"contents": [{"role": "user", "parts": [{"text": text}]}]}

    def count_text_tokens(self, size: int, thoughts: ThoughtCounter) -> RequestTokens:
        """Return the tokens of a text of ``size`` bytes."""
        return tokens.count_text_tokens(size, self._schema_bytes, thoughts.default)

    def count_tokens(
        self, request: Mapping[str, object], size: int, thoughts: ThoughtCounter
    ) -> RequestTokens:
        """Return the tokens of a prepared request of ``size`` bytes of JSON."""
        return tokens.count_request_tokens(request, size, thoughts.count_thoughts(request))

    def prepare_request(self, request: Mapping[str, object]) -> Mapping[str, object]:
        """Return the request to send; raises UnsupportedSchema."""
        config_field = "generation_config" if "generation_config" in request else "generationConfig"
        config = request.get(config_field)
        if config is not None and not isinstance(config, Mapping):
            raise UnsupportedSchema(
                f"{config_field} must be a mapping, not {type(config).__name__}"
            )
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
            schema = self._protector.protect_schema(config[schema_field])
            self._schema_types.check_schema(schema, schema_field)
            return {**request, config_field: {**config, schema_field: schema}}
        return request


def _strip_overridden_fields(config: Mapping[str, object], schema_field: str) -> dict[str, object]:
    """Return ``config`` without the fields that the run's schema replaces."""
    if schema_field:
        raise UnsupportedSchema(
            f"the request has its own {schema_field}, but the run has a response_schema; "
            "use one run per schema, because a field must have one type in the whole job"
        )
    if any(config.get(name) not in (None, _JSON_MIME_TYPE) for name in _MIME_TYPE_FIELDS):
        raise UnsupportedSchema(
            f"the responseMimeType must be {_JSON_MIME_TYPE} in a run with a response_schema"
        )
    return {name: value for name, value in config.items() if name not in _REPLACED_FIELDS}


class _SchemaTypes:
    """Checks that each field of the schemas of a run is always a value, list or object.

    Otherwise the importer refuses the whole job. See ``request_validation``.
    """

    def __init__(self) -> None:
        self._types: dict[str, str] = {}
        self._seen_digests: set[int] = set()

    def check_schema(self, schema: object, name: str) -> None:
        digest = hash(_encode(schema))
        if digest in self._seen_digests:
            return
        types: dict[str, str] = {}
        _collect_types(schema, name, types)
        self._refuse_conflict(types)
        self._types |= types
        if len(self._seen_digests) < _MAX_SEEN_SCHEMAS:
            self._seen_digests.add(digest)

    def _refuse_conflict(self, types: dict[str, str]) -> None:
        for path, field_type in types.items():
            if self._types.get(path, field_type) != field_type:
                raise UnsupportedSchema(
                    f"{path} is {field_type} here and {self._types[path]} in the schema of an "
                    "earlier row, so Vertex's importer would refuse the whole job; "
                    "use one run per schema"
                )


def _collect_types(value: object, path: str, types: dict[str, str]) -> None:
    if value is None:
        return
    field_type = _describe_type(value)
    if types.setdefault(path, field_type) != field_type:
        raise UnsupportedSchema(
            f"{path} is {field_type} and {types[path]} in one schema, "
            "which Vertex's importer refuses for the whole job"
        )
    for child_path, child in _list_children(value, path):
        _collect_types(child, child_path, types)


def _describe_type(value: object) -> str:
    if isinstance(value, Mapping):
        return "an object"
    return "a list" if isinstance(value, list | tuple) else "a value"


def _list_children(value: object, path: str) -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [(f"{path}.{name}", item) for name, item in value.items()]
    return [(f"{path}[]", item) for item in value] if isinstance(value, list | tuple) else []
