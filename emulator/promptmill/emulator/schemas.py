"""Values that obey a schema: Google's OpenAPI dialect (upper-case types) and JSON Schema.

Deterministic: the same schema and random source give the same value.
"""

from collections.abc import Iterator
from random import Random
from typing import Any

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
Schema = dict[str, Any]


def instance(schema: Schema, random: Random) -> Any:
    """A value that is valid against `schema`.

    Understands type (one or several, either case), nullable, enum, const, anyOf, oneOf, allOf, $ref and ref into $defs or
    defs, properties, required, items, prefixItems, minItems, maxItems, uniqueItems, the limits of numbers and texts, and
    the usual formats. `pattern` is not looked at. Raises ValueError for a reference that leads nowhere.
    """
    return _Maker(schema, random).value(schema, 0)


FIELDS = frozenset(
    {
        "type", "format", "title", "description", "nullable", "default", "items", "minItems", "maxItems", "enum",
        "properties", "propertyOrdering", "required", "minProperties", "maxProperties", "minimum", "maximum", "minLength",
        "maxLength", "pattern", "example", "anyOf", "additionalProperties", "ref", "defs",
    }
)  # fmt: skip
"""What Google's Schema has (google-cloud-aiplatform 2.7.0, types/openapi.py); JSON Schema has more."""


def strange_fields(schema: Any, path: str) -> Iterator[str]:
    """The places in a schema in Google's dialect of names that it does not have: `PATH: NAME`."""
    if not isinstance(schema, dict):
        return
    for name, value in schema.items():
        known = _camel(name)
        if known not in FIELDS:
            yield f"{path}: {name}"
        elif known in {"properties", "defs"} and isinstance(value, dict):
            for key, one in value.items():
                yield from strange_fields(one, f"{path}.{known}[{key}]")
        elif known in {"items", "anyOf"}:
            for one in value if isinstance(value, list) else [value]:
                yield from strange_fields(one, f"{path}.{known}")


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() or "_" for word in rest)


class _Maker:
    def __init__(self, root: Schema, random: Random) -> None:
        self._root = root
        self._random = random

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict):
            return "emulated"
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._choice(schema)
        for name in ("anyOf", "any_of", "oneOf"):
            if schema.get(name):
                return self.value(self._branch(schema, name, depth), depth + 1)
        return self._typed(_type_of(schema), schema, depth)

    def _choice(self, schema: Schema) -> Any:
        kinds = schema.get("type", "")
        choices = [choice for choice in schema["enum"] if choice is not None] or schema["enum"]
        picked = self._random.choice(choices)
        # Google's dialect writes the values of an integer enum as texts.
        if isinstance(kinds, str) and kinds == "INTEGER" and isinstance(picked, str):
            return int(picked)
        return picked

    def _branch(self, schema: Schema, name: str, depth: int) -> Schema:
        branches = [branch for branch in schema[name] if isinstance(branch, dict)]
        simple = [branch for branch in branches if _type_of(branch) not in {"null", "object", "array"}]
        chosen = self._random.choice(simple if simple and depth > _MAX_DEPTH // 2 else branches)
        rest = {key: value for key, value in schema.items() if key != name}
        return merged(rest, chosen)

    def _typed(self, kind: str, schema: Schema, depth: int) -> Any:
        match kind:
            case "object":
                return self._object(schema, depth)
            case "array":
                return self._array(schema, depth)
            case "integer":
                return self._integer(schema)
            case "number":
                return self._number(schema)
            case "boolean":
                return self._random.random() < 0.5
            case "null":
                return None
            case _:
                return self._text(schema)

    def _object(self, schema: Schema, depth: int) -> dict[str, Any]:
        properties: dict[str, Any] = schema.get("properties") or {}
        required = schema.get("required") or []
        wanted = (
            required
            if depth > _MAX_DEPTH // 2
            else [*properties, *(name for name in required if name not in properties)]
        )
        order = schema.get("propertyOrdering") or schema.get("property_ordering") or []
        places = {name: place for place, name in enumerate(order)}
        ordered = sorted(wanted, key=lambda name: places.get(name, len(places)))
        return {name: self.value(properties.get(name, {}), depth + 1) for name in ordered}

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        first = schema.get("prefixItems") or schema.get("prefix_items") or []
        low = int(_either(schema, "minItems", "min_items", 0))
        high = int(_either(schema, "maxItems", "max_items", max(low, 3)))
        wanted = max(low, len(first), min(high, 1 if depth < _MAX_DEPTH // 2 else 0))
        items = schema.get("items", {})
        made: list[Any] = []
        for place in range(min(wanted, max(high, low))):
            made.append(self._item(first[place] if place < len(first) else items, made, schema, depth))
        return made

    def _item(self, schema: Any, made: list[Any], array: Schema, depth: int) -> Any:
        item = self.value(schema, depth + 1)
        if array.get("uniqueItems"):
            for _ in range(200):
                if item not in made:
                    break
                item = self.value(schema, depth + 1)
        return item

    def _integer(self, schema: Schema) -> int:
        low, high = _limits(schema, 1)
        step = int(schema.get("multipleOf", 1)) or 1
        first, last = -(-int(-(-low // 1)) // step), int(high // step)
        return self._random.randint(first, max(first, last)) * step

    def _number(self, schema: Schema) -> float:
        low, high = _limits(schema, 0)
        if step := schema.get("multipleOf"):
            first = -(-low // step)
            return float(self._random.randint(int(first), max(int(first), int(high // step))) * step)
        inner = low + (high - low) * self._random.uniform(0.25, 0.75)
        shown = round(inner, 2)
        return float(shown if low < shown < high else inner)

    def _text(self, schema: Schema) -> str:
        known = _FORMATS.get(str(schema.get("format", "")))
        if known:
            return known
        low = int(_either(schema, "minLength", "min_length", 0))
        high = int(_either(schema, "maxLength", "max_length", max(low, 40)))
        text = f"emulated {self._random.randrange(10**6):06d}"
        return text.ljust(low, ".")[:high]

    def _resolved(self, schema: Schema) -> Schema:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref") or schema.get("ref")
            if not isinstance(reference, str):
                break
            rest = {key: value for key, value in schema.items() if key not in {"$ref", "ref"}}
            schema = merged(rest, self._target(reference))
        for part in schema.get("allOf") or []:
            schema = merged({key: value for key, value in schema.items() if key != "allOf"}, self._resolved(part))
        return schema

    def _target(self, reference: str) -> Schema:
        place: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/"):
            if step and (not isinstance(place, dict) or step not in place):
                raise ValueError(f"the schema has no {reference}")
            place = place[step] if step else place
        return dict(place)


def merged(one: Schema, other: Schema) -> Schema:
    """Both schemas at once: properties and required of both, otherwise the second wins."""
    both = one | other
    if "properties" in one and "properties" in other:
        both["properties"] = one["properties"] | other["properties"]
    if "required" in one and "required" in other:
        both["required"] = [*one["required"], *(name for name in other["required"] if name not in one["required"])]
    return both


def _type_of(schema: Schema) -> str:
    kind = schema.get("type", "")
    if isinstance(kind, list):
        kind = next((one for one in kind if str(one).lower() != "null"), "null")
    if kind and str(kind) != "TYPE_UNSPECIFIED":
        return str(kind).lower()
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _limits(schema: Schema, inset: float) -> tuple[float, float]:
    """Lowest and highest value; what is exclusive is moved in by `inset`, or for 0 by the open interval of `_number`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if (edge := schema.get("exclusiveMinimum")) is not None and not isinstance(edge, bool):
        low = max(edge + inset, edge + inset if low is None else low)
    if (edge := schema.get("exclusiveMaximum")) is not None and not isinstance(edge, bool):
        high = min(edge - inset, edge - inset if high is None else high)
    if low is None:
        low = 0 if high is None else min(0, high - 100)
    return low, max(low, low + 100 if high is None else high)


def _either(schema: Schema, name: str, other: str, default: int) -> Any:
    return schema.get(name, schema.get(other, default))
