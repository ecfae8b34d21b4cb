-- When a token was last shown, to the minute.
ALTER TABLE token ADD COLUMN last_used_at BIGINT;

-- That changes nothing that other replicas would have to know.
DROP TRIGGER token_heard ON token;
CREATE TRIGGER token_heard AFTER INSERT OR UPDATE OF name, digest, scopes OR DELETE ON token
FOR EACH STATEMENT EXECUTE FUNCTION tell('tokens');
