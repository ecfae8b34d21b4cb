-- Several replicas share the database.

-- A replica is trying it until then; the others leave it alone.
ALTER TABLE delivery ADD COLUMN claimed_until BIGINT;

-- Who does what only one replica may do, until when by the clock of the database.
CREATE TABLE lease (
    name   TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    holder TEXT   COLLATE "C" NOT NULL,
    until  BIGINT NOT NULL
);

-- Others are told what there is to read again, when the transaction commits: a hint, and once for a batch.
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('pingbox', TG_ARGV[0]);
    RETURN NULL;
END $$;

-- A statement that inserts nothing tells nothing.
CREATE FUNCTION event_heard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added) THEN
        PERFORM pg_notify('pingbox', 'events');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER event_heard AFTER INSERT ON event
REFERENCING NEW TABLE AS added
FOR EACH STATEMENT WHEN (current_setting('pingbox.copying', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION event_heard();

CREATE TRIGGER token_heard AFTER INSERT OR UPDATE OR DELETE ON token
FOR EACH STATEMENT EXECUTE FUNCTION tell('tokens');

CREATE TRIGGER report_heard AFTER INSERT OR UPDATE ON report
FOR EACH STATEMENT EXECUTE FUNCTION tell('reports');

CREATE TRIGGER hold_heard AFTER INSERT OR UPDATE OR DELETE ON hold
FOR EACH STATEMENT EXECUTE FUNCTION tell('account');

-- The probe of /readyz writes there too, and concerns nobody.
CREATE TRIGGER memory_heard AFTER INSERT OR UPDATE ON memory
FOR EACH ROW WHEN (NEW.name <> 'probed_at') EXECUTE FUNCTION tell('account');

-- A task whose sender is gone is found by when it was sent.
CREATE INDEX task_submitting ON task (sent_at) WHERE status = 'submitting';

-- Which transaction of each writer was committed last: one whose commit was not confirmed is known by that.
CREATE TABLE turn (
    holder BIGINT NOT NULL PRIMARY KEY,     -- a number that each process makes anew
    number BIGINT NOT NULL,
    at     BIGINT NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
