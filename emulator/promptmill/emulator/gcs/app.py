"""The emulated calls of the JSON API.

This is plain ASGI: a router would take longer than most calls.
"""

import contextlib
import traceback
from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.types import Receive, Scope, Send

from ..json_types import JsonObject
from . import conditions, listing, resources
from .downloads import MediaResponse, download_object
from .errors import RequestRefused
from .request import ClientDisconnected, GcsRequest, RequestBody
from .response import GcsResponse, json_response
from .store import ObjectStore
from .uploads import Uploads

_UNSUPPORTED_LIST_PARAMETERS = (
    "versions",
    "matchGlob",
    "softDeleted",
    "includeFoldersAsPrefixes",
    "includeTrailingDelimiter",
)
"""Parameters of a list call that change its result and are not emulated."""


class _Sendable(Protocol):
    async def send(self, send: Send) -> None: ...


class StorageApp:
    """The application over one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        uploads = Uploads(store)
        self._handlers: dict[tuple[str, str], Callable[[GcsRequest], Awaitable[_Sendable]]] = {
            ("GET", "buckets"): self._list_buckets,
            ("POST", "buckets"): self._create_bucket,
            ("GET", "bucket"): self._get_bucket,
            ("DELETE", "bucket"): self._delete_bucket,
            ("GET", "objects"): self._list_objects,
            ("GET", "object"): self._get_object,
            ("GET", "download object"): self._get_object,
            ("GET", "xml object"): self._download_object,
            ("HEAD", "xml object"): self._head_object,
            ("DELETE", "object"): self._delete_object,
            ("POST", "upload objects"): uploads.begin_upload,
            ("PUT", "upload objects"): uploads.continue_upload,
            ("DELETE", "upload objects"): uploads.cancel_upload,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        with contextlib.suppress(ClientDisconnected):
            response = await self._handle_request(scope, RequestBody(receive))
            await response.send(send)

    async def _handle_request(self, scope: Scope, body: RequestBody) -> _Sendable:
        try:
            request = GcsRequest(scope, body)
            return await self._find_handler(request)(request)
        except RequestRefused as refusal:
            return await _refusal_response(refusal, body)
        except ClientDisconnected:
            raise
        except Exception as error:  # noqa: BLE001 - serve the next call
            traceback.print_exc()
            return await _refusal_response(
                RequestRefused(500, f"Internal error of the emulator: {error!r}"), body
            )

    def _find_handler(self, request: GcsRequest) -> Callable[[GcsRequest], Awaitable[_Sendable]]:
        handler = self._handlers.get((request.method, request.target))
        if handler is None:
            raise RequestRefused(501, f"{request.method} of {request.target} is not emulated.")
        return handler

    async def _list_buckets(self, request: GcsRequest) -> GcsResponse:
        buckets = self._store.index.list_buckets()
        items = [resources.bucket_resource(bucket, request.base_url) for bucket in buckets]
        return json_response({"kind": "storage#buckets", "items": items})

    async def _create_bucket(self, request: GcsRequest) -> GcsResponse:
        fields = await request.read_json()
        name = fields.get("name")
        if not isinstance(name, str) or not name:
            raise RequestRefused(400, "Required parameter: name")
        self._store.add_bucket(name, *resources.read_bucket_settings(fields))
        bucket = self._store.require_bucket(name)
        return json_response(resources.bucket_resource(bucket, request.base_url))

    async def _get_bucket(self, request: GcsRequest) -> GcsResponse:
        bucket = self._store.require_bucket(request.bucket)
        return json_response(resources.bucket_resource(bucket, request.base_url))

    async def _delete_bucket(self, request: GcsRequest) -> GcsResponse:
        self._store.remove_bucket(request.bucket)
        return GcsResponse(status=204)

    async def _list_objects(self, request: GcsRequest) -> GcsResponse:
        _refuse_unsupported_listing(request)
        self._store.require_bucket(request.bucket)
        page = listing.list_page(self._store.index, request.bucket, request.query)
        result: JsonObject = {"kind": "storage#objects"}
        if page.objects:
            result["items"] = [
                resources.object_resource(stored, request.base_url) for stored in page.objects
            ]
        if page.prefixes:
            result["prefixes"] = page.prefixes
        if page.next_name:
            result["nextPageToken"] = page.next_page_token
        return json_response(result)

    async def _get_object(self, request: GcsRequest) -> _Sendable:
        if request.query.get("alt") == "media":
            return download_object(self._store, request)
        preconditions = conditions.from_query(request.query)
        stored = self._store.require_object(request.bucket, request.name, preconditions)
        return json_response(resources.object_resource(stored, request.base_url))

    async def _download_object(self, request: GcsRequest) -> MediaResponse:
        return download_object(self._store, request)

    async def _head_object(self, request: GcsRequest) -> MediaResponse:
        return download_object(self._store, request, headers_only=True)

    async def _delete_object(self, request: GcsRequest) -> GcsResponse:
        self._store.delete_object(
            request.bucket, request.name, conditions.from_query(request.query)
        )
        return GcsResponse(status=204)


async def _refusal_response(refusal: RequestRefused, body: RequestBody) -> GcsResponse:
    """Read the whole body first: a client that is sending ignores responses."""
    async for _ in body:
        pass
    if refusal.code == 304:
        return GcsResponse(status=304)
    return json_response(refusal.response_body(), refusal.code, refusal.headers)


def _refuse_unsupported_listing(request: GcsRequest) -> None:
    for name in _UNSUPPORTED_LIST_PARAMETERS:
        if name in request.query:
            raise RequestRefused(501, f"Listing by {name} is not emulated.")
