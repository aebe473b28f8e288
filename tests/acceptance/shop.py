"""A business application that has workers of its own and never imports Promptmill: `celery -A shop worker`."""

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery

app = Celery("shop", broker=os.environ["CELERY_BROKER_URL"])
app.conf.update(task_ignore_result=True, task_default_queue="shop")


def keep(self: Any, *args: Any) -> Any:
    """Write down who was called with what, and hand a summary on to the next task of the chain."""
    with Path(os.environ["SHOP_BOOK"]).open("a") as book:
        book.write(json.dumps([self.name, self.request.id, args]) + "\n")
    return (
        args[0] if args and isinstance(args[0], dict) else None
    )  # what a task returns is in Flower


keeper: Any = app.task
for _name in ("shop.notify", "shop.follow", "shop.page", "shop.store"):
    keeper(keep, bind=True, name=_name)


@app.task(name="shop.next_run")
def next_run(summary: dict[str, Any]) -> None:
    """Go on with a second run, by Promptmill's public task."""
    app.send_task(
        "promptmill.submit_prompts",
        kwargs={
            "v": 1,
            "prompts": ["Say it again"],
            "model": "gemini-3.8-flash",
            "idempotency_key": f"after/{summary['run']}",
            "link": {"task": "shop.follow", "options": {"queue": "shop"}},
        },
        queue="promptmill.ingest",
    )
