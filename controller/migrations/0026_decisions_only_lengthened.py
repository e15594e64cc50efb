"""The newest decision of a service changes only as an equal tick lengthens it."""

from django.db import migrations

FORWARD = """
-- The owner of the tables may do otherwise, as a command that mends something does.
CREATE FUNCTION heteroscale_only_longer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.count <> OLD.count + 1 OR NEW.last_at <= OLD.last_at) AND NOT pg_has_role(
        current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER'
    ) THEN
        RAISE EXCEPTION 'decision % is only lengthened, by one and to later: % refused',
            OLD.id, TG_OP USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decision_only_longer BEFORE UPDATE ON controller_decision
    FOR EACH ROW EXECUTE FUNCTION heteroscale_only_longer();
"""
BACKWARD = """
DROP TRIGGER decision_only_longer ON controller_decision;
DROP FUNCTION heteroscale_only_longer();
"""


class Migration(migrations.Migration):
    """Add the trigger."""

    dependencies = (("controller", "0025_moves_basis"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
