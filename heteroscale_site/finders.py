"""Static files that lie inside installed packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.core.files.storage import FileSystemStorage, Storage

PLOTLY_NAME = "plotly/plotly.min.js"


class PlotlyFinder(BaseFinder):
    """Serves Plotly's JavaScript from the Python package, so both are always the same version."""

    def __init__(self, app_names: object = None) -> None:
        """Look up where the package lies without importing it, which would take half a second."""
        del app_names  # this finder looks into no application
        found = importlib.util.find_spec("plotly")
        locations = list(found.submodule_search_locations or []) if found else []
        self.directory = Path(locations[0]) / "package_data" if locations else None

    def check(self, **kwargs: Any) -> list[Any]:  # noqa: ANN401, ARG002 - Django's signature
        """Report nothing: a missing package already stops the installation."""
        return []

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:  # noqa: ANN401, ARG002, FBT001, FBT002
        """Return the file for its one name, or nothing."""
        if path != PLOTLY_NAME or self.directory is None:
            return []
        file = str(self.directory / "plotly.min.js")
        return [file] if find_all else file

    def list(self, ignore_patterns: Iterable[str] | None) -> Iterator[tuple[str, Storage]]:  # noqa: ARG002
        """Name the one file for ``collectstatic``."""
        if self.directory is not None:
            storage = FileSystemStorage(location=self.directory)
            storage.prefix = "plotly"  # type: ignore[attr-defined]
            yield "plotly.min.js", storage
