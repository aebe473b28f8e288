"""The client: ``Promptmill`` turns prompts into runs, and finds runs again."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack, cast

import msgspec

from promptmill.config.errors import EmptyRun, InvalidRequest, RunNotFound
from promptmill.config.tables import BIGQUERY_SCHEME
from promptmill.producers import model_choice, pools
from promptmill.producers.contract import sink_kinds, sink_specs
from promptmill.producers.contract.connection import Connection
from promptmill.producers.contract.ids import make_run_id
from promptmill.producers.contract.messages import Manifest
from promptmill.producers.contract.run_index import RunIndex
from promptmill.producers.embedding_options import check_embedding_options
from promptmill.producers.model_choice import choose_model, open_checks
from promptmill.producers.models.model_names import parse_model
from promptmill.producers.option_types import check_prompts
from promptmill.producers.pools import Ticket
from promptmill.producers.pricing import estimate as estimating
from promptmill.producers.pricing import prices
from promptmill.producers.pricing.estimate import Estimate
from promptmill.producers.pricing.totals import GroupBy, Total, group_costs
from promptmill.producers.requests import schemas
from promptmill.producers.requests.chunks import measure_chunks
from promptmill.producers.requests.embedding_requests import (
    choose_form,
    make_form,
    max_rows_per_job,
)
from promptmill.producers.requests.encode import Prompt, RequestEncoder, encode_lines
from promptmill.producers.requests.model_checks import ModelChecks
from promptmill.producers.requests.request_line import RequestLine
from promptmill.producers.rows.prompt_files import read_prompts
from promptmill.producers.rows.sources import is_bigquery_source, open_rows
from promptmill.producers.rows.table_runs import build_prompts, split_output
from promptmill.producers.rows.validation import Validation, validate_prompts
from promptmill.producers.run import Run, load_bucket_function
from promptmill.producers.run_options import (
    PoolOptions,
    RowOptions,
    RowRunOptions,
    RunOptions,
    build_manifest,
    check_options,
    split_row_options,
)
from promptmill.producers.stream import Stream
from promptmill.producers.submission import Submission

if TYPE_CHECKING:
    from promptmill.producers.sender import Sender

_MAX_LISTED_RUNS = 10_000


class Promptmill:
    """Client of one Promptmill deployment.

    ``settings`` override the environment. Their names are those of
    ``promptmill.config.settings.Settings``, for example ``bucket`` or ``broker_url``.
    """

    def __init__(self, **settings: object) -> None:
        from promptmill.config.settings import load_settings

        self.settings = load_settings(**settings)

    @cached_property
    def index(self) -> RunIndex:
        """The index of runs, in Redis."""
        return RunIndex(Connection(self.settings.index_url))

    @cached_property
    def _sender(self) -> "Sender":
        from promptmill.producers.sender import Sender  # imports Celery, which is slow

        return Sender(self.settings)

    def submit(self, prompts: Iterable[Prompt], **options: Unpack[RunOptions]) -> Run:
        """Submit ``prompts`` as one run.

        A prompt is a string or a mapping. A mapping has ``request``, which is Google's
        GenerateContentRequest, or ``prompt``, which is a text. It may also have ``key``
        and ``metadata``. Prompts are read one at a time, so a generator takes little
        memory. Nothing is billed before the last prompt has been accepted. An invalid
        row fails on its own, unless ``strict`` is set.

        ``options`` are described in ``promptmill.producers.run_options.RunOptions``.

        Raises:
            EmptyRun: There are no prompts, or none that can be sent.
            InvalidRequest: A key is invalid, or ``strict`` is set and a row is invalid.
            DuplicateKey: Two prompts have the same key.
            IdempotencyConflict: The idempotency key belongs to other content.
            ConfigurationError: An option or setting is missing or invalid, or
                ``prompts`` is one prompt.
            Transient: Redis is unavailable.
        """
        check_options(options, RunOptions)
        check_prompts(prompts)
        manifest, schema = self._build_manifest(options)
        return self._send_prompts(manifest, prompts, options, schema)

    def stream(self, **options: Unpack[RunOptions]) -> Stream:
        """Open a run whose prompts are added one at a time, inside a ``with`` block.

        Examples:
            >>> with Promptmill().stream(model="gemini-3.8-flash") as stream:  # doctest: +SKIP
            ...     stream.add("Say hello", key="t-1")

        ``options`` are those of ``submit``. The end of the block seals the run, which
        is ``stream.run``. An exception in the block ends the run, as in ``submit``.
        ``Stream.add`` and the end of the block raise the other errors of ``submit``.

        Raises:
            ConfigurationError: An option or setting is missing or invalid.
        """
        check_options(options, RunOptions)
        manifest, schema = self._build_manifest(options)
        checks = open_checks(self.settings, manifest.model, manifest.keep)
        limit, form = self.settings.max_request_bytes, choose_form(manifest, checks)
        return Stream(
            Run(manifest.run, self),
            RequestEncoder(manifest.run, limit, schema, checks, form),
            self._open_submission(manifest, options, checks),
            lambda line: _report_refusal(line, options),
            close_by_age=not manifest.idempotent,
        )

    def enqueue(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        pool: str,
        key: str | None = None,
        **options: Unpack[PoolOptions],
    ) -> Ticket:
        """Add one prompt, or a few, to a ``pool``, whose prompts workers combine into runs.

        Use it for many small calls from many processes. A worker makes a run when the pool reaches
        ``PROMPTMILL_POOL_REQUESTS``, ``PROMPTMILL_POOL_BYTES`` or ``PROMPTMILL_POOL_SECONDS``. The
        run has the label ``pool``, and the name of the pool unless ``name`` is set. Prompts with
        different options go into different runs, each with its own limits and callbacks.

        A prompt without a key gets a new one. The same call within an hour counts once. So
        does a prompt that repeats both key and content of another in its run. A prompt with
        the same key but other content goes into the next run. ``find_pooled`` returns the run.

        Raises:
            InvalidRequest: A prompt is invalid, or two have the same key.
            ConfigurationError: The pool, an option or a setting is invalid.
            Transient: Redis is unavailable, or the pool queue is full.
        """
        check_options(options, PoolOptions)
        template, schema = self._build_pool_template(pool, options)
        keyed_prompts = pools.assign_keys(prompts, key)
        call = pools.pack_call(self.settings, template, pool, keyed_prompts, schema)
        self._sender.enqueue_prompts(call)
        return Ticket(pool, tuple(str(prompt["key"]) for prompt in keyed_prompts))

    def find_pooled(self, pool: str, key: str) -> Run:
        """Return the run that contains the prompt with this ``key`` of a ``pool``.

        Keys are kept for two days after the run was made.

        Raises:
            RunNotFound: The prompt still waits, or its key is unknown or too old.
            ConfigurationError: The name of the pool is invalid.
            Transient: Redis is unavailable.
        """
        return Run(pools.find_run_id(self.index, pool, key), self)

    def _build_manifest(self, options: RunOptions) -> tuple[Manifest, bytes]:
        key = options.get("idempotency_key")
        return build_manifest(self.settings, make_run_id(key), options, idempotent=key is not None)

    def _build_pool_template(self, pool: str, options: PoolOptions) -> tuple[Manifest, bytes]:
        pools.check_pool_name(pool)
        options.setdefault("name", pool)
        options["labels"] = {**(options.get("labels") or {}), "pool": pool}
        return build_manifest(self.settings, "", options, created=0.0)

    def _send_prompts(
        self,
        manifest: Manifest,
        prompts: Iterable[Prompt],
        options: RunOptions,
        schema: bytes = b"",
    ) -> Run:
        checks = open_checks(self.settings, manifest.model, manifest.keep)
        limit, form = self.settings.max_request_bytes, choose_form(manifest, checks)
        lines = encode_lines(manifest.run, prompts, limit, schema, model_checks=checks, form=form)
        submission = self._open_submission(manifest, options, checks)
        submission.send_lines(_report_refusals(lines, options))
        return Run(manifest.run, self)

    def _open_submission(
        self, manifest: Manifest, options: RunOptions, checks: ModelChecks
    ) -> Submission:
        on_sent, chunk_bytes = options.get("on_sent"), self.settings.chunk_bytes
        return Submission(manifest, self.index, self._sender, on_sent, chunk_bytes, checks.warnings)

    def estimate(
        self,
        source: object,
        *,
        template: str | Path | None = None,
        model: str | None = None,
        response_schema: object = None,
        on_refused: Callable[[RequestLine], None] | None = None,
        **row_options: Unpack[RowOptions],
    ) -> Estimate:
        """Return the estimated tokens, cost and number of jobs of a run. Sends nothing.

        ``source``, ``template`` and ``row_options`` are those of ``validate``.
        ``on_refused`` is called with each invalid row.

        Raises:
            InvalidRequest: A key is invalid.
            ConfigurationError: An option is missing or invalid.
            PromptmillError: The source cannot be read.
        """
        check_options(row_options, RowOptions, "template", "model", "response_schema", "on_refused")
        prompts = self.prompts(source, template=template, **row_options)
        model = choose_model(self.settings, model)
        self._check_rows_config(model, row_options)
        checks = open_checks(self.settings, model)
        schema = schemas.resolve_schema(response_schema, retry=False).encoded
        encoded_lines = encode_lines(
            make_run_id("estimate"),
            prompts,
            self.settings.max_request_bytes,
            schema,
            model_checks=checks,
            form=make_form(model, checks=checks),
        )
        lines = _report_refusals(encoded_lines, {"on_refused": on_refused})
        return self._estimate_lines(lines, model)

    def _check_rows_config(self, model: str, options: RowOptions) -> None:
        config = options.get("generation_config")
        model_choice.check_generation_config(self.settings, model, config, "generation_config")

    def _estimate_lines(self, lines: Iterable[RequestLine], model: str) -> Estimate:
        now, location = datetime.now(UTC), self.settings.location
        return estimating.estimate_run(
            measure_chunks(lines, self.settings.chunk_bytes),
            model,
            prices.find_prices(model, now, location),
            max_rows_per_job(self.settings, model),
            self.settings.max_bytes_per_job,
            prices.find_prices(model, now + prices.MAX_JOB_DURATION, location),
        )

    def submit_table(
        self,
        source: str,
        *,
        output: str,
        key: str = "key",
        metadata: Sequence[str] | None = None,
        **options: Unpack[RunOptions],
    ) -> Run:
        """Submit the requests of a BigQuery table. Its jobs read and write tables.

        ``source`` is ``bq://project.dataset.table`` or a query (SELECT …). Its column ``request``
        holds Google's GenerateContentRequest, as JSON or STRING. The column ``key`` holds the
        keys. ``metadata`` names the columns to return with the answers, by default all others.
        ``output`` is the dataset for the tables of the jobs, as ``bq://project.dataset``. A table
        in it also becomes a sink. ``options`` and further errors are those of ``submit``.

        Raises:
            NotInstalled: ``promptmill[bigquery]`` is not installed.
            NotFound: The table does not exist.
            Permanent: BigQuery refuses the query.
        """
        if "tables" in options:
            raise TypeError("submit_table takes the dataset as output, not as tables")
        check_options(options, RunOptions, "key", "metadata")
        is_repeatable = options.get("idempotency_key") and source.startswith(BIGQUERY_SCHEME)
        order_by = key if is_repeatable else ""
        rows = load_bucket_function("bigquery_rows")(self.settings, source, order_by)
        _set_output(options, output)
        return self.submit(build_prompts(rows, key, metadata), **options)

    def retry(
        self,
        run: str,
        only: Collection[str] = (),
        generation_config: Mapping[str, object] | None = None,
    ) -> Run:
        """Submit the failed requests of the completed ``run`` as a new run.

        The arguments, the new run and the errors are those of ``Run.retry``.
        """
        reasons, config = sorted(set(only)), dict(generation_config or {})
        parent, prompts = load_bucket_function("failed_requests")(
            self.settings, run, reasons, config
        )
        choose_model(self.settings, parent.model, tables=bool(parent.tables))
        self._check_rows_config(parent.model, {"generation_config": config})
        check_embedding_options(parent.model, {"generation_config": config})
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
            return self._send_prompts(manifest, prompts, {})
        except EmptyRun:
            reason_text = f" with {' or '.join(reasons)}" if reasons else ""
            raise EmptyRun(f"run {run} has no failed request{reason_text} to retry") from None

    def submit_rows(
        self, source: object, *, template: str | Path, **options: Unpack[RowRunOptions]
    ) -> Run:
        """Make a request of every row of ``source`` with a Jinja ``template``.

        Submit the requests as one run.

        ``template`` is a text, or the Path of a file. The sources are listed at
        ``promptmill.producers.rows.sources.open_rows``. ``options`` are those of
        ``submit``, and those for rows: see ``RowOptions`` in
        ``promptmill.producers.run_options``. A row without a column that the template
        needs is an invalid row. A column that no row has raises InvalidRequest.

        Raises the errors of ``submit``, and these:

        Raises:
            ConfigurationError: The template or an option for rows is invalid.
            PromptmillError: The source cannot be read.
        """
        check_options(options, RowRunOptions)
        row_options, run_options = split_row_options(options)
        check_embedding_options(options.get("model") or self.settings.model, options)
        prompts = self.prompts(source, template=template, **row_options)
        model = parse_model(run_options.get("model") or self.settings.get_required("model"))
        self._check_rows_config(model.resource, row_options)
        return self.submit(prompts, **run_options)

    def validate(
        self,
        source: object,
        *,
        template: str | Path | None = None,
        **options: Unpack[RowRunOptions],
    ) -> Validation:
        """Return the problems of the rows of ``source``. Sends nothing.

        The arguments are those of ``submit_rows``. Without a template they are those of
        ``submit``. Then ``source`` can also be a file of prompts: its path or ``gs://``
        URL.

        Raises:
            ConfigurationError: An option is invalid for every row.
            PromptmillError: The source cannot be read.
        """
        check_options(options, RowRunOptions, "template")
        row_options, run_options = split_row_options(options)
        schema = schemas.resolve_schema(
            run_options.get("response_schema"), retry=run_options.get("retry_schema_invalid", False)
        )
        prompts = self.prompts(source, template=template, **row_options)
        checks = self._open_validation_checks(run_options, row_options)
        model = options.get("model") or self.settings.model
        form = make_form(model, check_embedding_options(model, options), checks)
        limit = self.settings.max_request_bytes
        return validate_prompts(prompts, limit, schema.encoded, form, checks)

    def _open_validation_checks(
        self, run_options: RunOptions, row_options: RowOptions
    ) -> ModelChecks | None:
        """Return the checks of the rows, or None without a model."""
        if not (run_options.get("model") or self.settings.model):
            return None
        has_tables = bool(run_options.get("tables"))
        model = choose_model(self.settings, run_options.get("model"), tables=has_tables)
        self._check_rows_config(model, row_options)
        return open_checks(self.settings, model)

    def prompts(
        self,
        source: object,
        *,
        template: str | Path | None = None,
        **row_options: Unpack[RowOptions],
    ) -> Iterable[Prompt]:
        """Return the prompts that ``submit_rows`` makes of ``source``.

        Without a template, ``source`` is the path or URL of a file of prompts, or an
        iterable of prompts.
        """
        check_options(row_options, RowOptions, "template")
        if template is None:
            if row_options:
                raise TypeError(f"{min(row_options)!r} is an option for rows; add a template")
            if isinstance(source, str | Path):
                return read_prompts(source, self._open_object)
            check_prompts(source)
            return cast("Iterable[Prompt]", source)
        from promptmill.producers.rows.render import RowTemplate  # imports Jinja

        rows = (
            load_bucket_function("bigquery_rows")(self.settings, source)
            if is_bigquery_source(source)
            else source
        )
        renderer = RowTemplate(template, **row_options)
        return renderer.render_prompts(open_rows(rows, self._open_object))

    def _open_object(self, url: str) -> BinaryIO:
        file: BinaryIO = load_bucket_function("open_object")(self.settings, url)
        return file

    def get(self, run: str) -> Run:
        """Return the run with this id, or whose id is the only one with this prefix.

        The newest 10,000 runs are searched.

        Raises:
            RunNotFound: No run, or several runs, have such an id.
            Transient: Redis is unavailable.
        """
        runs = self.index.list_runs(_MAX_LISTED_RUNS)
        matches = [run] if run in runs else [found for found in runs if found.startswith(run)]
        if len(matches) != 1:
            raise RunNotFound(_describe_matches(run, matches))
        return Run(matches[0], self)

    def find(self, *, name: str) -> Run:
        """Return the newest run with this ``name``, among the newest 10,000 runs.

        Raises:
            RunNotFound: No run has this name.
            Transient: Redis is unavailable.
        """
        for run in self.index.list_runs(_MAX_LISTED_RUNS):
            manifest = self.index.find_manifest(run)
            if manifest and manifest.name == name:
                return Run(run, self)
        raise RunNotFound(f"no run has the name {name!r}; list runs with promptmill list")

    def costs(self, by: GroupBy | str = GroupBy.day, *, since: float = 0.0) -> list[Total]:
        """Return the costs of runs, grouped by "label", "model" or "day" (UTC).

        ``since`` is the earliest creation time of a run, in seconds since the epoch.
        The index keeps a run for 30 days after its end.

        Raises:
            Transient: Redis is unavailable.
        """
        return group_costs(self.index.list_bills(since), GroupBy(by))

    def runs(self, limit: int = 50) -> list[Run]:
        """Return at most ``limit`` runs, newest first. Raises Transient."""
        return [Run(run, self) for run in self.index.list_runs(limit)]


def _set_output(options: RunOptions, output: str) -> None:
    options["tables"], table = split_output(output)
    table_sinks = [sink_specs.bigquery(table)] if table else []
    options["sinks"] = [*options.get("sinks", ()), *table_sinks]


def _describe_matches(prefix: str, matches: Sequence[str]) -> str:
    if not matches:
        return f"no run has an id that starts with {prefix!r}; list runs with promptmill list"
    return (
        f"{prefix!r} matches {len(matches)} runs, newest {matches[0]}; "
        "add characters (see promptmill list)"
    )


def _report_refusals(lines: Iterable[RequestLine], options: RunOptions) -> Iterator[RequestLine]:
    for line in lines:
        if line.refusal:
            _report_refusal(line, options)
        yield line


def _report_refusal(line: RequestLine, options: RunOptions) -> None:
    """Pass an invalid row to ``on_refused``; raises InvalidRequest if ``strict`` is set."""
    if not line.refusal:
        return
    if on_refused := options.get("on_refused"):
        on_refused(line)
    if options.get("strict"):
        raise InvalidRequest(line.refusal, row=line.row, key=line.key)
