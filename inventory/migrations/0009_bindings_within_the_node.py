"""No instance is promised GPUs that its node does not have (S19)."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION heteroscale_binding_within_node() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    there integer;
BEGIN
    SELECT LEAST(gpus, gpus_allocatable) INTO there FROM inventory_node WHERE id = NEW.node_id;
    IF there IS NULL OR upper(NEW.gpus) > there THEN
        RAISE EXCEPTION 'GPUs % are beyond the % the node has', NEW.gpus, COALESCE(there, 0)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'binding_within_node';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER binding_within_node BEFORE INSERT OR UPDATE OF node_id, gpus ON inventory_binding
    FOR EACH ROW EXECUTE FUNCTION heteroscale_binding_within_node();
"""
BACKWARD = """
DROP TRIGGER binding_within_node ON inventory_binding;
DROP FUNCTION heteroscale_binding_within_node();
"""


class Migration(migrations.Migration):
    """Add the trigger."""

    dependencies = (("inventory", "0008_placement"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
