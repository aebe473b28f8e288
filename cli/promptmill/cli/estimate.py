"""``promptmill estimate`` and ``models``."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from promptmill.cli import arguments, exits, money, output, schema_option
from promptmill.cli.arguments import OneFormat, RowsFormat
from promptmill.cli.output import Format, Record, Shape
from promptmill.cli.submit import Refusals, source_of

if TYPE_CHECKING:
    from promptmill.producers.pricing.prices import Prices, Rate

_SHOWN = ("input", "input_audio", "cached", "output", "output_image")


def add_to(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(estimate)
    app.command()(models)


def estimate(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file as for submit, or - for stdin.")] = "",
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt; may be repeated.")] = None,
    model: arguments.Model = None,
    response_schema: Annotated[
        str,
        typer.Option(metavar="FILE.json|MODULE:MODEL", help="What answers must fit, which every request then holds."),
    ] = "",
    template: arguments.Template = None,
    key: arguments.Key = None,
    metadata: arguments.Metadata = None,
    media: arguments.Media = None,
    media_type: arguments.MediaType = None,
    system: arguments.System = None,
    config: arguments.Config = None,
    max_cost_usd: Annotated[
        float | None,
        typer.Option(metavar="USD", help="Exit with 7 when the run could cost more, or its price is unknown."),
    ] = None,
    form: OneFormat = Shape.table,
) -> None:
    """Say what a run would use and cost; nothing is sent or spent.

    Tokens are estimated from the text, and bounded by what each request allows.

    \b
    promptmill estimate reviews.jsonl --model gemini-3.8-flash
    promptmill estimate reviews.csv --template "Classify: {{ text }}" --key review_id
    promptmill estimate reviews.jsonl --format json | jq .usd_most
    promptmill estimate reviews.jsonl --max-cost-usd 50 && promptmill submit reviews.jsonl
    """
    from promptmill.producers import Promptmill
    from promptmill.producers.pricing import prices

    refusals = Refusals()
    mill = Promptmill()
    schema = schema_option.find(response_schema)
    rows = arguments.row_options(template, key, metadata, media, media_type, system, config)
    source = source_of(file, prompt, rows)
    made = mill.estimate(source, model=model, response_schema=schema, on_refused=refusals.note, **rows)
    refusals.tell()
    found = prices.find(model or mill.settings.model)
    if form is Shape.json:
        told = {"table": found.table, "checked": found.checked, "on": found.on} if found else {}
        output.write_json(msgspec.structs.asdict(made) | {"prices": told})
    else:
        output.to_stdout().print(output.table(money.of_estimate(made)))
        if made.open:
            typer.echo(
                f"{made.open:,} requests hold media of unknown length, or read more: only the range has that", err=True
            )
        typer.echo(made.method, err=True)
        typer.echo(_source(found), err=True)
    if max_cost_usd is not None and (made.usd_most is None or made.usd_most > max_cost_usd):
        typer.echo(
            f"it could cost up to {money.amount(made.usd_most)}, more than {money.amount(max_cost_usd)}", err=True
        )
        raise typer.Exit(exits.OVER_BUDGET)


def _source(found: "Prices | None") -> str:
    from promptmill.producers.pricing import prices

    if found:
        return money.age(found.checked, found.table)
    if prices.table():
        return "the price of this model is not known; those that are: promptmill models"
    return "prices are not known here: pip install 'promptmill[prices]'"


def models(form: RowsFormat = Format.table) -> None:
    """List the models whose batch prices are known.

    In USD per million tokens. Requests of some models cost more above so many input tokens: a row for each rate.
    Thinking costs what output does.

    \b
    promptmill models
    promptmill models --format csv
    """
    from promptmill.producers.pricing import prices

    known = prices.known()
    if not known:
        typer.echo("prices are not known here: pip install 'promptmill[prices]'", err=True)
    output.write([row for found in known for row in _rows(found, form)], form)
    if known and form is Format.table:
        typer.echo(money.age(min(found.checked for found in known), known[0].table), err=True)


def _rows(found: "Prices", form: Format) -> list[Record]:
    return [_row(found, *rates, form) for rates in zip(found.batch, found.online, strict=True)]


def _row(found: "Prices", batch: "Rate", online: "Rate", form: Format) -> Record:
    """A rate in USD per million tokens; a table has them as text, which is not rounded."""
    prices: dict[str, float] = {kind: batch.per_token[kind] / 10**6 for kind in _SHOWN}
    prices |= {f"online_{kind}": online.per_token[kind] / 10**6 for kind in ("input", "output")}
    told = {kind: f"{usd:g}" for kind, usd in prices.items()} if form is Format.table else prices
    about = {"context": found.context or "", "on": found.on, "checked": found.checked}
    return {"model": found.model, "above": batch.above, **told, **about}
