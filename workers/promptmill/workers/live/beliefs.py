"""The table of beliefs, in the order in which they are printed."""

from collections.abc import Callable

from promptmill.producers.checks import Finding
from promptmill.workers.live import job_beliefs as jobs
from promptmill.workers.live import row_beliefs as rows
from promptmill.workers.live.answers import list_sent_rows
from promptmill.workers.live.evidence import Evidence
from promptmill.workers.live.rows import SEARCH
from promptmill.workers.live.verdict import Belief, Verdict


def _belief(name: str, decide: Callable[[Evidence], Verdict]) -> Belief:
    return Belief(name, str(decide.__doc__).splitlines()[0], decide)


BELIEFS = (
    _belief("create-once", jobs.judge_create_once),
    _belief("listing", jobs.judge_listing),
    _belief("adoption", jobs.judge_adoption),
    _belief("labels-filter", jobs.judge_labels_filter),
    _belief("name-filter", jobs.judge_name_filter),
    _belief("success", jobs.judge_success),
    _belief("states", jobs.judge_states),
    _belief("times", jobs.judge_times),
    _belief("counts", jobs.judge_counts),
    _belief("output-info", jobs.judge_output_info),
    _belief("folder-name", jobs.judge_folder_name),
    _belief("file-name", jobs.judge_file_name),
    _belief("cancellation", jobs.judge_cancellation),
    _belief("deletion", jobs.judge_deletion),
    _belief("rows", rows.judge_rows),
    _belief("key-on-success", rows.judge_key_on_success),
    _belief("key-on-failure", rows.judge_key_on_failure),
    _belief("metadata", rows.judge_metadata),
    _belief("status", rows.judge_status),
    _belief("usage", rows.judge_usage),
    _belief("thinking", rows.judge_thinking),
    _belief("model", rows.judge_model),
    _belief("role", rows.judge_role),
    _belief("enum", rows.judge_enum),
    _belief("property", rows.judge_property),
    _belief("number", rows.judge_number),
    _belief("object", rows.judge_object),
    _belief("float", rows.judge_float),
)
SEARCH_BELIEF = _belief("search", rows.judge_search)
"""Only decided if the check was asked to pay for a search."""


def judge_beliefs(evidence: Evidence) -> list[Finding]:
    """Return the verdict on every belief; on the search only if a row asked for one."""
    has_search = SEARCH in list_sent_rows(evidence)
    beliefs = (*BELIEFS, *([SEARCH_BELIEF] if has_search else []))
    return [Finding(belief.name, belief.statement, *belief.decide(evidence)) for belief in beliefs]
