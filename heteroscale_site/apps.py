"""The project as an application: its commands and its checks."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    """Settings, start-up and processes."""

    name = "heteroscale_site"

    def ready(self) -> None:
        """Register the checks."""
        from heteroscale_site import checks  # noqa: F401, PLC0415 - registers as it is read
