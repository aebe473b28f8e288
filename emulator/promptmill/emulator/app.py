"""The HTTP routes: Google's REST paths on v1 and v1beta1, and the emulator's own under /admin."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import admin
from .answers import to_json
from .errors import ApiError
from .paging import Query
from .service import Service
from .specs import Spec, read_spec

_PARENT = "/{version}/projects/{project}/locations/{location}"
_JOBS = _PARENT + "/batchPredictionJobs"
_VERSIONS = frozenset({"v1", "v1beta1"})
Effect = Callable[[], dict[str, Any]]


def make_app(service: Service) -> Starlette:
    """The application. Serve it with `server.DroppableProtocol` so that answers can be lost."""
    calls = _Calls(service)
    routes = [
        Route(_JOBS, calls.create, methods=["POST"]),
        Route(_JOBS, calls.list, methods=["GET"]),
        Route(_JOBS + "/{id}:cancel", calls.cancel, methods=["POST"]),
        Route(_JOBS + "/{id}", calls.get, methods=["GET"]),
        Route(_JOBS + "/{id}", calls.delete, methods=["DELETE"]),
        *admin.routes(service),
    ]
    return Starlette(
        routes=routes, exception_handlers={ApiError: _refused, HTTPException: _no_route, Exception: _crashed}
    )


class _Calls:
    """The five calls of the batch job service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, request: Request) -> Response:
        parent, body = _parent(request), await request.body()
        return await self._call(request, "create", _spec_of(body), lambda: self._service.create(parent, body))

    async def list(self, request: Request) -> Response:
        parent, query = _parent(request), _query(request)
        return await self._call(request, "list", None, lambda: self._service.list(parent, query))

    async def get(self, request: Request) -> Response:
        return await self._on_job(request, "get", self._service.get)

    async def cancel(self, request: Request) -> Response:
        return await self._on_job(request, "cancel", self._service.cancel)

    async def delete(self, request: Request) -> Response:
        return await self._on_job(request, "delete", self._service.delete)

    async def _on_job(self, request: Request, call: str, effect: Callable[[str], dict[str, Any]]) -> Response:
        name = f"{_parent(request)}/batchPredictionJobs/{request.path_params['id']}"
        job = self._service.find(name)
        return await self._call(request, call, job.spec if job else None, lambda: effect(name))

    async def _call(self, request: Request, call: str, spec: Spec | None, effect: Effect) -> Response:
        """Do it, with the faults that befall it: before, after, or instead."""
        rules = self._service.faults.take_call(call, spec)
        for rule in rules:
            if rule.fault == "delay":
                await asyncio.sleep(rule.seconds or 0)
        fault = next((rule for rule in rules if rule.fault != "delay"), None)
        if fault is not None and fault.fault == "status":
            raise ApiError(fault.status or 503, fault.message or "Emulated fault before the effect.")
        answer = effect()
        if fault is None:
            return to_json(answer)
        if fault.status is not None:
            raise ApiError(fault.status, fault.message or "Emulated fault after the effect.")
        request.state.transport.abort()
        return Response()


def _parent(request: Request) -> str:
    if request.path_params["version"] not in _VERSIONS:
        raise HTTPException(404)
    return "projects/{project}/locations/{location}".format(**request.path_params)


def _query(request: Request) -> Query:
    asked = request.query_params
    size = asked.get("pageSize", "0")
    if not size.lstrip("-").isdecimal():
        raise ApiError(400, f"Invalid value at 'page_size' ({size!r}).")
    return Query(asked.get("filter", ""), int(size), asked.get("pageToken", ""), asked.get("readMask", ""))


def _spec_of(body: bytes) -> Spec | None:
    """For matching faults only: what is wrong with the body is said by the call itself."""
    try:
        return read_spec(body)
    except ApiError:
        return None


async def _refused(_request: Request, error: Exception) -> Response:
    refusal = error if isinstance(error, ApiError) else ApiError(500, str(error))
    return to_json(refusal.body(), refusal.code)


async def _no_route(request: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 404
    return await _refused(request, ApiError(code, f"No method for {request.method} {request.url.path}."))


async def _crashed(request: Request, error: Exception) -> Response:
    return await _refused(request, ApiError(500, f"Internal error of the emulator: {error!r}"))
