"""Where the objects of a run lie: no id leads out of its folder, no two things share a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptmill.config import names
from promptmill.workers.facts.run_folder import RunFolder
from promptmill.workers.fakes import MemoryBucket

BUCKET = MemoryBucket()
IDS = st.from_regex(names.RUN_ID, fullmatch=True)


@pytest.mark.parametrize(
    "run",
    [
        "",
        "../x",
        "a/b",
        ".",
        "..",
        "A",
        "-a",
        "a b",
        "a\n",
        "a\0",
        "ü",
        "a" * 63,
        "a.json",
        "runs/x",
    ],
)
def test_an_id_that_could_lead_elsewhere_is_refused(run: str) -> None:
    with pytest.raises(ValueError, match=r" is not a run id; list runs with promptmill list$"):
        names.check_run(run)
    with pytest.raises(ValueError, match=r" is not a run id; list runs with promptmill list$"):
        RunFolder(BUCKET, run)


@given(st.text(max_size=80))
def test_whatever_is_taken_for_an_id_stays_in_its_folder(run: str) -> None:
    try:
        folder = RunFolder(BUCKET, run).path
    except ValueError:
        return
    assert folder == f"runs/{run}/"
    assert folder.count("/") == 2
    assert ".." not in folder


@given(IDS, st.integers(0, 10**5), st.integers(1, 9), st.integers(0, 10**5), st.integers(0, 99))
def test_no_two_objects_of_a_run_have_one_name_and_none_is_the_folder_of_another(
    run: str, shard: int, attempt: int, part: int, sink: int
) -> None:
    folder = RunFolder(BUCKET, run)
    one = folder.attempt(shard, attempt)
    made = [
        folder.manifest.name, folder.seal.name, folder.plan.name, folder.aborted.name, folder.report.name,
        folder.chunk(part), one.results(part), one.unkeyed(part), one.parsed(part).name,
        one.delivered(sink, part).name, one.input.name, folder.open_marker,
    ]  # fmt: skip

    assert len(set(made)) == len(made)
    assert not [(a, b) for a in made for b in made if b.startswith(a + "/")]


@given(IDS, IDS)
def test_tags_and_labels_tell_runs_and_mills_apart(one: str, other: str) -> None:
    assert (names.tag(one) == names.tag(other)) == (one == other)
    assert names.tag(one)[0].isalpha()
    assert names.tag(one).isalnum()
    assert (names.deployment_id(f"gs://{one}") == names.deployment_id(f"gs://{other}")) == (
        one == other
    )


@given(IDS, st.integers(0, 10**6), st.integers(1, 99))
def test_a_display_name_is_within_googles_limit(run: str, shard: int, attempt: int) -> None:
    assert len(RunFolder(BUCKET, run).attempt(shard, attempt).display_name) <= 128
