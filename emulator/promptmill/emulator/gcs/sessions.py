"""Resumable uploads under way. They end with the process: a caller is told so and starts anew."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from .checksums import DeclaredChecksums
from .conditions import Conditions
from .errors import RequestRefused
from .index import StoredObject
from .store import Draft

MAX_SESSIONS = 1000
"""Uploads that are remembered, finished ones too; the oldest are given up for new ones, so that memory stays flat."""


@dataclass
class UploadSession:
    """One upload: what it is to become, and how far it is. `stored` is what it became."""

    bucket: str
    name: str
    metadata: dict[str, Any]
    conditions: Conditions
    declared: DeclaredChecksums
    draft: Draft
    id: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    stored: StoredObject | None = None
    request_count: int = 0

    def discard_draft(self) -> None:
        """Remove what has arrived, unless it became an object."""
        if self.stored is None:
            self.draft.discard()


class UploadSessions:
    """The uploads by their ids."""

    def __init__(self) -> None:
        self._sessions: dict[str, UploadSession] = {}

    def add_session(self, session: UploadSession) -> None:
        """Remember an upload."""
        self._sessions[session.id] = session
        if len(self._sessions) > MAX_SESSIONS:
            self.remove_session(next(iter(self._sessions)))

    def require_session(self, session_id: str) -> UploadSession:
        """The upload of that id. Raises RequestRefused 410 if it is cancelled, refused, or of an earlier process."""
        if session_id not in self._sessions:
            raise RequestRefused(410, "The upload session is gone; start a new one.")
        return self._sessions[session_id]

    def remove_session(self, session_id: str) -> None:
        """Forget an upload, and what has arrived of it."""
        if session := self._sessions.pop(session_id, None):
            session.discard_draft()
