"""Engine profiles that people fitted to their own measurements."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower


class EngineProfile(models.Model):
    """One profile: ``body`` is its file, and was valid when it was saved. Never changed after."""

    name = models.CharField(max_length=80)
    body = models.JSONField()
    provenance = models.TextField(blank=True)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    created_by_name = models.CharField(max_length=160)

    class Meta:
        ordering = ("name",)
        constraints = (models.UniqueConstraint(Lower("name"), name="profile_name_once"),)

    def __str__(self) -> str:
        return self.name
