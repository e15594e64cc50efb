"""The inventory application."""

from django.apps import AppConfig


class InventoryConfig(AppConfig):
    """What exists and what is configured."""

    name = "inventory"
    default_auto_field = "django.db.models.BigAutoField"
    verbose_name = "Inventory"
