"""``promptmill describe``."""

from promptmill.cli import output, run_views
from promptmill.cli.help_text import add_help
from promptmill.cli.options import ObjectFormatOption, RunId
from promptmill.cli.output import ObjectFormat


@add_help(
    """
    \b
    Examples:
      promptmill describe 01kq
      promptmill describe 01kq --format json
    """
)
def describe(run_id: RunId, output_format: ObjectFormatOption = ObjectFormat.table) -> None:
    """Show the state of a run: counts, cost, times and shards."""
    from promptmill.producers import Promptmill

    status = Promptmill().get(run_id).status
    if output_format is ObjectFormat.json:
        output.write_json(run_views.status_record(status))
    else:
        output.stdout_console().print(run_views.render_status(status))
