"""Uploads: media only, multipart with metadata, or resumable in chunks."""

from collections.abc import AsyncIterator, Mapping

from ..json_types import JsonObject
from . import checksums, conditions, ranges, resources
from .checksums import DeclaredChecksums
from .errors import RequestRefused
from .index import StoredObject
from .multipart import MultipartBody
from .ranges import ContentRange
from .request import GcsRequest, decode_json_object
from .response import GcsResponse, json_response
from .sessions import UploadSession, UploadSessions
from .store import ObjectStore

CANCELLED_STATUS = 499
"""Google's response to a cancelled upload."""


class Uploads:
    """Uploads to one store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._sessions = UploadSessions()

    async def begin_upload(self, request: GcsRequest) -> GcsResponse:
        """POST: upload an object or start a resumable upload.

        Raises RequestRefused 400, 404 or 412.
        """
        match request.query.get("uploadType"):
            case "multipart":
                return await self._upload_multipart(request)
            case "media":
                return await self._upload_media(request)
            case "resumable":
                return await self._start_session(request)
        raise RequestRefused(400, f"Invalid upload type: {request.query.get('uploadType')!r}.")

    async def continue_upload(self, request: GcsRequest) -> GcsResponse:
        """PUT: upload a chunk, or ask for the progress of a resumable upload.

        Raises RequestRefused 400, 404, 410, 412 or 503.
        """
        session = self._sessions.require_session(request.query.get("upload_id", ""))
        if session.stored is None:
            await self._receive_chunk(session, request)
        if session.stored is None:
            return GcsResponse(status=308, headers=ranges.range_header(session.draft.size))
        return _object_response(session.stored, request)

    async def cancel_upload(self, request: GcsRequest) -> GcsResponse:
        """DELETE: cancel a resumable upload. Raises RequestRefused 410."""
        session = self._sessions.require_session(request.query.get("upload_id", ""))
        self._sessions.remove_session(session.id)
        return GcsResponse(status=CANCELLED_STATUS)

    async def _upload_media(self, request: GcsRequest) -> GcsResponse:
        content_type = request.get_header(b"content-type")
        object_metadata = {"contentType": content_type} if content_type else {}
        name = _object_name(request, {})
        return await self._store_object(request, name, object_metadata, {}, request.body)

    async def _upload_multipart(self, request: GcsRequest) -> GcsResponse:
        parts = MultipartBody(request.body, request.get_header(b"content-type") or "")
        posted_metadata = decode_json_object(await parts.read_metadata())
        object_metadata = _object_metadata(posted_metadata, parts.content_type)
        return await self._store_object(
            request,
            _object_name(request, posted_metadata),
            object_metadata,
            posted_metadata,
            parts.read_content(),
        )

    async def _store_object(
        self,
        request: GcsRequest,
        name: str,
        object_metadata: JsonObject,
        posted_metadata: Mapping[str, object],
        content: AsyncIterator[bytes],
    ) -> GcsResponse:
        preconditions = conditions.from_query(request.query)
        self._store.require_writable(request.bucket, name, preconditions)
        declared = _declared_checksums(request, posted_metadata)
        draft = self._store.create_draft()
        try:
            with draft.open_for_append():
                async for chunk in content:
                    draft.append_chunk(chunk)
            stored = self._store.publish_draft(
                draft, request.bucket, name, object_metadata, preconditions, declared
            )
            return _object_response(stored, request)
        except BaseException:
            draft.discard()
            raise

    async def _start_session(self, request: GcsRequest) -> GcsResponse:
        posted_metadata = await request.read_json()
        name = _object_name(request, posted_metadata)
        preconditions = conditions.from_query(request.query)
        self._store.require_writable(request.bucket, name, preconditions)
        content_type = request.get_header(b"x-upload-content-type")
        object_metadata = _object_metadata(posted_metadata, content_type)
        declared = _declared_checksums(request, posted_metadata)
        draft = self._store.create_draft()
        session = UploadSession(
            request.bucket, name, object_metadata, preconditions, declared, draft
        )
        self._sessions.add_session(session)
        return _session_response(session, request)

    async def _receive_chunk(self, session: UploadSession, request: GcsRequest) -> None:
        """Append the bytes of a request; publish the object when it is complete."""
        content_range = ranges.parse_content_range(request.get_header(b"content-range"))
        await _append_new_bytes(session, content_range, request)
        is_complete = (
            content_range is ranges.WHOLE_OBJECT or session.draft.size == content_range.total
        )
        if is_complete and session.stored is None:
            self._publish_session(
                session, session.declared | checksums.from_headers(request.headers)
            )

    def _publish_session(self, session: UploadSession, declared: DeclaredChecksums) -> None:
        try:
            session.stored = self._store.publish_draft(
                session.draft,
                session.bucket,
                session.name,
                session.metadata,
                session.conditions,
                declared,
            )
        except RequestRefused:
            self._sessions.remove_session(session.id)
            raise


# A later request for the same upload ends this one: the client abandoned it.
async def _append_new_bytes(
    session: UploadSession, content_range: ContentRange, request: GcsRequest
) -> None:
    skip, remaining = content_range.skip_and_take(session.draft.size)
    request_number = session.request_count = session.request_count + 1
    with session.draft.open_for_append():
        async for chunk in request.body:
            if session.request_count != request_number or session.stored:
                raise RequestRefused(409, "Another request continues this upload.")
            new_bytes = chunk[skip:] if skip else chunk
            skip = max(0, skip - len(chunk))
            new_bytes = new_bytes if remaining is None else new_bytes[:remaining]
            remaining = remaining if remaining is None else remaining - len(new_bytes)
            session.draft.append_chunk(new_bytes)


def _object_name(request: GcsRequest, posted_metadata: Mapping[str, object]) -> str:
    name = request.query.get("name") or posted_metadata.get("name")
    if not isinstance(name, str) or not name:
        raise RequestRefused(400, "Required parameter: name")
    return name


def _declared_checksums(
    request: GcsRequest, posted_metadata: Mapping[str, object]
) -> DeclaredChecksums:
    return checksums.from_metadata(posted_metadata) | checksums.from_headers(request.headers)


def _object_metadata(posted_metadata: Mapping[str, object], content_type: str | None) -> JsonObject:
    names = [name for name in resources.WRITABLE_FIELDS if posted_metadata.get(name) is not None]
    object_metadata = {name: posted_metadata[name] for name in names}
    return {"contentType": content_type} | object_metadata if content_type else object_metadata


def _session_response(session: UploadSession, request: GcsRequest) -> GcsResponse:
    objects_url = f"{request.base_url}/upload/storage/v1/b/{request.bucket}/o"
    session_url = f"{objects_url}?uploadType=resumable&upload_id={session.id}"
    return GcsResponse(headers={"Location": session_url, "X-GUploader-UploadID": session.id})


def _object_response(stored: StoredObject, request: GcsRequest) -> GcsResponse:
    checksum_header = f"crc32c={stored.crc32c},md5={stored.md5}"
    headers = {"X-Goog-Hash": checksum_header, "ETag": resources.object_etag(stored)}
    return json_response(resources.object_resource(stored, request.base_url), headers=headers)
