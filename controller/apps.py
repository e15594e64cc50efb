"""The controller application."""

from django.apps import AppConfig


class ControllerConfig(AppConfig):
    """What the controller thinks and does."""

    name = "controller"
    default_auto_field = "django.db.models.BigAutoField"
