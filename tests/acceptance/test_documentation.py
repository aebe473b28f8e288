"""Every Python sample of the documentation, run against a stack on this machine."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from promptmill.local.services import StackOptions
from promptmill.local.stack import Stack
from support.waiting import PATIENCE

ROOT = Path(__file__).parents[2]
SITE = ROOT / "examples" / "django_project"
ANY_PORTS = {"redis": 0, "storage": 0, "emulator": 0, "flower": 0}
WITHOUT_PAGE = ("redis", "storage", "emulator", "worker", "poll", "beat")
RUN_ELSEWHERE = {
    "README.md": "tests/acceptance/test_examples.py",
    "docs/guides/bigquery.md": "tests/acceptance/test_bigquery.py",
    "docs/guides/sinks.md": "tests/unit/test_docs.py",
}
"""Pages whose samples need other services, or need none, and the tests that run them."""

PRODUCTS = """\
sku,shop,name,notes,photo,language
sku-1,7,Lamp,,gs://cloud-samples-data/generative-ai/image/scones.jpg,English
sku-2,7,Chair,it folds,gs://cloud-samples-data/generative-ai/image/scones.jpg,English
"""
TASKS = """\
import os

from celery import Celery

app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])


def accept(*args):
    pass


notify = app.task(accept, name="shop.notify")
write_summary = app.task(accept, name="shop.write_summary")
page_oncall = app.task(accept, name="shop.page_oncall")
store_rows = app.task(accept, name="shop.store_rows")
"""
DJANGO = """\
import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
from shop.models import Review

Review.objects.create(text="I love it.")
"""


def python_blocks(page: Path) -> list[str]:
    """Return the Python samples of a page."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


PAGES = {
    name: path
    for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
    if python_blocks(path) and (name := str(path.relative_to(ROOT))) not in RUN_ELSEWHERE
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a program that uses a running stack."""
    options = StackOptions(
        tmp_path_factory.mktemp("stack"), services=WITHOUT_PAGE, latency=1, ports=ANY_PORTS
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PROMPTMILL_POLL_INTERVAL", "0.3")
        with Stack(options) as stack:
            yield os.environ | stack.client_environment()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with the files that the pages read."""
    (review_file,) = re.findall(
        r"as `reviews.csv`:\n\n```text\n(.*?)```",
        (ROOT / "docs/tutorial.md").read_text(),
        re.DOTALL,
    )
    (tmp_path / "reviews.csv").write_text(review_file)
    (tmp_path / "products.csv").write_text(PRODUCTS)
    (tmp_path / "settings.py").symlink_to(SITE / "settings.py")
    (tmp_path / "shop").mkdir()
    for path in (SITE / "shop").iterdir():
        (tmp_path / "shop" / path.name).symlink_to(path)
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)
    return tmp_path


@pytest.mark.parametrize("page", PAGES)
def test_the_samples_of_a_page_run_in_order(
    page: str, environment: dict[str, str], folder: Path
) -> None:
    blocks = python_blocks(PAGES[page])
    if page == "docs/guides/celery.md":
        blocks.insert(0, DJANGO)
    (folder / "page.py").write_text("\n\n".join(blocks))

    done = subprocess.run(
        [sys.executable, "page.py"],
        env=environment
        | {"DJANGO_SETTINGS_MODULE": "settings", "DATABASE": str(folder / "shop.sqlite3")},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_guides_and_the_tutorial_are_run() -> None:
    names = {Path(name).stem for name in PAGES}

    assert names >= {"quick-start", "tutorial", "rows", "costs", "notebooks", "celery"}


@pytest.mark.parametrize(("page", "test"), RUN_ELSEWHERE.items())
def test_the_other_pages_are_run_by_their_tests(page: str, test: str) -> None:
    assert Path(page).name in (ROOT / test).read_text()
