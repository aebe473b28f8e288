"""The built wheel, in an environment of its own, beside a project that owns a package called config."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.calibration import NOMINAL_SECONDS, timed_import

ROOT = Path(__file__).parents[2]
PROBE = f"""
import json, sys
before = set(sys.modules)
{timed_import("promptmill.producers")}
import config.settings
print(json.dumps({{
    "loops": imported / calibration,
    "modules": sorted({{name.partition(".")[0] for name in set(sys.modules) - before}}),
    "from": promptmill.producers.__file__,
    "config": config.settings.MINE,
    "model": promptmill.producers.Promptmill(model="gemini-x", project="p").settings.model,
}}))
"""
HEAVY = {"celery", "kombu", "redis", "pydantic", "google", "grpc", "typer", "rich"}


def uv(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", "uv", *map(str, arguments), "--quiet", "--no-config"]
    command += ["--system-certs", "--cache-dir", str(cache())]
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    ran = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def cache() -> Path:
    return Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache" / "uv"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    uv("build", "--wheel", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A project of somebody else's, with its own environment, in which the thin producer is installed."""
    site = tmp_path_factory.mktemp("site")
    (site / "config").mkdir()
    (site / "config" / "__init__.py").write_text("")
    (site / "config" / "settings.py").write_text("MINE = 'mine'\n")
    python = site / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", site / "venv"], check=True)
    locked = site / "locked.txt"
    locked.write_text("".join(pins()))
    uv("pip", "install", "--python", python, "--constraints", locked, wheel)
    return site


def pins() -> list[str]:
    """The locked versions, without their hashes, which the wheel itself cannot have."""
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return [line.rstrip(" \\") + "\n" for line in lines if line and line[0].isalnum()]


def test_the_wheel_has_every_part_with_its_types_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    parts = {name.split("/")[1] for name in names if name.startswith("promptmill/")}
    assert parts == {"config", "producers", "cli", "workers", "local", "emulator"}
    assert {f"promptmill/{part}/py.typed" for part in parts} <= set(names)
    assert "promptmill/__init__.py" not in names
    assert {name.partition("/")[0] for name in names} == {
        "promptmill",
        next(n for n in names if "dist-info" in n).split("/")[0],
    }


@pytest.mark.alone
def test_the_thin_producer_is_imported_beside_a_config_of_the_project(site: Path) -> None:
    command = [str(site / "venv" / "bin" / "python"), "-c", PROBE]
    seen = []
    for _ in range(3):
        ran = subprocess.run(
            command,
            cwd=site,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin"},
            check=True,
        )
        seen.append(json.loads(ran.stdout))

    assert seen[0]["config"] == "mine"
    assert seen[0]["from"].startswith(str(site))
    assert seen[0]["model"] == "gemini-x"
    assert set(seen[0]["modules"]) & HEAVY == set()
    assert min(one["loops"] for one in seen) * NOMINAL_SECONDS < 0.5


def test_google_is_not_even_installed_with_the_thin_producer(site: Path) -> None:
    installed = {
        package["name"]
        for package in json.loads(uv("pip", "list", "--format", "json", "--python", site / "venv"))
    }

    assert "promptmill" in installed
    assert not {name for name in installed if name.startswith(("google", "grpc", "aiplatform"))}


def test_the_command_line_says_what_is_missing_for_more(site: Path) -> None:
    command = [str(site / "venv" / "bin" / "promptmill"), "--help"]

    ran = subprocess.run(
        command,
        cwd=site,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "submit" in ran.stdout
