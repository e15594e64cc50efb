"""Samples are kept in a table for each day (UTC), so that old ones go a whole day at a time.

What there is already stays where it is, as the table of all days until tomorrow: nothing is
copied. Where there is nothing, days are made as far back as samples are kept. What belongs to a
day without a table goes to ``controller_sample_rest`` and moves once there is one.
"""

from django.db import migrations

FORWARD = """
ALTER TABLE controller_sample RENAME TO controller_sample_before;
ALTER INDEX controller_sample_pkey RENAME TO controller_sample_before_pkey;
ALTER INDEX sample_at_brin RENAME TO sample_before_at_brin;
ALTER INDEX controller_sample_service_id_611c0e0c RENAME TO controller_sample_before_service_id;

CREATE TABLE controller_sample (LIKE controller_sample_before INCLUDING DEFAULTS)
    PARTITION BY RANGE (at);
ALTER TABLE controller_sample ADD CONSTRAINT controller_sample_pkey PRIMARY KEY (service_id, at);
CREATE INDEX sample_at_brin ON controller_sample USING brin (at);
CREATE INDEX controller_sample_service_id_611c0e0c ON controller_sample (service_id);
CREATE TABLE controller_sample_rest PARTITION OF controller_sample DEFAULT;

CREATE FUNCTION heteroscale_sample_parts(OUT part name, OUT ends timestamptz)
RETURNS SETOF record LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT relname, substring(pg_get_expr(relpartbound, oid) from 'TO \\(''([^'']+)''\\)')::timestamptz
    FROM pg_inherits JOIN pg_class ON oid = inhrelid
    WHERE inhparent = 'controller_sample'::regclass
$$;

CREATE FUNCTION heteroscale_make_sample_days(first date, last date) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    day date; part text; begins timestamptz; ends timestamptz; made integer := 0;
BEGIN
    IF last - first > 40 THEN
        RAISE EXCEPTION '% to % are more days than are kept', first, last;
    END IF;
    FOR day IN SELECT generate_series(first, last, interval '1 day')::date LOOP
        part := 'controller_sample_' || to_char(day, 'YYYYMMDD');
        begins := day::timestamp AT TIME ZONE 'UTC';
        ends := (day + 1)::timestamp AT TIME ZONE 'UTC';
        CONTINUE WHEN to_regclass(part) IS NOT NULL OR EXISTS (
            SELECT FROM heteroscale_sample_parts() AS known
            WHERE known.part = 'controller_sample_before' AND known.ends > begins
        );
        -- Nobody adds to what is moved, and of two who make a day the second finds it made.
        LOCK TABLE controller_sample_rest IN ACCESS EXCLUSIVE MODE;
        CONTINUE WHEN to_regclass(part) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I (LIKE controller_sample INCLUDING DEFAULTS)', part);
        EXECUTE format(
            'WITH moved AS (DELETE FROM controller_sample_rest WHERE at >= %L AND at < %L RETURNING *)'
            ' INSERT INTO %I SELECT * FROM moved', begins, ends, part
        );
        EXECUTE format(
            'ALTER TABLE controller_sample ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
            part, begins, ends
        );
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

CREATE FUNCTION heteroscale_drop_sample_days(edge timestamptz) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    old name; dropped integer := 0;
BEGIN
    FOR old IN SELECT part FROM heteroscale_sample_parts() WHERE ends <= edge LOOP
        EXECUTE format('DROP TABLE IF EXISTS %I', old);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END $$;
REVOKE ALL ON FUNCTION heteroscale_make_sample_days, heteroscale_drop_sample_days FROM PUBLIC;

DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    newest timestamptz := (SELECT max(at) FROM controller_sample_before);
BEGIN
    IF newest IS NULL THEN
        DROP TABLE controller_sample_before;
        PERFORM heteroscale_make_sample_days(today - 15, today + 2);
    ELSE
        EXECUTE format(
            'ALTER TABLE controller_sample ATTACH PARTITION controller_sample_before'
            ' FOR VALUES FROM (MINVALUE) TO (%L)',
            (1 + (greatest(newest, now()) AT TIME ZONE 'UTC')::date)::timestamp AT TIME ZONE 'UTC'
        );
    END IF;
END $$;
"""
BACKWARD = """
ALTER TABLE controller_sample RENAME TO controller_sample_by_day;
ALTER INDEX controller_sample_pkey RENAME TO controller_sample_by_day_pkey;
ALTER INDEX sample_at_brin RENAME TO sample_by_day_at_brin;
ALTER INDEX controller_sample_service_id_611c0e0c RENAME TO controller_sample_by_day_service_id;
CREATE TABLE controller_sample (LIKE controller_sample_by_day INCLUDING DEFAULTS);
INSERT INTO controller_sample SELECT * FROM controller_sample_by_day;
ALTER TABLE controller_sample ADD CONSTRAINT controller_sample_pkey PRIMARY KEY (service_id, at);
CREATE INDEX sample_at_brin ON controller_sample USING brin (at);
CREATE INDEX controller_sample_service_id_611c0e0c ON controller_sample (service_id);
DROP TABLE controller_sample_by_day;
DROP FUNCTION heteroscale_make_sample_days;
DROP FUNCTION heteroscale_drop_sample_days;
DROP FUNCTION heteroscale_sample_parts;
"""


class Migration(migrations.Migration):
    """Attach what there is, or make the days."""

    dependencies = (("controller", "0028_metrics_endpoints"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
