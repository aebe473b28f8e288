"""An echoed request has the hash of the request that was sent, whatever the importer made of it."""

import copy
import json
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptmill.emulator.columns import Columns, ImportFailed
from promptmill.emulator.conversions import plan_conversions
from promptmill.workers.fakes import FakeJobs, Script
from promptmill.workers.output.unkeyed import hash_request
from support.fake_pipeline import RUN, FakePipeline

EQUAL_VALUES: list[list[object]] = [
    [1, 1.0, "1", "01", "+1", "1.0", "1.", "1e0"],
    [42, "42", 4.2e1],
    [True, "true", "TRUE", "yes", "Y", "t"],
    [False, "false", "no", "F", "n"],
    [0, -0.0, 0.0, "0", "-0", "000000"],
    [0.2, "0.20", ".2", "2e-1"],
    [0.3],
    [2**53 + 1, str(2**53 + 1)],
    [2**53],
    [2**63],
    [2**63 + 1],
    [10**22, 1e22],
    ["yes "],
    ["1x"],
    ["٣"],
    ["1e400"],
    [""],
    ["a"],
]
"""Values in one list are equal to the importer; values in different lists are not."""
VALUES = [(group, value) for group, values in enumerate(EQUAL_VALUES) for value in values]


def hash_of(request: object) -> str:
    return hash_request(json.dumps({"request": request}).encode()).hash


@pytest.mark.parametrize("field", ["text", "temperature"])
def test_only_values_that_the_importer_makes_equal_are_equal(field: str) -> None:
    hashes = [
        (group, hash_of({"contents": [{"parts": [{field: value}]}]})) for group, value in VALUES
    ]

    for (group, digest), (other_group, other_digest) in product(hashes, hashes):
        assert (digest == other_digest) == (group == other_group)


def test_a_number_out_of_range_has_a_hash() -> None:
    assert hash_request(b'{"request":{"temperature":1e400}}') != hash_request(
        b'{"request":{"temperature":1e401}}'
    )


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ({"parts": {"text": "a"}}, {"parts": [{"text": "a"}]}),
        ({"function_declarations": {"name": "f"}}, {"functionDeclarations": [{"name": "f"}]}),
        ({"parts": [{"text": "a"}]}, {"parts": [{"fileData": None, "text": "a"}]}),
        ({"generation_config": {"topK": 4.0}}, {"generationConfig": {"topK": 4}}),
    ],
)
def test_a_list_of_one_nulls_and_spellings_do_not_matter(sent: object, echoed: object) -> None:
    assert hash_of(sent) == hash_of(echoed)


def test_lists_of_other_fields_are_no_single_objects() -> None:
    assert hash_of({"properties": {"a": 1}}) != hash_of({"properties": [{"a": 1}]})


SCALARS = st.one_of(
    st.sampled_from([value for _, value in VALUES]),
    st.text(max_size=5),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
    st.booleans(),
)
NAMES = st.sampled_from(["text", "system_instruction", "role", "maxOutputTokens", "y", "parts"])


def fields_of(value: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(NAMES, value, min_size=1, max_size=4)


REQUESTS = fields_of(
    st.recursive(SCALARS, lambda inner: fields_of(inner) | st.lists(fields_of(inner), max_size=3))
)


@given(st.lists(REQUESTS, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_the_importer_makes_of_a_request_has_its_hash(
    requests: list[dict[str, Any]], order: Any
) -> None:
    columns = Columns()
    try:
        for request in requests:
            columns.add_row({"request": copy.deepcopy(request)})
    except ImportFailed:
        return  # the importer refuses this file
    conversion = plan_conversions(columns.fields)

    for request in requests:
        echoed = {"request": copy.deepcopy(request)}
        if conversion:
            conversion.apply(echoed)
        assert hash_of(disturb(echoed["request"], order)) == hash_of(request)


def disturb(value: Any, order: Any) -> Any:
    """Return an object with shuffled fields, other spellings and more nulls."""
    if isinstance(value, list):
        return [disturb(item, order) for item in value]
    if not isinstance(value, dict):
        return value
    items = [*value.items(), ("fileData", None)]
    order.shuffle(items)
    return {
        name.replace("system_instruction", "systemInstruction"): disturb(item, order)
        for name, item in items
    }


def convert_numbers(line: bytes) -> bytes:
    """Return a line as the importer echoes it, without its key."""
    decoded = json.loads(line)
    del decoded["key"]
    decoded["request"]["generationConfig"]["temperature"] = 1
    return msgspec.json.encode(decoded)


def test_an_answer_without_a_key_is_matched_although_a_number_is_written_otherwise() -> None:
    pipeline = FakePipeline()
    pipeline.jobs = ConvertingJobs(pipeline.bucket, clock=pipeline.clock)
    request = {"contents": [{"parts": [{"text": "a"}]}], "generationConfig": {"temperature": 1.0}}
    pipeline.send([{"request": request}])

    report = pipeline.drive(RUN)

    assert (report.succeeded, report.unknown, report.jobs) == (1, 0, 1)


ALIKE = ["surely text", "yes", "y", "Yes", "true", "1", "01", "1.0", "1", "no"]


@settings(max_examples=20, deadline=None)
@given(st.permutations(ALIKE), st.integers(0, 99))
def test_texts_that_may_be_converted_keep_their_own_answers(prompts: list[str], seed: int) -> None:
    everything = frozenset(range(len(prompts)))
    pipeline = FakePipeline(script=Script(unkeyed=everything, seed=seed), repeat_identical=True)
    pipeline.send(prompts)

    pipeline.drive(RUN)

    assert [result.text for result in pipeline.results(RUN)] == [
        f"You said: {prompt}" for prompt in prompts
    ]


class ConvertingJobs(FakeJobs):
    """Jobs that echo requests as the importer converted them, and no keys."""

    def _end_job(self, name: str, **fields: object) -> Any:
        bucket: Any = self._bucket
        for stored in list(bucket.list("")):
            if stored.name.endswith("predictions.jsonl"):
                lines = bucket.read(stored.name).splitlines()
                bucket.write(stored.name, b"\n".join(map(convert_numbers, lines)) + b"\n")
        return super()._end_job(name, **fields)
