"""The safeguards of the pipeline, each with the edit of its source that takes it away while the simulation looks on."""

import ast
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
        "if not attempt.intent.create(intent):",
        "if attempt.bucket.write(attempt.intent.name, __import__('msgspec').json.encode(intent)):",
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
        "if not is_free and",
        "if False and",
    ),
    Mutation(
        "a creation without an answer is never simply tried again",
        "workers.steps.submit:_create_job",
        "        return Wait(_RETRY_SECONDS)",
        "        return _create_job(attempt, jobs, request, intent)",
    ),
    Mutation(
        "the age of an intent is told by the server's clock",
        "workers.facts.records:object_age",
        "now = read_clock(bucket, clock)",
        "now = current_time()",
    ),
    Mutation(
        "nothing is created for a cancelled run",
        "workers.steps.submit:submit",
        "if (cancelled := _record_cancelled(attempt)):",
        "if False:",
    ),
    Mutation(
        "who is about to create looks whether its intent was taken over",
        "workers.steps.submit:_is_fresh",
        "if stored_intent is None or attempt.intent.get() != intent:",
        "if stored_intent is None:",
        "unit/workers/steps/test_submit.py::test_a_suspended_owner_that_lost_its_intent_creates_nothing",
    ),
    Mutation(
        "who is about to create looks how old its intent is",
        "workers.steps.submit:_is_fresh",
        "< visibility_seconds / 2",
        "< 1e9",
        "unit/workers/steps/test_submit.py::test_an_owner_suspended_for_long_starts_again",
    ),
    Mutation(
        "an intent is taken over only as it was when it was looked at",
        "workers.steps.submit:_take_over",
        "attempt.intent.replace(intent, stored_intent.generation)",
        "attempt.bucket.write(attempt.intent.name, __import__('msgspec').json.encode(intent))",
        "unit/workers/steps/test_submit.py::test_the_loser_of_a_takeover_creates_nothing",
    ),
    Mutation(
        "a sweep writes into the index what Redis has lost",
        "workers.supervision.decisions:_restore_run",
        "if view.snapshot.manifest is not None and (not view.is_indexed):",
        "if False:",
    ),
    Mutation(
        "a row has the answer of another only if both ask the same",
        "workers.attempts.deduplication:request_digest",
        "extract_request(line)",
        'b""',
    ),
    Mutation(
        "what is asked already is not asked again",
        "workers.attempts.deduplication:Deduplicator.is_duplicate",
        "if first_offset in (row_offset, -1):",
        "if True:",
    ),
    Mutation(
        "a row that has another's answer is put off with it",
        "workers.attempts.unanswered:UnansweredRows.write_deduplicated",
        "self.retried_rows = self.deduplicated.expand_rows(self._retried.build())",
        "self.retried_rows = self._retried.build()",
    ),
    Mutation(
        "only an answer is reused, and no failure",
        "workers.attempts.answer_reuse:_load_digests",
        "= result.succeeded",
        "= True",
    ),
    Mutation(
        "a row is answered from what asked the same",
        "workers.attempts.answer_reuse:_WantedAnswers._find_unanswered",
        "-1 if row_offset < 0 or self._answered[row_offset] else row_offset",
        "max(row_offset, 0)",
    ),
    Mutation(
        "what is reused is not asked",
        "workers.attempts.rows:wanted_rows",
        " - reused.row_set",
        "",
    ),
    Mutation(
        "which answers are reused is written down once",
        "workers.attempts.answer_reuse:reuse_answers",
        "attempt.reused.create(reused)",
        "attempt.bucket.write(attempt.reused.name, __import__('msgspec').json.encode(reused))",
        "unit/workers/attempts/test_answer_reuse.py::test_of_duplicates_that_find_different_answers_the_first_counts",
    ),
    Mutation(
        "a run with callbacks leaves the list of open runs only when they are sent",
        "workers.steps.finish:finish",
        "if not manifest.has_callbacks:",
        "if True:",
        "unit/workers/steps/test_callback.py::test_a_run_stays_open_until_each_callback_is_sent",
    ),
    Mutation(
        "the mark of an open run is left to those who end it",
        "workers.steps.ingest:_had_ended",
        "report and marker and (report.updated <= marker.updated)",
        "report",
        "unit/workers/steps/test_callback.py::test_a_run_that_ends_while_its_first_chunk_is_stored_sends_its_callbacks",
    ),
    Mutation(
        "a callback is written down only when it is sent",
        "workers.steps.callback:callback",
        "        try:\n",
        "        called.create(Called(records.current_time()))\n        try:\n",
    ),
    Mutation(
        "the plan is written once",
        "workers.steps.plan:plan",
        "return run.plan.create_or_get(",
        "(lambda made: run.bucket.write(run.plan.name, __import__('msgspec').json.encode(made)))(",
        "unit/workers/steps/test_plan.py::test_of_two_concurrent_plans_the_first_counts",
    ),
    Mutation(
        "the parts of an output are written down once",
        "workers.steps.collect:collect",
        "if attempt.parts.create(parts):",
        "if not attempt.bucket.write(attempt.parts.name, __import__('msgspec').json.encode(parts)):",
        "unit/workers/steps/test_replaced_output.py::test_replaced_output_leaves_every_row_once",
    ),
    Mutation(
        "the output of a job that succeeded may come late",
        "workers.steps.collect:_grace_seconds",
        "return _LATE_OUTPUT_SECONDS",
        "return 0.0",
    ),
    Mutation(
        "a row that is answered in two parts counts once",
        "workers.output.merge_parts:_repeated_rows",
        "repeated.append(rows & seen)",
        "repeated.append(RowSet())",
    ),
    Mutation(
        "a row that is answered twice in a part counts once",
        "workers.steps.parse:PartReader._accept_first",
        "return None",
        "pass",
    ),
    Mutation(
        "an attempt is for the rows that were put off, and no others",
        "workers.attempts.rows:wanted_rows",
        "if attempt.is_first:",
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
        "key.row - self._first_row in self._wanted",
        "True",
    ),
    Mutation(
        "a row that is known by its request is not missing",
        "workers.attempts.unanswered:UnansweredRows._assign_key",
        "self._resolved.add(row_offset)",
        "pass",
    ),
    Mutation(
        "an answer that does not fit is asked for once more, and no oftener",
        "workers.attempts.retryable:RetryPolicy.can_send_feedback",
        "row_offset not in self.feedback_rows",
        "True",
    ),
    Mutation(
        "an answer without a key that does not fit is asked for once more, and no oftener",
        "workers.attempts.unanswered:UnansweredRows._assign_key",
        " and (not had_feedback)",
        "",
        "unit/workers/output/test_schema_validation.py::test_answers_without_keys_are_joined_by_what_was_asked_in_either_attempt",
    ),
    Mutation(
        "what was wrong is told in whatever is asked later",
        "workers.steps.settle:_record_feedback",
        "RowSet.union([previous.rows, ",
        "RowSet.union([",
        "unit/workers/output/test_schema_validation.py::test_a_row_keeps_what_it_heard_when_it_fails_for_another_reason_in_between",
    ),
    Mutation(
        "finish looks at the facts before it believes that it is time",
        "workers.tasks:finish",
        "if next_steps.next_steps(snapshot) != [Step('finish', run)]:",
        "if False:",
        "unit/workers/steps/test_finish.py::test_an_early_finish_reports_nothing_while_rows_await_a_retry",
    ),
    Mutation(
        "rows that were put off are due in a next attempt",
        "workers.facts.next_steps:_list_attempts",
        "if attempt_facts.has_retries}",
        "if False}",
        "unit/workers/facts/test_next_steps.py::test_rows_with_transient_failures_are_retried_in_a_job_of_their_own",
    ),
    Mutation(
        "a sweep sends what stands still",
        "workers.dispatch:Dispatcher.enqueue_stalled",
        "self._send_step(step)",
        "pass",
    ),
    Mutation(
        "an open run is marked before anything else of it is kept",
        "workers.steps.ingest:ingest",
        "with mark_open(run):",
        "if True:",
    ),
    Mutation(
        "a sweep sees that every open job is polled",
        "workers.supervision.poll_chain:PollChain.resume_polling",
        "if created.name not in open_names:",
        "if False:",
    ),
    Mutation(
        "a start that ended in order is no death",
        "workers.coordination.step_leases:StepLeases._flush_releases",
        "pipe.zrem(_executions_key(step), execution)",
        "pass",
    ),
    Mutation(
        "an end of which Redis did not hear is told with the next",
        "workers.coordination.step_leases:StepLeases.release",
        "self._flush_releases(pipe)",
        "pipe.zrem(_executions_key(step), execution), pipe.execute()",
        "unit/workers/test_dispatch.py::test_a_release_that_redis_missed_is_sent_with_that_of_another_step",
    ),
    Mutation(
        "an end of which Redis did not hear is told again",
        "workers.coordination.step_leases:StepLeases.acquire",
        "if self._pending_releases:",
        "if False:",
        "unit/workers/test_dispatch.py::test_a_release_that_redis_missed_is_no_crash_when_the_step_starts_again",
    ),
    Mutation(
        "a start that lives is no death",
        "workers.task:PipelineTask.__call__",
        "if lease_state.crashes >= dead_letters.MAX_CRASHES:",
        "if lease_state.crashes + lease_state.live >= dead_letters.MAX_CRASHES:",
    ),
    Mutation(
        "no start of a step begins while another is at work",
        "workers.coordination.step_leases:StepLeases.acquire",
        "_ACQUIRE_SCRIPT,",
        "_ACQUIRE_SCRIPT.replace('busy == 0 and', ''),",
        "contract/test_step_leases.py::test_copies_that_would_have_died_together_are_one_death",
    ),
    Mutation(
        "the job of a retry waits until its delay is over",
        "workers.steps.submit:remaining_delay",
        "return max(seconds - attempt.object_age(stored_outcome), 0.0)",
        "return 0.0",
    ),
    Mutation(
        "what was not billed is asked again, even at the last attempt",
        "workers.attempts.retry_rules:RetryRules.select_rows",
        "if self.can_wait",
        "if False",
    ),
    Mutation(
        "what was not billed uses up no attempt",
        "workers.attempts.retry_rules:RetryRules.count_unbilled",
        "+ is_unbilled",
        "+ 0",
        "unit/workers/attempts/test_retry_rules.py"
        "::test_provisioning_leaves_all_attempts_to_billed_failures",
    ),
    Mutation(
        "a failed export is read in full before rows are sent again",
        "workers.steps.collect:list_ranges",
        "files if ended.job.state == _FAILED else final_files or files",
        "final_files or files",
        "unit/workers/steps/test_collect.py"
        "::test_only_rows_without_an_answer_are_sent_again_after_a_failed_export",
    ),
]


@contextmanager
def without(mutation: Mutation) -> Iterator[None]:
    """Remove a safeguard from the running code for the length of the block."""
    function = _function(mutation.where)
    source = canonical_source(function)
    assert source.count(mutation.old) == 1, (
        f"the safeguard has moved: {mutation.where} does not contain {mutation.old!r} exactly once"
    )
    names: dict[str, Any] = {}
    code = compile(
        "from __future__ import annotations\n" + source.replace(mutation.old, mutation.new),
        mutation.where,
        "exec",
    )
    exec(code, function.__globals__, names)  # noqa: S102 - the project's own source
    original, function.__code__ = function.__code__, names[function.__name__].__code__
    try:
        yield
    finally:
        function.__code__ = original


def canonical_source(function: FunctionType) -> str:
    """Return a function's source as ``ast.unparse`` writes it, without decorators.

    Mutations quote this form, so reformatting the product does not break them.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef)
    definition.decorator_list = []
    return ast.unparse(definition)


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
