"""A table of the actions that a sweep decides on, by the state that it has read."""

from dataclasses import replace

import msgspec
import pytest

from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import Manifest
from promptmill.workers.coordination.open_jobs import OpenJob
from promptmill.workers.facts.records import Plan, ShardPlan
from promptmill.workers.facts.snapshot import AttemptFacts, RunSnapshot
from promptmill.workers.facts.step import Step
from promptmill.workers.ports.google import Job
from promptmill.workers.supervision import decisions
from promptmill.workers.supervision.actions import (
    AbandonJob,
    Action,
    AdoptJob,
    CancelAbandoned,
    CancelOrphan,
    ExpireRun,
    ForgetJob,
    HarvestJob,
    ReleaseSlot,
    Report,
    RestoreRun,
    ResumePolling,
    SendStep,
    WarnIncomplete,
)
from promptmill.workers.supervision.decisions import AbandonedJob, AttemptJobs, RunView
from promptmill.workers.supervision.job_slots import Reservations

RUN, OTHER = "01jrun", "01jother"
HOUR = 3600.0
NOW = 10 * HOUR
SETTINGS = Settings(max_open_jobs=2, late_open_seconds=HOUR, abandon_seconds=HOUR)
NOTHING = AttemptFacts()
SHARDED = AttemptFacts(input=True)
SUBMITTED = AttemptFacts(input=True, job=True)
ENDED = AttemptFacts(input=True, job=True, ended=True)


def snapshot(*attempts: AttemptFacts, deadline: float = 0.0, **facts: object) -> RunSnapshot:
    """A planned run with a shard for each attempt."""
    run = RunSnapshot(
        RUN,
        Manifest(RUN, "model", 0.0, deadline=deadline),
        {0},
        1,
        Plan([ShardPlan(0, 1, 0, 0)] * len(attempts), 0.0),
        attempts={(shard, 1): facts for shard, facts in enumerate(attempts)},
    )
    return msgspec.structs.replace(run, **facts)


def delayed(**facts: object) -> RunSnapshot:
    """A run whose second attempt has an input, and a job from ``NOW`` on."""
    first = AttemptFacts(input=True, job=True, ended=True, files=0, has_retries=True, retry_at=NOW)
    attempts = {(0, 1): first, (0, 2): SHARDED}
    return msgspec.structs.replace(snapshot(NOTHING), attempts=attempts, **facts)


def unsent(**facts: object) -> RunSnapshot:
    """A run with one of two chunks."""
    defaults: dict[str, object] = {"chunks": {0}, "sealed": None, "plan": None}
    return msgspec.structs.replace(snapshot(), **{**defaults, **facts})


def step(task: str, *indices: int) -> Step:
    return Step(task, RUN, indices)


def send(task: str, *indices: int) -> Action:
    return SendStep(RUN, step(task, *indices))


def later(run: RunSnapshot) -> RunSnapshot:
    """The same run, whose second attempt has to wait a second longer."""
    first = msgspec.structs.replace(run.attempts[0, 1], retry_at=NOW + 1)
    return msgspec.structs.replace(run, attempts=run.attempts | {(0, 1): first})


def holding(slot: str) -> Reservations:
    """Reservations of one job, which has this slot."""
    run, shard, attempt = slot.split("/")
    return Reservations({slot}, {slot: OpenJob("jobs/1", run, int(shard), int(attempt))})


VIEWS = [
    ("nothing is stored yet", RunView(RunSnapshot(RUN)), []),
    ("a step is due", RunView(snapshot(NOTHING)), [send("shard", 0, 1)]),
    (
        "a parked step is left alone",
        RunView(snapshot(NOTHING), parked={step("shard", 0, 1).id}),
        [],
    ),
    (
        "a job that did not end is polled",
        RunView(snapshot(SUBMITTED)),
        [ResumePolling(RUN, step("poll", 0, 1))],
    ),
    (
        "free slots limit the jobs",
        RunView(snapshot(SHARDED, SHARDED), slots={f"{OTHER}/0/1"}),
        [send("submit", 0, 1)],
    ),
    (
        "a step with a slot needs no other",
        RunView(snapshot(SHARDED, SHARDED), slots={f"{OTHER}/0/1", f"{RUN}/1/1"}),
        [send("submit", 1, 1)],
    ),
    (
        "an ended job has its slot released",
        RunView(snapshot(ENDED), holding(f"{RUN}/0/1")),
        [ReleaseSlot(RUN, f"{RUN}/0/1", True, "jobs/1"), send("collect", 0, 1)],
    ),
    (
        "an open job keeps its slot",
        RunView(snapshot(SUBMITTED), holding(f"{RUN}/0/1")),
        [ResumePolling(RUN, step("poll", 0, 1))],
    ),
    (
        "Redis lost the run",
        RunView(snapshot(NOTHING), is_indexed=False),
        [RestoreRun(RUN, snapshot(NOTHING)), send("shard", 0, 1)],
    ),
    (
        "a run without a manifest cannot be restored",
        RunView(RunSnapshot(RUN), is_indexed=False),
        [],
    ),
    ("a run is being sent", RunView(unsent(), opened_at=NOW - HOUR), []),
    (
        "a run was not sent in full",
        RunView(unsent(), opened_at=NOW - HOUR - 1),
        [
            WarnIncomplete(
                RUN,
                "it was not sent in full within 60 min 00 s: "
                "send it again with its idempotency key, or cancel it",
                1,
                None,
            )
        ],
    ),
    (
        "chunks are missing",
        RunView(unsent(sealed=3), opened_at=NOW),
        [
            Report(
                RUN,
                "2 of 3 chunks never arrived (the first is number 1): "
                "send the run again with its idempotency key",
            )
        ],
    ),
    (
        "a deadline has not passed",
        RunView(snapshot(SUBMITTED, deadline=HOUR), opened_at=NOW - HOUR),
        [ResumePolling(RUN, step("poll", 0, 1))],
    ),
    (
        "a deadline has passed",
        RunView(snapshot(SUBMITTED, deadline=HOUR), opened_at=NOW - HOUR - 1),
        [ExpireRun(RUN), ResumePolling(RUN, step("poll", 0, 1)), send("cancel")],
    ),
    (
        "a cancelled run does not expire",
        RunView(snapshot(ENDED, deadline=1.0, cancelled=True), opened_at=0.0),
        [send("collect", 0, 1)],
    ),
    (
        "a cancelled job may take a while to stop",
        RunView(snapshot(SUBMITTED, cancelled=True), cancelled_at=NOW - HOUR),
        [ResumePolling(RUN, step("poll", 0, 1)), send("cancel")],
    ),
    (
        "a cancelled job does not stop",
        RunView(snapshot(SUBMITTED, cancelled=True), cancelled_at=NOW - HOUR - 1),
        [AbandonJob(RUN, 0, 1), send("collect", 0, 1)],
    ),
    (
        "only open jobs are abandoned",
        RunView(snapshot(ENDED, SUBMITTED, cancelled=True), cancelled_at=0.0),
        [AbandonJob(RUN, 1, 1), send("collect", 0, 1), send("collect", 1, 1)],
    ),
    ("the job of a retry is due", RunView(delayed()), [send("submit", 0, 2)]),
    (
        "a cancelled run waits for no retry",
        RunView(later(delayed(cancelled=True))),
        [send("submit", 0, 2)],
    ),
    ("the job of a retry has to wait", RunView(later(delayed())), []),
    ("a reported run is finished again", RunView(snapshot(reported=True)), [send("finish")]),
]


@pytest.mark.parametrize(
    ("view", "actions"), [case[1:] for case in VIEWS], ids=[case[0] for case in VIEWS]
)
def test_the_state_of_a_run_decides_the_actions(view: RunView, actions: list[Action]) -> None:
    before = msgspec.to_builtins(view.snapshot, enc_hook=repr)

    assert decisions.decide_actions(view, SETTINGS, NOW) == actions
    assert msgspec.to_builtins(view.snapshot, enc_hook=repr) == before


def test_reservations_of_closed_runs_are_released() -> None:
    held = Reservations({f"{RUN}/0/1", f"{OTHER}/0/1"}, holding(f"{OTHER}/0/2").jobs)

    assert list(decisions.decide_closed(held, {RUN})) == [
        ReleaseSlot(OTHER, f"{OTHER}/0/1", True, ""),
        ReleaseSlot(OTHER, f"{OTHER}/0/2", False, "jobs/1"),
    ]


RUNNING, DONE = "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED"
OLDER, NEWER = Job("jobs/1", RUNNING, create_time=1.0), Job("jobs/2", RUNNING, create_time=2.0)
LISTED = AttemptJobs(RUN, 0, 1, [NEWER, OLDER], None, has_run=True)

ORPHANS = [
    ("no fact names a job", LISTED, [AdoptJob(RUN, 0, 1, "jobs/1")]),
    (
        "the run is unknown",
        replace(LISTED, has_run=False),
        [Report(RUN, "job jobs/1 belongs to a run that is not in the bucket")],
    ),
    (
        "the run was deleted",
        replace(LISTED, has_run=False, jobs=[Job("jobs/1", DONE)]),
        [],
    ),
    ("the job is recorded", replace(LISTED, recorded="jobs/1", jobs=[OLDER]), []),
    (
        "a duplicate runs",
        replace(LISTED, recorded="jobs/1"),
        [CancelOrphan(RUN, "jobs/2", "jobs/1")],
    ),
    (
        "a duplicate has ended",
        replace(LISTED, recorded="jobs/1", jobs=[OLDER, Job("jobs/2", DONE)]),
        [Report(RUN, "jobs/2, a duplicate of jobs/1, has ended and is billed")],
    ),
    (
        "the fact says that there is no job",
        replace(LISTED, recorded="", jobs=[OLDER]),
        [CancelOrphan(RUN, "jobs/1", "")],
    ),
]


@pytest.mark.parametrize(
    ("listed", "actions"), [case[1:] for case in ORPHANS], ids=[case[0] for case in ORPHANS]
)
def test_the_listed_jobs_of_an_attempt_decide_the_actions(
    listed: AttemptJobs, actions: list[Action]
) -> None:
    assert list(decisions.decide_orphans(listed)) == actions


WEEK = 7 * 24 * HOUR
ABANDONED = AbandonedJob(RUN, 0, 1, "marker", by_hand=True, age=HOUR, job=OLDER)

ABANDONMENTS = [
    ("it runs", ABANDONED, [CancelAbandoned(RUN, "jobs/1")]),
    (
        "it has ended",
        replace(ABANDONED, job=Job("jobs/1", DONE)),
        [HarvestJob(RUN, 0, 1, Job("jobs/1", DONE))],
    ),
    ("Vertex does not know it", replace(ABANDONED, job=None), []),
    ("it ended in time", replace(ABANDONED, by_hand=False), [ForgetJob(RUN, "marker")]),
    ("it is old", replace(ABANDONED, age=WEEK + 1), [ForgetJob(RUN, "marker")]),
]


@pytest.mark.parametrize(
    ("abandoned", "actions"),
    [case[1:] for case in ABANDONMENTS],
    ids=[case[0] for case in ABANDONMENTS],
)
def test_an_abandoned_job_is_harvested_or_cancelled_again(
    abandoned: AbandonedJob, actions: list[Action]
) -> None:
    assert list(decisions.decide_abandoned(abandoned)) == actions


def test_an_action_describes_itself_before_and_after_it_is_applied() -> None:
    action = CancelOrphan(RUN, "jobs/2", "jobs/1")

    assert action.plan_text == "would cancel jobs/2, a duplicate of jobs/1"
    assert action.done_text == "cancelled jobs/2, a duplicate of jobs/1"


def test_a_sweep_reads_the_clock_only_for_a_job_that_may_have_to_wait() -> None:
    assert RunView(delayed()).needs_clock
    assert not RunView(delayed(cancelled=True)).needs_clock
    assert not RunView(snapshot(SHARDED)).needs_clock
