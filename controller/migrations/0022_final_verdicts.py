"""An approval is final once given: the database refuses change, and removal but with its proposal."""

from django.db import migrations

FORWARD = """
CREATE TRIGGER verdict_append_only BEFORE UPDATE ON controller_verdict
    FOR EACH ROW EXECUTE FUNCTION heteroscale_append_only();
CREATE TRIGGER verdict_no_truncate BEFORE TRUNCATE ON controller_verdict
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_append_only();

CREATE FUNCTION heteroscale_only_with_its_proposal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM controller_proposal WHERE id = OLD.proposal_id) THEN
        RAISE EXCEPTION 'verdict % goes only with its proposal: % refused', OLD.id, TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER verdict_with_its_proposal AFTER DELETE ON controller_verdict
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION heteroscale_only_with_its_proposal();
"""
BACKWARD = """
DROP TRIGGER verdict_append_only ON controller_verdict;
DROP TRIGGER verdict_no_truncate ON controller_verdict;
DROP TRIGGER verdict_with_its_proposal ON controller_verdict;
DROP FUNCTION heteroscale_only_with_its_proposal();
"""


class Migration(migrations.Migration):
    """Add the triggers."""

    dependencies = (("controller", "0021_one_open_outside_change"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
