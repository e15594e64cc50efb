"""Audit events are written once: the database refuses change and removal."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION heteroscale_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON controller_auditevent
    FOR EACH ROW EXECUTE FUNCTION heteroscale_append_only();
"""
BACKWARD = """
DROP TRIGGER audit_append_only ON controller_auditevent;
DROP FUNCTION heteroscale_append_only();
"""


class Migration(migrations.Migration):
    """Add the trigger."""

    dependencies = (("controller", "0001_initial"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
