"""The safeguards of the pipeline, each with the edit of its source that takes it away while the simulation looks on."""

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, NamedTuple

from faults.simulation import celery_app


class Mutation(NamedTuple):
    """In the function ``where`` (``module:name``, below ``promptmill``) the text ``old`` becomes ``new``.

    What is needed so rarely that few simulated worlds come to it has a ``test`` (below ``tests``) of its own to notice.
    """

    safeguard: str
    where: str
    old: str
    new: str
    test: str = ""


SAFEGUARDS = [
    Mutation(
        "the intent is written once",
        "workers.steps.submit:submit",
        'if not facts.put(bucket, folder + "intent.json", intent):',
        'if bucket.write(folder + "intent.json", facts.encode(intent)):',
    ),
    Mutation(
        "a job is looked for before one is created",
        "workers.steps.submit:_find_job",
        "return min(",
        "return None and min(",
    ),
    Mutation(
        "a creation has time to turn up before its intent is taken over",
        "workers.steps.submit:_take_over",
        "if not free and",
        "if False and",
    ),
    Mutation(
        "a creation without an answer is never simply tried again",
        "workers.steps.submit:_create",
        "        return Wait(_RETRY)",
        "        return _create(bucket, jobs, folder, request, intent)",
    ),
    Mutation(
        "the age of an intent is told by the server's clock",
        "workers.facts:age",
        "return probe.updated - stored.updated if probe else 0.0",
        "return now() - stored.updated",
    ),
    Mutation(
        "nothing is created for a cancelled run",
        "workers.steps.submit:submit",
        "if bucket.find(names.cancelled(run)):",
        "if False:",
    ),
    Mutation(
        "who is about to create looks whether its intent was taken over",
        "workers.steps.submit:_is_fresh",
        'if seen is None or facts.get(bucket, folder + "intent.json", Intent) != intent:',
        "if seen is None:",
        "unit/workers/test_submit.py::test_an_owner_that_stood_still_and_was_overtaken_creates_nothing",
    ),
    Mutation(
        "who is about to create looks how old its intent is",
        "workers.steps.submit:_is_fresh",
        "< settle_seconds / 2",
        "< 1e9",
        "unit/workers/test_submit.py::test_an_owner_that_stood_still_for_long_begins_anew",
    ),
    Mutation(
        "an intent is taken over only as it was when it was looked at",
        "workers.steps.submit:_take_over",
        'bucket.replace(folder + "intent.json", facts.encode(intent), seen.generation)',
        'bucket.write(folder + "intent.json", facts.encode(intent))',
        "unit/workers/test_submit.py::test_who_loses_the_race_to_take_over_creates_nothing",
    ),
    Mutation(
        "a sweep writes into the index what Redis has lost",
        "workers.progress:remember",
        "if known.manifest is None or index.find_manifest(known.run) is not None:",
        "if True:",
    ),
    Mutation(
        "a row has the answer of another only if both ask the same",
        "workers.copies:digest_of",
        "request_of(line)",
        'b""',
    ),
    Mutation(
        "what is asked already is not asked again",
        "workers.copies:Finder.is_copy",
        "if first in (place, -1):",
        "if True:",
    ),
    Mutation(
        "a row that has another's answer is put off with it",
        "workers.steps.rest:Rest.write_copies",
        "self.again = self.copies.along(self.again)",
        "pass",
    ),
    Mutation(
        "only an answer is reused, and no failure",
        "workers.reuse:_answered",
        "= result.succeeded",
        "= True",
    ),
    Mutation(
        "a row is answered from what asked the same",
        "workers.reuse:_Wanted._find",
        "-1 if place < 0 or self._answered[place] else place",
        "max(place, 0)",
    ),
    Mutation(
        "what is reused is not asked",
        "workers.steps.shard:wanted_rows",
        " & ~reuse.load(bucket, manifest, index, attempt).bitmap",
        "",
    ),
    Mutation(
        "which answers are reused is written down once",
        "workers.reuse:reuse",
        "facts.put(bucket, names.reused(run, index), found)",
        "bucket.write(names.reused(run, index), facts.encode(found))",
        "unit/workers/test_reuse.py::test_of_twins_that_find_different_answers_the_first_counts",
    ),
    Mutation(
        "a run with callbacks leaves the list of open runs only when they are sent",
        "workers.steps.finish:finish",
        "if not callback.is_wanted(manifest):",
        "if True:",
        "unit/workers/test_callbacks.py::test_a_run_stays_on_the_list_until_its_callbacks_are_sent_and_each_is_sent_alone",
    ),
    Mutation(
        "the mark of an open run is left to those who end it",
        "workers.steps.ingest:_had_ended",
        "report and marker and report.updated <= marker.updated",
        "report",
        "unit/workers/test_callbacks.py::test_a_run_that_ends_while_its_first_chunk_is_being_kept_calls_all_the_same",
    ),
    Mutation(
        "a callback is written down only when it is sent",
        "workers.steps.callback:callback",
        "        try:\n",
        "        facts.put(bucket, fact, Called(facts.now()))\n        try:\n",
    ),
    Mutation(
        "the plan is written once",
        "workers.steps.plan:plan",
        "return facts.keep(bucket, names.plan(run), Plan(shards, facts.now(), said, seal.copies))",
        "bucket.write(names.plan(run), facts.encode(Plan(shards, facts.now(), said, seal.copies)))",
        "unit/workers/test_plan.py::test_of_two_plans_that_are_made_at_once_the_first_counts",
    ),
    Mutation(
        "the parts of an output are written down once",
        "workers.steps.collect:collect",
        'if facts.put(bucket, folder + "parts.json", parts):',
        'if not bucket.write(folder + "parts.json", facts.encode(parts)):',
        "unit/workers/test_replaced.py::test_output_that_is_replaced_at_any_moment_leaves_every_row_once",
    ),
    Mutation(
        "the output of a job that succeeded may come late",
        "workers.steps.collect:_patience",
        "return _LATE",
        "return 0.0",
    ),
    Mutation(
        "a row that is answered in two parts counts once",
        "workers.resolution:_all_but_first",
        "repeated.append(bitmap & seen)",
        "repeated.append(0)",
    ),
    Mutation(
        "a row that is answered twice in a part counts once",
        "workers.steps.parse:PartReader._first",
        "return None",
        "pass",
    ),
    Mutation(
        "an attempt is for the rows that were put off, and no others",
        "workers.steps.shard:wanted_rows",
        "if attempt == FIRST_ATTEMPT:",
        "if True:",
    ),
    Mutation(
        "an answer counts only when its key is of this run",
        "workers.steps.parse:PartReader._is_ours",
        "key.tag == self._tag and",
        "",
    ),
    Mutation(
        "an answer counts only for a row that was asked",
        "workers.steps.parse:PartReader._is_ours",
        "bool(self._wanted[byte] >> bit & 1)",
        "True",
    ),
    Mutation(
        "a row that is known by its request is not missing",
        "workers.steps.rest:Rest._with_key",
        "self._done |= 1 << (key.row - self._rows.first_row)",
        "pass",
    ),
    Mutation(
        "an answer that does not fit is asked for once more, and no oftener",
        "workers.chances:Chances.invalid",
        "not self.repaired >> place & 1",
        "True",
    ),
    Mutation(
        "an answer without a key that does not fit is asked for once more, and no oftener",
        "workers.steps.rest:Rest._with_key",
        " and not self.mended.repair.rows >> place & 1",
        "",
        "unit/workers/test_structured.py::test_answers_without_keys_are_joined_by_what_was_asked_in_either_attempt",
    ),
    Mutation(
        "what was wrong is told in whatever is asked later",
        "workers.steps.settle:_repaired",
        "union([before.rows, ",
        "union([",
        "unit/workers/test_structured.py::test_a_row_keeps_what_it_heard_when_it_fails_for_another_reason_in_between",
    ),
    Mutation(
        "finish looks at the facts before it believes that it is time",
        "workers.tasks:finish",
        'if steps.due.next_steps(known) != [Step("finish", run)]:',
        "if False:",
        "unit/workers/test_finish.py::test_a_finish_that_comes_before_the_rows_that_were_put_off_are_asked_again_reports_nothing",
    ),
    Mutation(
        "rows that were put off are due in a next attempt",
        "workers.steps.due:next_steps",
        "if shard.again}",
        "if False}",
        "unit/workers/test_due.py::test_rows_whose_failure_may_pass_are_tried_again_in_a_job_of_their_own",
    ),
    Mutation(
        "a sweep sends what stands still",
        "workers.flow:Flow.enqueue_stalled",
        "self._send_step(step)",
        "pass",
    ),
    Mutation(
        "an open run is marked before anything else of it is kept",
        "workers.steps.ingest:ingest",
        "with marked_open(bucket, run):",
        "if True:",
    ),
    Mutation(
        "a sweep sees that every open job is polled",
        "workers.watching:resume",
        "if made.name not in known:",
        "if False:",
    ),
    Mutation(
        "a start that ended in order is no death",
        "workers.notes:Notes._tell_ends",
        "pipe.zrem(_begun(step), start)",
        "pass",
    ),
    Mutation(
        "an end of which Redis did not hear is told with the next",
        "workers.notes:Notes.end",
        "self._tell_ends(pipe)",
        "pipe.zrem(_begun(step), start), pipe.execute()",
        "unit/workers/test_flow.py::test_an_end_of_which_redis_did_not_hear_is_told_with_that_of_another_step",
    ),
    Mutation(
        "an end of which Redis did not hear is told again",
        "workers.notes:Notes.begin",
        "if self._ended:",
        "if False:",
        "unit/workers/test_flow.py::test_an_end_of_which_redis_did_not_hear_is_no_death_when_the_step_begins_again",
    ),
    Mutation(
        "a start that lives is no death",
        "workers.stage:Stage.__call__",
        "if starts.deaths >= dead.MOST_DEATHS:",
        "if starts.deaths + starts.living >= dead.MOST_DEATHS:",
    ),
    Mutation(
        "no start of a step begins while another is at work",
        "workers.notes:Notes.begin",
        "if busy == 0 and deaths",
        "if deaths",
        "contract/test_notes.py::test_copies_that_would_have_died_together_are_one_death",
    ),
]


@contextmanager
def without(mutation: Mutation) -> Iterator[None]:
    """Take a safeguard away."""
    function = _function(mutation.where)
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :]
    assert source.count(mutation.old) == 1, f"the safeguard has moved: {mutation.where} has not once {mutation.old!r}"
    names: dict[str, Any] = {}
    code = compile(
        "from __future__ import annotations\n" + source.replace(mutation.old, mutation.new), mutation.where, "exec"
    )
    exec(code, function.__globals__, names)  # noqa: S102 - the project's own source
    whole, function.__code__ = function.__code__, names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = whole


def _function(where: str) -> FunctionType:
    module, _, path = where.partition(":")
    found: Any = importlib.import_module("promptmill." + module)
    if module == "workers.tasks":
        found = celery_app.shared().function(f"promptmill.{path}")
    else:
        for name in path.split("."):
            found = getattr(found, name)
    assert isinstance(found, FunctionType)
    return found
