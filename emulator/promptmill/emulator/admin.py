"""The emulator's own HTTP routes: health, faults, bill, jobs and clock."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .bill import compute_bill
from .errors import ApiError
from .faults import read_rules
from .jobs import Job, to_resource
from .json_response import json_response
from .json_types import JsonObject
from .service import JobService

MAX_SPEED = 1_000_000.0


class SpeedRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /admin/clock."""

    speed: float


def make_admin_routes(service: JobService) -> list[Route]:
    """Return the routes `/healthz` and `/admin/…`."""
    endpoints = _AdminEndpoints(service)
    return [
        Route("/healthz", endpoints.get_health, methods=["GET"]),
        Route("/admin/faults", endpoints.handle_faults, methods=["GET", "POST", "DELETE"]),
        Route("/admin/bill", endpoints.get_bill, methods=["GET"]),
        Route("/admin/endpoints", endpoints.add_endpoints, methods=["POST"]),
        Route("/admin/jobs", endpoints.list_jobs, methods=["GET"]),
        Route("/admin/clock", endpoints.handle_clock, methods=["GET", "POST"]),
    ]


def validate_speed(speed: float) -> float:
    """Return `speed` if a clock can run at it; raises ApiError 400 otherwise."""
    if not 0 < speed <= MAX_SPEED:
        raise ApiError(400, f"The speed must be more than 0 and at most {MAX_SPEED:.0f}.")
    return speed


class _AdminEndpoints:
    def __init__(self, service: JobService) -> None:
        self._service = service

    async def get_health(self, _request: Request) -> Response:
        return json_response({"status": "ok", "service": "promptmill emulator (not Google)"})

    async def handle_faults(self, request: Request) -> Response:
        if request.method == "POST":
            self._service.faults.add_rules(read_rules(await request.body()))
        elif request.method == "DELETE":
            self._service.faults.clear()
        return json_response(self._service.faults.list_rules())

    async def add_endpoints(self, request: Request) -> Response:
        """Add endpoints: Google's resources by their names."""
        try:
            body = msgspec.json.decode(await request.body(), type=dict[str, JsonObject])
        except msgspec.MsgspecError as error:
            raise ApiError(400, str(error)) from error
        self._service.endpoints.update(body)
        return json_response(self._service.endpoints)

    async def get_bill(self, _request: Request) -> Response:
        return json_response(
            compute_bill(self._service.registry.list_jobs(), self._service.clock.now())
        )

    async def list_jobs(self, _request: Request) -> Response:
        now = self._service.clock.now()
        jobs = [_describe_job(job, now) for job in self._service.registry.list_jobs()]
        return json_response({"jobs": jobs})

    async def handle_clock(self, request: Request) -> Response:
        clock = self._service.clock
        if request.method == "POST":
            try:
                speed_request = msgspec.json.decode(await request.body(), type=SpeedRequest)
            except msgspec.MsgspecError as error:
                raise ApiError(400, str(error)) from error
            clock.set_speed(validate_speed(speed_request.speed))
        return json_response(clock.to_state())


def _describe_job(job: Job, now: float) -> JsonObject:
    return to_resource(job, now) | {"rules": job.rules, "deleted": job.deleted}
