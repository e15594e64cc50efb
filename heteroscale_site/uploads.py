"""Uploads end at a limit, before they fill memory or disk."""

from __future__ import annotations

from typing import Any, Final

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

LARGEST_UPLOAD: Final = 16 * 2**20


class QuotaHandler(FileUploadHandler):
    """Drops a file that is too large, and notes its field in ``request.files_too_large``."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        """Begin to count."""
        super().new_file(*args, **kwargs)
        self.seen = 0

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the chunk on, until there were too many."""
        del start
        self.seen += len(raw_data)
        if self.seen > LARGEST_UPLOAD:
            refused: frozenset[str] = getattr(self.request, "files_too_large", frozenset())
            self.request.files_too_large = refused | {self.field_name}  # type: ignore[union-attr]
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers that keep it."""
        del file_size
