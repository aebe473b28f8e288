"""Where runs may write.

Anyone who can send a message can name any sink, so the workers' settings list what is
allowed: servers by name, and everything below an entry of ``settings.sink_allowlist``. For
BigQuery, an entry is a table, a dataset or a project; ``bq://`` alone allows all. The
deployment's own bucket needs no entry, but the folders that Promptmill uses are refused.
"""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from promptmill.config import names
from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings, variable_name
from promptmill.config.tables import Table, parse_table
from promptmill.config.urls import is_loopback
from promptmill.producers.contract.messages import SinkSpec


def resolve_folder(settings: Settings, spec: SinkSpec, run: str) -> str:
    """Return the ``gs://`` URL of a folder that a run may write to. Raises ConfigurationError."""
    url, run_folder = spec.url.rstrip("/"), f"{spec.url.rstrip('/')}/{run}/"
    if not url.startswith("gs://") or {"", ".", ".."} & set(url.removeprefix("gs://").split("/")):
        raise ConfigurationError(f"sink {spec.url}: must be a URL such as gs://bucket/folder/")
    reserved = tuple(f"{settings.bucket}/{folder}" for folder in names.RESERVED_FOLDERS)
    if run_folder.startswith(reserved):
        raise ConfigurationError(
            f"sink {spec.url}: Promptmill itself uses this folder. Choose another one"
        )
    own_bucket = "/".join(settings.bucket.split("/")[:3]) + "/"
    if not run_folder.startswith((own_bucket, *settings.sink_allowlist)):
        raise _not_allowed_error(spec)
    return url


def resolve_file(settings: Settings, spec: SinkSpec) -> Path:
    """Return the resolved path of a file that runs may write. Raises ConfigurationError."""
    try:
        path = Path(spec.url).resolve()
        allowed_folders = [
            Path(allowed_path).resolve()
            for allowed_path in settings.sink_allowlist
            if allowed_path.startswith("/")
        ]
    except (OSError, ValueError, RuntimeError):
        raise ConfigurationError(f"sink {spec.url[:200]!r}: the path cannot be resolved") from None
    if not any(path.parent.is_relative_to(parent) for parent in allowed_folders):
        raise _not_allowed_error(spec)
    return path


class SinkServer(NamedTuple):
    """A database or web server.

    ``name`` is public; ``url`` and ``secret`` are not. ``is_host_configured`` is
    true if the workers' settings name its host.
    """

    name: str
    url: str
    secret: str = ""
    is_host_configured: bool = True

    def __repr__(self) -> str:
        return f"Server({self.name!r})"


def resolve_server(settings: Settings, spec: SinkSpec, *schemes: str) -> SinkServer:
    """Return the database or web server that a run may write to.

    The spec has a name from ``settings.named_sinks``, or a URL below an entry of
    ``settings.sink_allowlist``. A URL has no password, query or fragment. Passwords are
    in the workers' environment (for PostgreSQL, in PGPASSFILE). Raises ConfigurationError.
    """
    if "://" not in spec.url:
        named_sink = settings.get_named_sink(spec.url)
        if not named_sink.url.startswith(tuple(f"{scheme}://" for scheme in schemes)):
            raise ConfigurationError(
                f"sink {spec.url}: not a {schemes[0]}:// URL in {variable_name('named_sinks')} "
                "of the workers"
            )
        return SinkServer(spec.url, named_sink.url, named_sink.secret)
    try:
        url = urlsplit(spec.url)
        allowed_url = _find_allowed(settings, url)
    except ValueError:
        raise ConfigurationError("sink: not a URL") from None
    if url.scheme not in schemes or not url.hostname or url.password or url.query or url.fragment:
        raise ConfigurationError(
            f"sink {url.scheme}://{url.hostname}: must be {schemes[0]}://host/… without password, "
            f"? and #. If it needs them, name it in {variable_name('named_sinks')} of the workers"
        )
    if allowed_url is None:
        raise _not_allowed_error(spec)
    return SinkServer(
        spec.url, spec.url, is_host_configured=bool(allowed_url.hostname) or url.scheme == "http"
    )


def _find_allowed(settings: Settings, url: SplitResult) -> SplitResult | None:
    for allowed_url in map(urlsplit, settings.sink_allowlist):
        if _is_below(url, allowed_url):
            return allowed_url
    return None


def _is_below(url: SplitResult, parent: SplitResult) -> bool:
    """Whether a URL is below another one. A bare ``http://`` allows this machine only."""
    if (
        url.scheme != parent.scheme
        or {".", ".."} & set(url.path.split("/"))
        or "%" in url.path
        or "\\" in url.path
    ):
        return False
    if not parent.hostname:
        return url.scheme != "http" or is_loopback(url.hostname or "")
    has_same_host = (url.hostname, url.port) == (parent.hostname, parent.port)
    return has_same_host and f"{url.path.rstrip('/')}/".startswith(parent.path)


def check_dataset(settings: Settings, dataset_name: str) -> None:
    """Raise ConfigurationError unless runs may create tables in a BigQuery dataset."""
    resolve_table(settings, SinkSpec("bigquery", f"{dataset_name}.all"))


def resolve_table(settings: Settings, spec: SinkSpec) -> Table:
    """Return the BigQuery table that runs may write to. Raises ConfigurationError."""
    requested = parse_table(spec.url)
    allowed_tables = [
        prefix.partition(":")[2].strip("/")
        for prefix in settings.sink_allowlist
        if prefix.startswith("bq:")
    ]
    if not any(
        not allowed or f"{requested}.".startswith(f"{allowed}.") for allowed in allowed_tables
    ):
        raise _not_allowed_error(spec)
    return requested


def _not_allowed_error(spec: SinkSpec) -> ConfigurationError:
    return ConfigurationError(
        f"sink {spec.url}: not allowed. Workers write to their own bucket and to the locations "
        f"in {variable_name('sinks')}. Add this one there"
    )
