"""Decisions and audit events are final once written; the database queues them for their seals."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION heteroscale_queue_audit() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO controller_toseal (kind, object_id)
        SELECT 'audit', id::text FROM fresh ORDER BY id;
    RETURN NULL;
END $$;
CREATE TRIGGER audit_to_seal AFTER INSERT ON controller_auditevent
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_queue_audit();

CREATE FUNCTION heteroscale_queue_decision() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO controller_toseal (kind, object_id)
        SELECT 'decision', format('%s/%s', closed.service_id, closed.id)
        FROM fresh JOIN controller_decision AS closed
            ON closed.service_id = fresh.service_id AND closed.seq = fresh.seq - 1
        ORDER BY closed.id;
    RETURN NULL;
END $$;
CREATE TRIGGER decision_to_seal AFTER INSERT ON controller_decision
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_queue_decision();

CREATE FUNCTION heteroscale_queue_removal() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO controller_toseal (kind, object_id) VALUES ('removal', NEW.id::text);
    RETURN NULL;
END $$;
CREATE TRIGGER removal_to_seal AFTER INSERT ON controller_removal
    FOR EACH ROW EXECUTE FUNCTION heteroscale_queue_removal();

CREATE FUNCTION heteroscale_only_the_newest() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM controller_decision AS later
        WHERE later.service_id = OLD.service_id AND later.seq > OLD.seq
    ) THEN
        RAISE EXCEPTION 'decision % is followed by another: % refused', OLD.id, TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER decision_closed BEFORE UPDATE ON controller_decision
    FOR EACH ROW EXECUTE FUNCTION heteroscale_only_the_newest();
CREATE TRIGGER decision_first_of_them BEFORE UPDATE OF id, service_id, seq, first_at, slot, mode,
        policy_revision, driver, current_prefill, current_decode, raw_prefill, raw_decode,
        final_prefill, final_decode, then_prefill, then_decode, move, gate, code
    ON controller_decision
    FOR EACH ROW EXECUTE FUNCTION heteroscale_append_only();

CREATE FUNCTION heteroscale_note_removal() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO controller_removal AS noted
            (service_id, service, rows, last_id, at, role, transaction)
        SELECT gone.service_id, coalesce(max(service.slug), ''), count(*), max(gone.id),
            statement_timestamp(), session_user, pg_current_xact_id()::text
        FROM gone LEFT JOIN inventory_service AS service ON service.id = gone.service_id
        GROUP BY gone.service_id
        ON CONFLICT (service_id, transaction) DO UPDATE
            SET rows = noted.rows + excluded.rows,
                last_id = greatest(noted.last_id, excluded.last_id);
    RETURN NULL;
END $$;
CREATE TRIGGER decision_removed AFTER DELETE ON controller_decision
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_note_removal();

-- At the end of the transaction the service must be gone too. Only the owner of the tables may
-- say otherwise, to make a simulated history anew.
CREATE FUNCTION heteroscale_only_with_its_service() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM inventory_service WHERE id = OLD.service_id) AND NOT (
        coalesce(current_setting('heteroscale.removing', true), '') = 'on'
        AND pg_has_role(
            current_user, (SELECT relowner FROM pg_class WHERE oid = TG_RELID), 'MEMBER'
        )
    ) THEN
        RAISE EXCEPTION 'decision % goes only with its service: % refused', OLD.id, TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER decision_with_its_service AFTER DELETE ON controller_decision
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION heteroscale_only_with_its_service();

CREATE FUNCTION heteroscale_only_in_its_transaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.transaction <> pg_current_xact_id()::text OR OLD.service_id <> NEW.service_id THEN
        RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER removal_once BEFORE UPDATE ON controller_removal
    FOR EACH ROW EXECUTE FUNCTION heteroscale_only_in_its_transaction();
CREATE TRIGGER removal_stays BEFORE DELETE ON controller_removal
    FOR EACH ROW EXECUTE FUNCTION heteroscale_append_only();
CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE ON controller_seal
    FOR EACH ROW EXECUTE FUNCTION heteroscale_append_only();

CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON controller_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_append_only();
CREATE TRIGGER decision_no_truncate BEFORE TRUNCATE ON controller_decision
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_append_only();
CREATE TRIGGER seal_no_truncate BEFORE TRUNCATE ON controller_seal
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_append_only();
CREATE TRIGGER removal_no_truncate BEFORE TRUNCATE ON controller_removal
    FOR EACH STATEMENT EXECUTE FUNCTION heteroscale_append_only();

INSERT INTO controller_toseal (kind, object_id)
    SELECT 'audit', id::text FROM controller_auditevent ORDER BY id;
INSERT INTO controller_toseal (kind, object_id)
    SELECT 'decision', format('%s/%s', closed.service_id, closed.id)
    FROM controller_decision AS closed
    WHERE EXISTS (
        SELECT FROM controller_decision AS later
        WHERE later.service_id = closed.service_id AND later.seq = closed.seq + 1
    )
    ORDER BY closed.id;
"""
BACKWARD = """
DROP TRIGGER audit_to_seal ON controller_auditevent;
DROP TRIGGER audit_no_truncate ON controller_auditevent;
DROP TRIGGER decision_to_seal ON controller_decision;
DROP TRIGGER decision_closed ON controller_decision;
DROP TRIGGER decision_first_of_them ON controller_decision;
DROP TRIGGER decision_removed ON controller_decision;
DROP TRIGGER decision_with_its_service ON controller_decision;
DROP TRIGGER decision_no_truncate ON controller_decision;
DROP TRIGGER removal_to_seal ON controller_removal;
DROP TRIGGER removal_once ON controller_removal;
DROP TRIGGER removal_stays ON controller_removal;
DROP TRIGGER removal_no_truncate ON controller_removal;
DROP TRIGGER seal_append_only ON controller_seal;
DROP TRIGGER seal_no_truncate ON controller_seal;
DROP FUNCTION heteroscale_queue_audit();
DROP FUNCTION heteroscale_queue_decision();
DROP FUNCTION heteroscale_queue_removal();
DROP FUNCTION heteroscale_only_the_newest();
DROP FUNCTION heteroscale_note_removal();
DROP FUNCTION heteroscale_only_with_its_service();
DROP FUNCTION heteroscale_only_in_its_transaction();
"""


class Migration(migrations.Migration):

    dependencies = [
        ('controller', '0017_audit_chain'),
    ]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
