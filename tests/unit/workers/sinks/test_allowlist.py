"""A run writes where the workers' settings allow it, whatever sink its message names."""

from pathlib import Path

import pytest

from promptmill.config.errors import ConfigurationError
from promptmill.config.settings import Settings
from promptmill.producers.contract.messages import SinkSpec
from promptmill.workers.sinks import allowlist

RUN = "01jtest"


def mill(sinks: str = "", bucket: str = "gs://acme/mill") -> Settings:
    return Settings(bucket=bucket, sinks=sinks)


@pytest.mark.parametrize(
    ("url", "sinks"),
    [
        ("gs://acme/mill/answers", ""),
        ("gs://acme/elsewhere/", ""),
        ("gs://acme", ""),
        ("gs://other/out/deep", "gs://third/, gs://other/out"),
        ("gs://other", "gs://"),
    ],
)
def test_a_folder_of_the_mills_own_bucket_or_below_a_place_that_is_named_is_allowed(
    url: str, sinks: str
) -> None:
    assert allowlist.resolve_folder(mill(sinks), SinkSpec("jsonl", url), RUN) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "gs://other/out",
        "gs://acme-too/out",
        "gs://third/output",
        "gs://acme/mill/runs",
        "gs://acme/mill/runs/01jother/shards",
        "gs://acme/mill/answers/../runs",
        "gs://acme/mill//runs",
        "gs://acme/./mill/runs",
        "gs://",
        "/etc/passwd",
        "file:///etc/passwd",
        "",
    ],
)
def test_no_other_folder_is_allowed(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^sink "):
        allowlist.resolve_folder(mill("gs://third/out/"), SinkSpec("jsonl", url), RUN)


@pytest.mark.parametrize("run", ["runs", "open", "dead"])
def test_no_run_may_be_called_so_that_it_writes_among_what_the_mill_keeps(run: str) -> None:
    with pytest.raises(ConfigurationError, match="Promptmill itself"):
        allowlist.resolve_folder(mill(), SinkSpec("jsonl", "gs://acme/mill"), run)


def test_what_a_mill_keeps_in_the_root_of_its_bucket_is_safe_too() -> None:
    with pytest.raises(ConfigurationError, match="Promptmill itself"):
        allowlist.resolve_folder(mill(bucket="gs://acme"), SinkSpec("jsonl", "gs://acme/open"), RUN)


def test_a_file_below_a_place_that_is_named_is_allowed(tmp_path: Path) -> None:
    wanted = tmp_path / "out" / "deep" / "answers.jsonl"

    assert (
        allowlist.resolve_file(mill(f"{tmp_path}/out"), SinkSpec("file", str(wanted)))
        == wanted.resolve()
    )


@pytest.mark.parametrize("place", ["", "gs://", "{out}/further", "{out}x"])
def test_no_other_file_is_allowed(tmp_path: Path, place: str) -> None:
    spec = SinkSpec("file", str(tmp_path / "out" / "answers.jsonl"))

    with pytest.raises(ConfigurationError, match="PROMPTMILL_SINKS"):
        allowlist.resolve_file(mill(place.format(out=tmp_path / "out")), spec)


def test_neither_links_nor_dots_lead_out_of_a_place(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    out.mkdir()
    outside.mkdir()
    (out / "folder").symlink_to(outside)
    (out / "file.jsonl").symlink_to(outside / "file.jsonl")

    for url in (
        "folder/answers.jsonl",
        "file.jsonl",
        "../outside/answers.jsonl",
        "new/../../answers.jsonl",
        "\0",
    ):
        with pytest.raises(ConfigurationError, match=r"^sink "):
            allowlist.resolve_file(mill(str(out)), SinkSpec("file", f"{out}/{url}"))


def test_a_place_may_be_a_link_itself(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")

    found = allowlist.resolve_file(
        mill(str(tmp_path / "out")), SinkSpec("file", f"{tmp_path}/out/answers.jsonl")
    )

    assert found == (tmp_path / "disk" / "answers.jsonl").resolve()


DATABASES = "postgresql://db.acme.com/shop/,postgresql://db:6543, https://hooks.acme.com/answers,http://10.0.0.5:8080"


def postgres(url: str) -> SinkSpec:
    return SinkSpec("postgres", url, {"table": "answers"})


@pytest.mark.parametrize(
    "url", ["postgresql://db.acme.com/shop", "postgresql://me@db:6543/any", "postgresql://db:6543"]
)
def test_a_database_of_a_server_that_is_named_is_allowed(url: str) -> None:
    found = allowlist.resolve_server(mill(DATABASES), postgres(url), "postgresql")

    assert (found.url, found.is_host_configured) == (url, True)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.acme.com/other",
        "postgresql://db.acme.com/shopping",
        "postgresql://db.acme.com/shop/../other",
        "postgresql://db.acme.com/%73hop",
        "postgresql://db.acme.com:5433/shop",
        "postgresql://db.acme.com.evil.org/shop",
        "postgresql://db.acme.com@evil.org/shop",
        "postgresql://db/any",
        "postgresql://me:secret@db.acme.com/shop",
        "postgresql://db.acme.com/shop?host=evil.org",
        "postgresql://db.acme.com/shop?passfile=/etc/shadow",
        "postgresql:///shop",
        "postgresql://db:nonsense/",
        "https://hooks.acme.com/answers",
        "mysql://db.acme.com/shop",
        "warehouse",
    ],
)
def test_no_other_database_is_and_no_password_or_option_comes_from_a_run(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^sink") as refusal:
        allowlist.resolve_server(mill(DATABASES), postgres(url), "postgresql")
    assert "secret" not in str(refusal.value)


@pytest.mark.parametrize(
    ("sinks", "url", "named"),
    [
        ("https://", "https://anywhere.org/x", False),
        ("https://hooks.acme.com/", "https://hooks.acme.com/x", True),
        ("http://", "http://127.0.0.1:8000/x", True),
        (DATABASES, "http://10.0.0.5:8080/x", True),
    ],
)
def test_a_scheme_alone_allows_every_host_but_makes_none_one_that_may_be_inside(
    sinks: str, url: str, named: bool
) -> None:
    assert (
        allowlist.resolve_server(
            mill(sinks), SinkSpec("webhook", url), "https", "http"
        ).is_host_configured
        is named
    )


@pytest.mark.parametrize(
    "url", ["http://acme.com/x", "http://169.254.169.254/", "https://hooks.acme.com/answersx"]
)
def test_without_tls_a_scheme_alone_allows_this_machine_only(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PROMPTMILL_SINKS"):
        allowlist.resolve_server(
            mill(f"http://,{DATABASES}"), SinkSpec("webhook", url), "https", "http"
        )


def test_a_sink_that_the_workers_know_by_name_brings_its_secrets_and_shows_none() -> None:
    crm_of_json = '{"url": "https://crm/x?SECRET", "secret": "whsec_SECRET"}'
    named = f'{{"warehouse": "postgresql://me:SECRET@db/shop", "crm": {crm_of_json}}}'
    settings = Settings(bucket="gs://acme/mill", named_sinks=named)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    found = allowlist.resolve_server(settings, postgres("warehouse"), "postgresql")
    crm = allowlist.resolve_server(settings, SinkSpec("webhook", "crm"), "https", "http")

    assert found[:3] == ("warehouse", "postgresql://me:SECRET@db/shop", "")
    assert crm[:3] == ("crm", "https://crm/x?SECRET", "whsec_SECRET")
    assert "SECRET" not in repr((found, crm, settings, settings.get_named_sink("warehouse")))
    for spec in (postgres("crm"), postgres("nobody")):
        with pytest.raises(ConfigurationError, match="PROMPTMILL_NAMED_SINKS") as refusal:
            allowlist.resolve_server(settings, spec, "postgresql")
        assert "SECRET" not in str(refusal.value)
