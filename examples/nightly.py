"""Submit a run every night, with `celery --app nightly beat` and `celery --app nightly worker`."""

import os
from datetime import UTC, datetime

from celery import Celery
from celery.schedules import crontab

from promptmill.producers import Promptmill

app = Celery("nightly", broker=os.environ["CELERY_BROKER_URL"])
app.conf.task_default_queue = "nightly"
app.conf.beat_schedule = {
    "nightly": {"task": "nightly.submit", "schedule": crontab(hour=2, minute=0)}
}
# celery-redbeat keeps the schedule in Redis, so it can change without a restart:
# celery --app nightly beat --scheduler redbeat.RedBeatScheduler
app.conf.redbeat_key_prefix = "nightly:"


@app.task(name="nightly.submit")
def submit(day: str = "") -> None:
    """Submit the run of a day. A second call for the day returns the same run."""
    day = day or datetime.now(UTC).date().isoformat()
    Promptmill().submit(
        (
            {"key": key, "prompt": f"Summarize in one sentence: {text}"}
            for key, text in tickets(day)
        ),
        model="gemini-3.8-flash",
        name=f"nightly-{day}",
        idempotency_key=f"nightly/{day}",
        link=done.s(day).set(queue="nightly"),
        link_error=done.s(day).set(queue="nightly"),
    )


@app.task(name="nightly.done")
def done(summary: dict[str, object], day: str) -> None:
    """Handle the end of the run. It may be called twice, so keep it idempotent."""
    print(f"{day}: {summary['state']}, {summary['succeeded']} of {summary['requests']}", flush=True)


def tickets(day: str) -> list[tuple[str, str]]:
    """Replace this with a query of your database."""
    return [(f"{day}-1", "The parcel has not come."), (f"{day}-2", "The parcel has come twice.")]
