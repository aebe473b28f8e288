"""Makes values that are valid against a schema, in Google's dialect or JSON Schema.

Deterministic: the same schema and random source give the same value. Supports types,
enums, composition, references, objects, arrays, limits and common formats. Ignores
`pattern`.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

from .json_types import JsonObject

_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05Z",
    "duration": "P1D",
    "email": "emulated@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/emulated",
    "url": "https://example.com/emulated",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_MAX_DEPTH = 24
Schema = JsonObject


def make_instance(schema: Schema, random: Random) -> Any:
    """Return a value that fits `schema`. Raises ValueError for an unresolved reference."""
    return _InstanceMaker(schema, random).make_value(schema, 0)


SCHEMA_FIELDS = frozenset(
    {
        "type", "format", "title", "description", "nullable", "default", "items", "minItems",
        "maxItems", "enum", "properties", "propertyOrdering", "required", "minProperties",
        "maxProperties", "minimum", "maximum", "minLength", "maxLength", "pattern", "example",
        "anyOf", "additionalProperties", "ref", "defs",
    }
)  # fmt: skip
"""The fields of Google's Schema (google-cloud-aiplatform 2.7.0, types/openapi.py)."""


def find_unknown_fields(schema: object, path: str) -> Iterator[str]:
    """Yield each field that Google's dialect does not have, as `PATH: NAME`."""
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        field_name = _to_camel_case(name)
        if field_name not in SCHEMA_FIELDS:
            yield f"{path}: {name}"
        elif field_name in {"properties", "defs"} and isinstance(value, dict):
            for key, subschema in value.items():
                yield from find_unknown_fields(subschema, f"{path}.{field_name}[{key}]")
        elif field_name in {"items", "anyOf"}:
            for subschema in value if isinstance(value, list) else [value]:
                yield from find_unknown_fields(subschema, f"{path}.{field_name}")


def _to_camel_case(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() or "_" for word in others)


class _InstanceMaker:
    def __init__(self, root: Schema, random: Random) -> None:
        self._root = root
        self._random = random

    def make_value(self, schema: object, depth: int) -> object:
        if not isinstance(schema, dict):
            return "emulated"
        schema = self._resolve_references(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choose_enum_value(schema)
        for name in ("anyOf", "any_of", "oneOf"):
            if schema.get(name):
                return self.make_value(self._choose_branch(schema, name, depth), depth + 1)
        return self._make_typed(_type_of(schema), schema, depth)

    def _choose_enum_value(self, schema: Schema) -> object:
        kind = schema.get("type", "")
        choices = [choice for choice in schema["enum"] if choice is not None] or schema["enum"]
        choice_value = self._random.choice(choices)
        # Google's dialect writes the values of an integer enum as strings.
        if isinstance(kind, str) and kind == "INTEGER" and isinstance(choice_value, str):
            return int(choice_value)
        return choice_value

    def _choose_branch(self, schema: Schema, name: str, depth: int) -> Schema:
        branches = [branch for branch in schema[name] if isinstance(branch, dict)]
        simple = [
            branch for branch in branches if _type_of(branch) not in {"null", "object", "array"}
        ]
        chosen_branch = self._random.choice(
            simple if simple and depth > _MAX_DEPTH // 2 else branches
        )
        other_fields = {key: value for key, value in schema.items() if key != name}
        return merge_schemas(other_fields, chosen_branch)

    def _make_typed(self, kind: str, schema: Schema, depth: int) -> object:
        match kind:
            case "object":
                return self._make_object(schema, depth)
            case "array":
                return self._make_array(schema, depth)
            case "integer":
                return self._make_integer(schema)
            case "number":
                return self._make_number(schema)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return self._make_text(schema)

    def _make_object(self, schema: Schema, depth: int) -> JsonObject:
        properties: JsonObject = schema.get("properties") or {}
        required = schema.get("required") or []
        names = (
            required
            if depth > _MAX_DEPTH // 2
            else [*properties, *(name for name in required if name not in properties)]
        )
        order = schema.get("propertyOrdering") or schema.get("property_ordering") or []
        positions = {name: position for position, name in enumerate(order)}
        ordered = sorted(names, key=lambda name: positions.get(name, len(positions)))
        return {name: self.make_value(properties.get(name, {}), depth + 1) for name in ordered}

    def _make_array(self, schema: Schema, depth: int) -> list[object]:
        prefix_items = schema.get("prefixItems") or schema.get("prefix_items") or []
        low = _get_either(schema, "minItems", "min_items", 0)
        high = _get_either(schema, "maxItems", "max_items", max(low, 3))
        length = max(low, len(prefix_items), min(high, 1 if depth < _MAX_DEPTH // 2 else 0))
        items = schema.get("items", {})
        values: list[object] = []
        for index in range(min(length, max(high, low))):
            item_schema = prefix_items[index] if index < len(prefix_items) else items
            values.append(self._make_item(item_schema, values, schema, depth))
        return values

    def _make_item(
        self, schema: object, earlier_values: list[object], array: Schema, depth: int
    ) -> object:
        item = self.make_value(schema, depth + 1)
        if array.get("uniqueItems"):
            for _ in range(200):
                if item not in earlier_values:
                    break
                item = self.make_value(schema, depth + 1)
        return item

    def _make_integer(self, schema: Schema) -> int:
        low, high = _number_limits(schema, 1)
        step = int(schema.get("multipleOf", 1)) or 1
        first, last = -(-int(-(-low // 1)) // step), int(high // step)
        return self._random.randint(first, max(first, last)) * step

    def _make_number(self, schema: Schema) -> float:
        low, high = _number_limits(schema, 0)
        if step := schema.get("multipleOf"):
            first = -(-low // step)
            return float(
                self._random.randint(int(first), max(int(first), int(high // step))) * step
            )
        inner = low + (high - low) * self._random.uniform(0.25, 0.75)
        rounded = round(inner, 2)
        return float(rounded if low < rounded < high else inner)

    def _make_text(self, schema: Schema) -> str:
        example = _FORMATS.get(str(schema.get("format", "")))
        if example:
            return example
        low = _get_either(schema, "minLength", "min_length", 0)
        high = _get_either(schema, "maxLength", "max_length", max(low, 40))
        text = f"emulated {self._random.randrange(10**6):06d}"
        return text.ljust(low, ".")[:high]

    def _resolve_references(self, schema: Schema) -> Schema:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref") or schema.get("ref")
            if not isinstance(reference, str):
                break
            target = self._find_target(reference)
            schema = merge_schemas(_omit_fields(schema, "$ref", "ref"), target)
        for part in schema.get("allOf") or []:
            resolved = self._resolve_references(part)
            schema = merge_schemas(_omit_fields(schema, "allOf"), resolved)
        return schema

    def _find_target(self, reference: str) -> Schema:
        node: JsonObject = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step and (not isinstance(node, dict) or step not in node):
                raise ValueError(f"the schema has no {reference}")
            node = node[step] if step else node
        return dict(node)


def merge_schemas(first: Schema, second: Schema) -> Schema:
    """Merge two schemas: properties and required are combined, else the second wins."""
    combined = first | second
    if "properties" in first and "properties" in second:
        combined["properties"] = first["properties"] | second["properties"]
    if "required" in first and "required" in second:
        combined["required"] = [
            *first["required"],
            *(name for name in second["required"] if name not in first["required"]),
        ]
    return combined


def _type_of(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        kind = next((type_name for type_name in kind if str(type_name).lower() != "null"), "null")
    if kind and str(kind) != "TYPE_UNSPECIFIED":
        return str(kind).lower()
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _number_limits(schema: Schema, inset: float) -> tuple[float, float]:
    """Return the lowest and highest value; exclusive limits move inwards by `inset`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if (edge := schema.get("exclusiveMinimum")) is not None and not isinstance(edge, bool):
        low = max(edge + inset, edge + inset if low is None else low)
    if (edge := schema.get("exclusiveMaximum")) is not None and not isinstance(edge, bool):
        high = min(edge - inset, edge - inset if high is None else high)
    if low is None:
        low = 0 if high is None else min(0, high - 100)
    return low, max(low, low + 100 if high is None else high)


def _get_either(schema: Schema, name: str, alternative: str, default: int) -> int:
    return int(schema[name] if name in schema else schema.get(alternative, default))


def _omit_fields(schema: Schema, *names: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in names}
