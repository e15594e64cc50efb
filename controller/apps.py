"""The controller application."""

from django.apps import AppConfig


class ControllerConfig(AppConfig):
    """What the controller thinks and does."""

    name = "controller"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Listen for sign-ins."""
        from controller.services import sessions, sign_ins  # noqa: PLC0415 - models exist only now

        sign_ins.listen()
        sessions.listen()
