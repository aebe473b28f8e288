"""The way in: ``Promptmill`` turns prompts into a run."""

import inspect
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec

from promptmill.config.errors import EmptyRun, InvalidRequest, RunNotFound
from promptmill.config.tables import BIGQUERY_SCHEME, parse_dataset
from promptmill.producers import pools, run_options
from promptmill.producers.contract import callbacks, sink_kinds, sink_specs
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.ids import make_run_id
from promptmill.producers.contract.messages import Manifest, SinkSpec
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.pools import Ticket
from promptmill.producers.pricing import estimate as estimating
from promptmill.producers.pricing import prices
from promptmill.producers.pricing.estimate import Estimate
from promptmill.producers.pricing.totals import GroupBy, Total, group_costs
from promptmill.producers.requests import schemas
from promptmill.producers.requests.chunks import measure_chunks
from promptmill.producers.requests.encode import Prompt, RequestEncoder, RequestLine, encode_lines
from promptmill.producers.rows.prompt_files import read_prompts
from promptmill.producers.rows.sources import is_bigquery_source, open_rows
from promptmill.producers.rows.table_runs import build_prompts, split_output
from promptmill.producers.rows.validation import Validation, validate_prompts
from promptmill.producers.run import Run, load_bucket_function
from promptmill.producers.stream import Stream
from promptmill.producers.submission import Submission

if TYPE_CHECKING:
    from promptmill.producers.sender import Sender

ROW_OPTIONS = frozenset(
    {"template", "key", "metadata", "media", "system_instruction", "generation_config"}
)
"""Those of ``submit_rows`` that are not of ``submit``."""


class Promptmill:
    """A client of one Promptmill: settings come from the environment, explicit arguments win.

    ``settings`` are those of ``promptmill.config.settings.Settings`` by name, for example ``bucket`` or ``broker_url``.
    """

    def __init__(self, **settings: Any) -> None:
        from promptmill.config.settings import load_settings

        self.settings = load_settings(**settings)

    @cached_property
    def index(self) -> RunIndex:
        """The index of runs."""
        return RunIndex(Connection(self.settings.index_url))

    @cached_property
    def _sender(self) -> "Sender":
        from promptmill.producers.sender import Sender  # brings Celery, which is slow to import

        return Sender(self.settings)

    def submit(
        self,
        prompts: Iterable[Prompt],
        *,
        model: str | None = None,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        sinks: Sequence[SinkSpec] = (),
        idempotency_key: str | None = None,
        max_attempts: int = 3,
        retry_max_tokens: int = 0,
        response_schema: object = None,
        retry_schema_invalid: bool = False,
        deadline: str | float | None = None,
        tables: str = "",
        link: callbacks.Signatures = None,
        link_error: callbacks.Signatures = None,
        link_results: callbacks.Signatures = None,
        strict: bool = False,
        max_cost_usd: float | None = None,
        repeat_identical: bool = False,
        reuse_answers: bool = False,
        on_refused: Callable[[RequestLine], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
    ) -> Run:
        """Send ``prompts``, one by one from any iterable, as one run.

        A prompt is a string, or a mapping with ``request`` (Google's GenerateContentRequest) or ``prompt``, and if
        wanted ``key`` and ``metadata``. Nothing is paid for before the last one was accepted. A row that cannot be sent
        becomes a failure of the run with reason INVALID_REQUEST (and is shown to ``on_refused``); the rest goes on, unless
        ``strict``, which raises InvalidRequest for it.
        Requests that fail for a reason that may pass are tried up to ``max_attempts`` times, in jobs of their own.
        An answer that was cut off (MAX_TOKENS) with less than ``retry_max_tokens`` is tried again too, with that many as its
        ``maxOutputTokens``.
        ``response_schema`` (a pydantic model, or a JSON schema as a dict) is what every answer must fit: each request asks
        for JSON that does, each answer is checked, and decoded into ``Result.parsed``. One that does not fit fails with
        reason SCHEMA_INVALID; ``retry_schema_invalid`` has it asked for once more, with what was wrong added to the prompt.
        When ``deadline`` (a span such as "90m", "36h" or "2d", or seconds) has passed since the first request was stored,
        the run ends as by ``Run.cancel``, and rows without an answer fail with reason DEADLINE_EXCEEDED.
        ``max_cost_usd`` is what the run may cost. It is refused before anything is paid for when its first attempts could
        cost more, or its model's price is not known; rows whose next attempt could exceed it fail with reason OVER_BUDGET.
        Identical requests are sent once, and the answer is given to the key of each, with a usage of nothing for all but the
        first; unless ``repeat_identical``: then each is sent and paid for, and may have an answer of its own.
        With ``reuse_answers`` a request that an earlier run has an answer to, by the same model and to the same response schema,
        is not sent: it has that answer, with a usage of nothing and 0 as its attempt. The newest 1,000 runs that are done
        are looked through. Estimate and limit of costs take every request for one that is sent.
        With ``tables``, a BigQuery dataset as ``project.dataset``, the run's jobs read and write tables there, in place of
        files in the bucket; all else is the same.
        ``link`` and ``link_error`` are Celery signatures (or chains, their dict forms, or lists of these) of tasks of yours
        that the workers send when the run has ended with results, or without; ``link_results`` is given all results, some at
        a time. Each is sent at least once, under the same task id every time, to its own ``queue`` option or to "celery".
        The same ``idempotency_key`` and content give the same run again, and send what was missing of it. ``on_sent``
        hears how many requests were sent so far.

        Raises EmptyRun, InvalidRequest, DuplicateKey, IdempotencyConflict, ConfigurationError, Transient.
        """
        manifest, schema = self._build_manifest(
            make_run_id(idempotency_key),
            model=model,
            name=name,
            labels=labels,
            sinks=sinks,
            idempotent=idempotency_key is not None,
            max_attempts=max_attempts,
            retry_max_tokens=retry_max_tokens,
            response_schema=response_schema,
            retry_schema_invalid=retry_schema_invalid,
            deadline=deadline,
            tables=tables,
            link=link,
            link_error=link_error,
            link_results=link_results,
            max_cost_usd=max_cost_usd,
            repeat_identical=repeat_identical,
            reuse_answers=reuse_answers,
        )
        encoded_lines = encode_lines(manifest.run, prompts, self.settings.max_request_bytes, schema)
        return self._send_lines(manifest, encoded_lines, on_refused, on_sent, strict=strict)

    def _build_manifest(
        self,
        run: str,
        *,
        created: float | None = None,
        model: str | None = None,
        name: str = "",
        labels: Mapping[str, str] | None = None,
        sinks: Sequence[SinkSpec] = (),
        idempotent: bool = False,
        max_attempts: int = 3,
        retry_max_tokens: int = 0,
        response_schema: object = None,
        retry_schema_invalid: bool = False,
        deadline: str | float | None = None,
        tables: str = "",
        link: callbacks.Signatures = None,
        link_error: callbacks.Signatures = None,
        link_results: callbacks.Signatures = None,
        max_cost_usd: float | None = None,
        repeat_identical: bool = False,
        reuse_answers: bool = False,
    ) -> tuple[Manifest, bytes]:
        """Return a run as opened with these options of ``submit``, and the schema that its requests are sent with."""
        schema = schemas.resolve_schema(response_schema, retry=retry_schema_invalid)
        limit = run_options.check_cost_limit(max_cost_usd, self.settings.max_cost_usd_per_run)
        manifest = Manifest(
            run=run,
            model=run_options.normalize_model(model or self.settings.get_required("model")),
            created=time.time() if created is None else created,
            name=name,
            labels=dict(labels or {}),
            sinks=[*sinks, *callbacks.build_result_sinks(link_results)],
            idempotent=idempotent,
            max_attempts=run_options.check_max_attempts(max_attempts),
            retry_max_tokens=run_options.check_retry_tokens(retry_max_tokens),
            response_schema=schema.json_schema,
            retry_schema_invalid=retry_schema_invalid,
            deadline=self.settings.run_deadline
            if deadline is None
            else run_options.parse_deadline(deadline),
            tables=parse_dataset(tables) if tables else "",
            link=callbacks.parse_chains("link", link),
            link_error=callbacks.parse_chains("link_error", link_error),
            max_cost_usd=limit,
            repeat_identical=repeat_identical,
            reuse_answers=run_options.check_reuse_answers(
                reuse_answers, repeat_identical=repeat_identical
            ),
        )
        return manifest.with_version(), schema.encoded

    def stream(
        self,
        *,
        idempotency_key: str | None = None,
        strict: bool = False,
        on_refused: Callable[[RequestLine], None] | None = None,
        on_sent: Callable[[int], None] | None = None,
        **options: Any,
    ) -> Stream:
        """Open a run whose requests are added as they come: ``with mill.stream(model=…) as s: s.add("…", key="t-1")``.

        ``options`` are those of ``submit``. Leaving the block ends the input of ``s.run``, which exists from the first chunk
        on; leaving it by an exception ends the run as ``submit`` does when its prompts raise one.
        Raises ConfigurationError; ``add`` and the end of the block raise what ``submit`` raises.
        """
        idempotent = idempotency_key is not None
        manifest, schema = self._build_manifest(
            make_run_id(idempotency_key), idempotent=idempotent, **options
        )
        return Stream(
            Run(manifest.run, self),
            RequestEncoder(manifest.run, self.settings.max_request_bytes, schema),
            Submission(manifest, self.index, self._sender, on_sent, self.settings.chunk_bytes),
            lambda line: _report_refusal(line, on_refused, strict),
            close_by_age=not idempotent,
        )

    def enqueue(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pool: str,
        key: str | None = None,
        **options: Any,
    ) -> Ticket:
        """Send one prompt, or a few, to a ``pool``, from which a worker cuts runs: for many small calls from many processes.

        A run is cut when ``PROMPTMILL_POOL_REQUESTS`` or ``…_BYTES`` are there, or ``…_SECONDS`` have passed. It has the
        name of the pool, unless another is given, and the label ``pool``. ``options`` are those of ``submit``; requests with
        different options make different runs, and limits and callbacks are each run's own.
        A prompt without a key is given one. The same call within an hour is one that was repeated, and counts once; so does
        a request that is the same, with the same key, as another of its run. One that has the key of another and other
        content goes into the next run. ``mill.find_pooled(pool, key)`` finds the run, once there is one.

        Raises InvalidRequest, where nothing is sent, ConfigurationError, and Transient, also when nobody takes what waits.
        """
        pools.check_pool_name(pool)
        run_options: dict[str, Any] = (
            {"name": pool}
            | options
            | {"labels": dict(options.get("labels") or {}) | {"pool": pool}}
        )
        template, schema = self._build_manifest("", created=0.0, **run_options)
        prompts = pools.assign_keys(prompts, key)
        self._sender.enqueue_prompts(
            pools.pack_call(self.settings, template, pool, prompts, schema)
        )
        return Ticket(pool, tuple(prompt["key"] for prompt in prompts))

    def find_pooled(self, pool: str, key: str) -> Run:
        """Return the run with this key's request, for two days; raises RunNotFound, also while that waits."""
        return Run(pools.find_run_id(self.index, pool, key), self)

    def _send_lines(
        self,
        manifest: Manifest,
        encoded_lines: Iterable[RequestLine],
        on_refused: Callable[[RequestLine], None] | None,
        on_sent: Callable[[int], None] | None,
        *,
        strict: bool = False,
    ) -> Run:
        lines = _report_refusals(encoded_lines, on_refused, strict)
        Submission(
            manifest, self.index, self._sender, on_sent, self.settings.chunk_bytes
        ).send_lines(lines)
        return Run(manifest.run, self)

    def estimate(
        self,
        source: Any,
        *,
        model: str | None = None,
        response_schema: object = None,
        on_refused: Callable[[RequestLine], None] | None = None,
        **row_options: Any,
    ) -> Estimate:
        """Return what a run of ``source`` may use and cost, and how many jobs it makes; nothing is sent, nothing is spent.

        ``source`` and ``row_options`` are as in ``validate``. Raises InvalidRequest, ConfigurationError, PromptmillError.
        """
        prompts = self.prompts(source, **row_options)
        model = run_options.normalize_model(model or self.settings.get_required("model"))
        request_schema = schemas.resolve_schema(response_schema, retry=False).encoded
        encoded_lines = encode_lines(
            make_run_id("estimate"), prompts, self.settings.max_request_bytes, request_schema
        )
        lines = _report_refusals(encoded_lines, on_refused, strict=False)
        return estimating.estimate_run(
            measure_chunks(lines, self.settings.chunk_bytes),
            model,
            prices.find_prices(model),
            self.settings.max_requests_per_job,
            self.settings.max_bytes_per_job,
        )

    def submit_table(
        self,
        source: str,
        *,
        output: str,
        key: str = "key",
        metadata: Sequence[str] | None = None,
        **options: Any,
    ) -> Run:
        """Run the requests of a BigQuery table, by jobs that read and write tables.

        ``source`` is ``bq://project.dataset.table`` or a query (SELECT …). Its column ``request`` holds Google's
        GenerateContentRequest, as JSON or STRING, and its column ``key`` the key of each. The other columns, or those of
        them that ``metadata`` names, come back beside the answers. ``output`` is the dataset for the tables of the jobs, as
        ``bq://project.dataset``; or a table in it, which is then a sink of the run too. ``options`` are those of ``submit``.

        Raises what ``submit`` raises, NotInstalled (it needs ``promptmill[bigquery]``), NotFound and Permanent.
        """
        order_by = (
            key if options.get("idempotency_key") and source.startswith(BIGQUERY_SCHEME) else ""
        )
        rows = load_bucket_function("bigquery_rows")(self.settings, source, order_by)
        dataset, table = split_output(output)
        table_sinks = [sink_specs.bigquery(table)] if table else []
        prompts = build_prompts(rows, key, metadata)
        return self.submit(
            prompts, tables=dataset, sinks=[*options.pop("sinks", ()), *table_sinks], **options
        )

    def retry(
        self,
        run: str,
        only: Collection[str] = (),
        generation_config: Mapping[str, Any] | None = None,
    ) -> Run:
        """Send the failed requests of a run that is done as a run of their own, and return it; see ``Run.retry``."""
        reasons, config = sorted(set(only)), dict(generation_config or {})
        parent, prompts = load_bucket_function("failed_requests")(
            self.settings, run, reasons, config
        )
        key = f"retry/{run}/{','.join(reasons)}/{json.dumps(config, sort_keys=True)}"
        manifest = msgspec.structs.replace(
            parent,
            run=make_run_id(key),
            created=time.time(),
            idempotent=True,
            parent=run,
            sinks=[sink for sink in parent.sinks if not sink_kinds.is_local_file(sink)],
        )
        try:
            encoded_lines = encode_lines(manifest.run, prompts, self.settings.max_request_bytes)
            return self._send_lines(manifest, encoded_lines, None, None)
        except EmptyRun:
            reason_text = f" with {' or '.join(reasons)}" if reasons else ""
            raise EmptyRun(
                f"no request of run {run} that could be sent again has failed{reason_text}"
            ) from None

    def submit_rows(self, source: object, *, template: str | Path, **options: Any) -> Run:
        """Make a request of every row of ``source`` with a Jinja ``template`` (text, or the Path of a file), and send them.

        ``promptmill.producers.rows.sources.open_rows`` tells what a source may be; ``key``, ``metadata``, ``media``,
        ``system_instruction`` and ``generation_config`` are those of ``promptmill.producers.rows.render.RowTemplate``;
        all other ``options`` are those of ``submit``. A row that lacks what a template asks for becomes a failure of
        the run, as in ``submit``, unless no row of the source can have it.

        Raises what ``submit`` raises, and ConfigurationError for a template that is none.
        """
        row_options = {name: options.pop(name) for name in ROW_OPTIONS & options.keys()}
        return self.submit(self.prompts(source, template=template, **row_options), **options)

    def validate(self, source: object, **options: Any) -> Validation:
        """Return what is wrong with the rows of ``source``, found as ``submit_rows``, or ``submit``, would; sends nothing.

        Takes what these take, and where there is no ``template`` also the path or ``gs://`` URL of a file of prompts.
        Raises PromptmillError where nothing can be read, ConfigurationError for what no row could be sent with.
        """
        row_options = {name: options.pop(name) for name in ROW_OPTIONS & options.keys()}
        inspect.signature(self.submit).bind(source, **options)
        schema = schemas.resolve_schema(
            options.get("response_schema"), retry=options.get("retry_schema_invalid", False)
        )
        return validate_prompts(
            self.prompts(source, **row_options), self.settings.max_request_bytes, schema.encoded
        )

    def prompts(
        self, source: Any, *, template: str | Path | None = None, **options: Any
    ) -> Iterable[Prompt]:
        """Return what ``submit`` takes, made of ``source`` with the ``template`` and options of ``submit_rows``.

        Without a template, ``source`` is the path of a file of prompts, or prompts.
        """
        if template is None:
            if options:
                raise TypeError(f"{min(options)} is for rows, which need a template")
            return (
                read_prompts(source, self._open_object)
                if isinstance(source, str | Path)
                else source
            )
        from promptmill.producers.rows.render import RowTemplate  # brings Jinja

        rows = (
            load_bucket_function("bigquery_rows")(self.settings, source)
            if is_bigquery_source(source)
            else source
        )
        return RowTemplate(template, **options).render_prompts(open_rows(rows, self._open_object))

    def _open_object(self, url: str) -> BinaryIO:
        file: BinaryIO = load_bucket_function("open_object")(self.settings, url)
        return file

    def get(self, run: str) -> Run:
        """Return the run with this id, or the only one whose id starts so; raises RunNotFound."""
        matches = [
            candidate for candidate in self.index.list_runs(10_000) if candidate.startswith(run)
        ]
        if run in matches or len(matches) == 1:
            return Run(run if run in matches else matches[0], self)
        raise RunNotFound(
            f"no run has an id that starts with {run!r}"
            if not matches
            else f"{run!r} fits {len(matches)} runs"
        )

    def find(self, *, name: str) -> Run:
        """Return the newest run of this name among the newest 10,000; raises RunNotFound."""
        for run in self.index.list_runs(10_000):
            manifest = self.index.find_manifest(run)
            if manifest and manifest.name == name:
                return Run(run, self)
        raise RunNotFound(f"no run is called {name!r}")

    def costs(self, by: GroupBy | str = GroupBy.day, *, since: float = 0.0) -> list[Total]:
        """Return what the runs opened since a time (seconds since the epoch) cost, by "label", "model" or "day" (UTC).

        It is told from the index, which knows a run for 30 days after its end. Raises Transient.
        """
        return group_costs(self.index.list_bills(since), GroupBy(by))

    def runs(self, limit: int = 50) -> list[Run]:
        """Return the newest runs, newest first."""
        return [Run(run, self) for run in self.index.list_runs(limit)]


def _report_refusals(
    lines: Iterable[RequestLine], on_refused: Callable[[RequestLine], None] | None, strict: bool
) -> Iterator[RequestLine]:
    for line in lines:
        _report_refusal(line, on_refused, strict)
        yield line


def _report_refusal(
    line: RequestLine, on_refused: Callable[[RequestLine], None] | None, strict: bool
) -> None:
    if line.refusal and on_refused:
        on_refused(line)
    if line.refusal and strict:
        raise InvalidRequest(line.refusal, row=line.row, key=line.key)
