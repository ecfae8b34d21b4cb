-- When a token was last shown, to the minute.
ALTER TABLE token ADD COLUMN last_used_at BIGINT;

-- That changes nothing that other replicas would have to know.
DROP TRIGGER token_heard ON token;
CREATE TRIGGER token_heard AFTER INSERT OR UPDATE OF name, digest, scopes OR DELETE ON token
FOR EACH STATEMENT EXECUTE FUNCTION tell('tokens');

-- What a token has to do with others goes with it. Its signing secret stays for the messages about its last tasks.
CREATE OR REPLACE FUNCTION token_deleted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM webhook WHERE owner IN (SELECT id FROM gone);
    DELETE FROM caller_url WHERE owner IN (SELECT id FROM gone);
    RETURN NULL;
END $$;
