"""Uploads end at a limit, before they fill memory or disk."""

from __future__ import annotations

from typing import Any, Final

from django.core.files.uploadhandler import FileUploadHandler, SkipFile

MIB: Final = 2**20
LARGEST_UPLOAD: Final = 16 * MIB
LARGE: Final = ("/imports/", "/api/v1/imports/")
"""Where whole fleets are sent: a list of two thousand nodes has 34 MiB."""

LARGEST_IMPORT: Final = 64 * MIB
ALL_OF_AN_IMPORT: Final = 128 * MIB


class QuotaHandler(FileUploadHandler):
    """Drops a file that is too large, and notes its field in ``request.files_too_large``."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        """Begin to count."""
        super().new_file(*args, **kwargs)
        self.seen = 0
        is_large = self._may_be_large()
        self.most = LARGEST_IMPORT if is_large else LARGEST_UPLOAD
        self.most_in_all = ALL_OF_AN_IMPORT if is_large else LARGEST_UPLOAD

    def _may_be_large(self) -> bool:
        """Return whether this request may bring a whole fleet: a stranger's never may."""
        request = self.request
        return (
            request is not None
            and request.path_info.startswith(LARGE)
            and request.user.is_authenticated
        )

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        """Pass the chunk on, until there were too many."""
        del start
        request: Any = self.request
        self.seen += len(raw_data)
        request.bytes_uploaded = getattr(request, "bytes_uploaded", 0) + len(raw_data)
        if self.seen > self.most or request.bytes_uploaded > self.most_in_all:
            refused: frozenset[str] = getattr(request, "files_too_large", frozenset())
            request.files_too_large = refused | {self.field_name}
            raise SkipFile
        return raw_data

    def file_complete(self, file_size: int) -> None:
        """Leave the file to the handlers that keep it."""
        del file_size
