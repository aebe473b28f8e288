"""The emulator's own routes: health, faults, the bill, jobs with everything known of them, the clock."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .answers import to_json
from .bill import bill
from .errors import ApiError
from .faults import read_rules
from .jobs import to_resource
from .service import Service

MAX_SPEED = 1_000_000.0


class Speed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /admin/clock."""

    speed: float


def routes(service: Service) -> list[Route]:
    """`/healthz` and everything under `/admin`."""
    admin = _Admin(service)
    return [
        Route("/healthz", admin.health, methods=["GET"]),
        Route("/admin/faults", admin.faults, methods=["GET", "POST", "DELETE"]),
        Route("/admin/bill", admin.bill, methods=["GET"]),
        Route("/admin/jobs", admin.jobs, methods=["GET"]),
        Route("/admin/clock", admin.clock, methods=["GET", "POST"]),
    ]


def read_speed(speed: float) -> float:
    """A speed that a clock can run at. Raises ApiError 400."""
    if not 0 < speed <= MAX_SPEED:
        raise ApiError(400, f"The speed must be more than 0 and at most {MAX_SPEED:.0f}.")
    return speed


class _Admin:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def health(self, _request: Request) -> Response:
        return to_json({"status": "ok", "service": "promptmill emulator (not Google)"})

    async def faults(self, request: Request) -> Response:
        if request.method == "POST":
            self._service.faults.add(read_rules(await request.body()))
        elif request.method == "DELETE":
            self._service.faults.clear()
        return to_json(self._service.faults.rules())

    async def bill(self, _request: Request) -> Response:
        return to_json(bill(self._service.registry.all(), self._service.clock.now()))

    async def jobs(self, _request: Request) -> Response:
        now = self._service.clock.now()
        jobs: list[dict[str, Any]] = [
            to_resource(job, now) | {"rules": job.rules, "deleted": job.deleted} for job in self._service.registry.all()
        ]
        return to_json({"jobs": jobs})

    async def clock(self, request: Request) -> Response:
        clock = self._service.clock
        if request.method == "POST":
            try:
                asked = msgspec.json.decode(await request.body(), type=Speed)
            except msgspec.MsgspecError as error:
                raise ApiError(400, str(error)) from error
            clock.set_speed(read_speed(asked.speed))
        return to_json(clock.state())
