"""The HTTP application: Google's REST paths on v1 and v1beta1, and `/admin`."""

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import admin
from .errors import ApiError
from .faults import FaultRule
from .hosts import require_host
from .job_spec import JobSpec, read_spec
from .json_response import json_response
from .json_types import JsonObject
from .paging import ListQuery
from .service import JobService

_PARENT_PATH = "/{version}/projects/{project}/locations/{location}"
_JOBS_PATH = _PARENT_PATH + "/batchPredictionJobs"
_VERSIONS = frozenset({"v1", "v1beta1"})
Operation = Callable[[], JsonObject]


def make_app(service: JobService) -> Starlette:
    """Return the application.

    Serve it with `server.DroppableProtocol`, so that faults can drop responses.
    """
    return Starlette(
        routes=[*_make_job_routes(service), *admin.make_admin_routes(service)],
        exception_handlers={
            ApiError: _handle_api_error,
            HTTPException: _handle_http_error,
            Exception: _handle_crash,
        },
    )


def _make_job_routes(service: JobService) -> list[Route]:
    endpoints = _JobEndpoints(service)
    return [
        Route(_JOBS_PATH, endpoints.create_job, methods=["POST"]),
        Route(_JOBS_PATH, endpoints.list_jobs, methods=["GET"]),
        Route(_JOBS_PATH + "/{id}:cancel", endpoints.cancel_job, methods=["POST"]),
        Route(_JOBS_PATH + "/{id}", endpoints.get_job, methods=["GET"]),
        Route(_JOBS_PATH + "/{id}", endpoints.delete_job, methods=["DELETE"]),
        Route(_PARENT_PATH + "/endpoints/{id}", endpoints.get_endpoint, methods=["GET"]),
    ]


class _JobEndpoints:
    """The five methods of the batch job service, and the one for endpoints."""

    def __init__(self, service: JobService) -> None:
        self._service = service

    async def create_job(self, request: Request) -> Response:
        parent, body = _read_parent(request), await request.body()
        require_host(request.headers.get("host", ""), request.path_params["location"])
        return await self._call_with_faults(
            request, "create", _try_read_spec(body), lambda: self._service.create_job(parent, body)
        )

    async def list_jobs(self, request: Request) -> Response:
        parent, query = _read_parent(request), _read_query(request)
        return await self._call_with_faults(
            request, "list", None, lambda: self._service.list_jobs(parent, query)
        )

    async def get_job(self, request: Request) -> Response:
        return await self._call_on_job(request, "get", self._service.get_job)

    async def cancel_job(self, request: Request) -> Response:
        return await self._call_on_job(request, "cancel", self._service.cancel_job)

    async def delete_job(self, request: Request) -> Response:
        return await self._call_on_job(request, "delete", self._service.delete_job)

    async def get_endpoint(self, request: Request) -> Response:
        name = f"{_read_parent(request)}/endpoints/{request.path_params['id']}"
        return await self._call_with_faults(
            request, "get-endpoint", None, lambda: self._service.get_endpoint(name)
        )

    async def _call_on_job(
        self, request: Request, method_name: str, operation: Callable[[str], JsonObject]
    ) -> Response:
        name = f"{_read_parent(request)}/batchPredictionJobs/{request.path_params['id']}"
        job = self._service.find_job(name)
        spec = job.spec if job else None
        return await self._call_with_faults(request, method_name, spec, lambda: operation(name))

    async def _call_with_faults(
        self, request: Request, method_name: str, spec: JobSpec | None, operation: Operation
    ) -> Response:
        """Run the operation with the injected faults of this call."""
        rules = self._service.faults.take_call_rules(method_name, spec)
        for rule in rules:
            if rule.fault == "delay":
                await asyncio.sleep(rule.seconds or 0)
        fault = next((rule for rule in rules if rule.fault != "delay"), None)
        if fault is None:
            return json_response(operation())
        return _inject_fault(fault, operation, request)


def _inject_fault(fault: FaultRule, operation: Operation, request: Request) -> Response:
    if fault.fault == "status":
        raise ApiError(fault.status or 503, fault.message or "Emulated fault before the effect.")
    operation()
    if fault.status is not None:
        raise ApiError(fault.status, fault.message or "Emulated fault after the effect.")
    request.state.transport.abort()
    return Response()


def _read_parent(request: Request) -> str:
    if request.path_params["version"] not in _VERSIONS:
        raise HTTPException(404)
    return "projects/{project}/locations/{location}".format(**request.path_params)


def _read_query(request: Request) -> ListQuery:
    parameters = request.query_params
    page_size = parameters.get("pageSize", "0")
    if not page_size.lstrip("-").isdecimal():
        raise ApiError(400, f"Invalid value at 'page_size' ({page_size!r}).")
    return ListQuery(
        parameters.get("filter", ""),
        int(page_size),
        parameters.get("pageToken", ""),
        parameters.get("readMask", ""),
    )


# Faults match a spec. If it is invalid, the call itself rejects it later.
def _try_read_spec(body: bytes) -> JobSpec | None:
    try:
        return read_spec(body)
    except ApiError:
        return None


async def _handle_api_error(_request: Request, error: Exception) -> Response:
    api_error = error if isinstance(error, ApiError) else ApiError(500, str(error))
    return json_response(api_error.response_body(), api_error.code)


async def _handle_http_error(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 404
    return await _handle_api_error(
        request, ApiError(code, f"No method for {request.method} {request.url.path}.")
    )


async def _handle_crash(request: Request, error: Exception) -> Response:
    return await _handle_api_error(
        request, ApiError(500, f"Internal error of the emulator: {error!r}")
    )
