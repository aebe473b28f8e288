"""Beliefs about the bucket, and about jobs: lists, states, times, counts and output folders."""

import re

from promptmill.config.json_types import JsonObject
from promptmill.workers.live import answers
from promptmill.workers.live.answers import read_path
from promptmill.workers.live.evidence import Evidence, JobEvidence
from promptmill.workers.live.verdict import Verdict, undecided
from promptmill.workers.ports.google import TERMINAL_STATES

_STATE_RANKS = {
    "JOB_STATE_QUEUED": 0,
    "JOB_STATE_PENDING": 0,
    "JOB_STATE_RUNNING": 1,
    "JOB_STATE_CANCELLING": 2,
    **dict.fromkeys(TERMINAL_STATES, 3),
}
_FOLDER_NAME = re.compile(r"prediction-model-\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_CANCELLED_CODE = 1


def judge_create_once(evidence: Evidence) -> Verdict:
    """The bucket refuses to create an object that exists."""
    refused = evidence.bucket.has_refused_second_write
    if refused is None:
        return undecided("nothing was written")
    return Verdict(
        refused,
        "the second write of one object "
        + ("was refused" if refused else "replaced it, in spite of if_generation_match=0"),
    )


def judge_listing(evidence: Evidence) -> Verdict:
    """The bucket lists an object as soon as it is written."""
    listed = evidence.bucket.has_listed_object
    if listed is None:
        return undecided("nothing was written")
    return Verdict(listed, f"a new object was {'' if listed else 'not '}in the next listing")


def judge_adoption(evidence: Evidence) -> Verdict:
    """A job is listed by its labels soon after its creation."""
    limit, seconds = evidence.visibility_seconds, evidence.main.visible_seconds
    if not evidence.main.name:
        return undecided("no job was created")
    if seconds is None:
        return Verdict(False, f"the main job was not listed within {limit:g} s")
    return Verdict(True, f"listed {seconds:.1f} s after its creation (limit {limit:g} s)")


def judge_labels_filter(evidence: Evidence) -> Verdict:
    """A list filter by labels returns exactly the job that has them."""
    return _judge_filter(evidence, "labels")


def judge_name_filter(evidence: Evidence) -> Verdict:
    """A list filter by display name returns exactly the job that has it."""
    return _judge_filter(evidence, "display_name")


def _judge_filter(evidence: Evidence, kind: str) -> Verdict:
    jobs = (evidence.main, evidence.second)
    if any(kind not in job.found_by for job in jobs):
        return undecided("the two jobs were not listed")
    for job in jobs:
        if (found := job.found_by[kind]) != [job.name]:
            others = len(set(found) - {job.name})
            return Verdict(
                False,
                f"a list by {kind} found {'the job' if job.name in found else 'not the job'} "
                f"and {others} other",
            )
    return Verdict(True, "each of two filters found its own job only")


def judge_success(evidence: Evidence) -> Verdict:
    """A job with refused rows ends as SUCCEEDED."""
    state = evidence.main.last_state
    if state not in TERMINAL_STATES:
        return undecided(f"the job did not end: {_short(state) or 'not created'}")
    error = read_path(evidence.main.last_resource, "error", "message")
    detail = f": {error}" if error else ""
    return Verdict(state == "JOB_STATE_SUCCEEDED", f"{_short(state)}{detail}")


def judge_states(evidence: Evidence) -> Verdict:
    """Jobs only have known states, in a known order."""
    for job in (evidence.main, evidence.second):
        ranks = [_STATE_RANKS.get(state, -1) for state in job.states]
        if -1 in ranks or ranks != sorted(ranks):
            return Verdict(False, _list_states(job))
    if not evidence.main.states:
        return undecided("no job was created")
    return Verdict(True, f"{_list_states(evidence.main)}; second: {_list_states(evidence.second)}")


def judge_times(evidence: Evidence) -> Verdict:
    """The times of a job are in order: created, started, ended."""
    resource = evidence.main.last_resource
    times = [str(resource.get(name, "")) for name in ("createTime", "startTime", "endTime")]
    if evidence.main.last_state not in TERMINAL_STATES or "" in times:
        return undecided("the job has no start or no end")
    return Verdict(times == sorted(times), ", ".join(times))


def judge_counts(evidence: Evidence) -> Verdict:
    """The counts of a job are those of its output."""
    stats = evidence.main.last_resource.get("completionStats")
    if not isinstance(stats, dict) or evidence.files is None:
        return undecided("the job has no completionStats or no output")
    found = answers.find_answers(evidence)
    counted = (_read_count(stats, "successfulCount"), _read_count(stats, "failedCount"))
    lines = (len(found.answered), len(found.refused))
    return Verdict(
        counted == lines,
        f"{counted[0]} successful and {counted[1]} failed; "
        f"the output has {lines[0]} and {lines[1]}",
    )


def judge_output_info(evidence: Evidence) -> Verdict:
    """After its end, a job names its output folder, which is below the one that was asked."""
    if evidence.main.last_state not in TERMINAL_STATES:
        return undecided("the job did not end")
    folder = _output_folder(evidence)
    earlier = any("outputInfo" in resource for resource in evidence.main.resources[:-1])
    moment = "also before the end" if earlier else "only after the end"
    is_below = folder.startswith(evidence.main.output_uri.rstrip("/") + "/")
    return Verdict(is_below, f"gcsOutputDirectory is {folder or 'absent'}, {moment}")


def judge_folder_name(evidence: Evidence) -> Verdict:
    """The output folder is called prediction-model- and a time."""
    folder = _output_folder(evidence).rstrip("/").rpartition("/")[2]
    if not folder:
        return undecided("the job names no output folder")
    return Verdict(bool(_FOLDER_NAME.fullmatch(folder)), folder)


def judge_file_name(evidence: Evidence) -> Verdict:
    """The output is one file, predictions.jsonl."""
    if evidence.files is None:
        return undecided("no output was read")
    names = [file.name.rpartition("/")[2] for file in evidence.files]
    return Verdict(names == ["predictions.jsonl"], ", ".join(names) or "no file")


def judge_cancellation(evidence: Evidence) -> Verdict:
    """A cancelled job ends soon, as CANCELLED with code 1."""
    job, limit = evidence.second, evidence.cancel_limit_seconds
    if job.cancel_seconds is None or not job.resources:
        return undecided("no job was cancelled")
    seconds = job.seconds[-1] - job.cancel_seconds
    if job.last_state not in TERMINAL_STATES:
        return Verdict(False, f"{_short(job.last_state)} {seconds:.0f} s after the cancellation")
    if job.last_state == "JOB_STATE_SUCCEEDED":
        return undecided("the job ended before the cancellation had an effect")
    code = read_path(job.last_resource, "error", "code")
    is_cancelled = job.last_state == "JOB_STATE_CANCELLED" and code == _CANCELLED_CODE
    message = f"{_short(job.last_state)} with code {code} after {seconds:.1f} s"
    return Verdict(is_cancelled and seconds <= limit, message)


def judge_deletion(evidence: Evidence) -> Verdict:
    """A job that has ended can be deleted, and is then unknown."""
    outcomes = [evidence.main.is_deleted, evidence.second.is_deleted]
    if None in outcomes:
        return undecided("the jobs were not deleted")
    unknown = "deleted, then unknown"
    return Verdict(all(outcomes), unknown if all(outcomes) else "a deleted job is still there")


def _output_folder(evidence: Evidence) -> str:
    return str(read_path(evidence.main.last_resource, "outputInfo", "gcsOutputDirectory") or "")


def _read_count(stats: JsonObject, name: str) -> int:
    """Return a count. Vertex AI sends int64 as text, and leaves out zeros."""
    text = str(stats.get(name, 0))
    return int(text) if text.lstrip("-").isdecimal() else -1


def _list_states(job: JobEvidence) -> str:
    changes = [
        state
        for state, previous in zip(job.states, ["", *job.states], strict=False)
        if state != previous
    ]
    return " → ".join(map(_short, changes))


def _short(state: str) -> str:
    return state.removeprefix("JOB_STATE_")
