-- When a token was last shown, to the minute.
ALTER TABLE token ADD COLUMN last_used_at INTEGER;

-- What a token has to do with others goes with it. Its signing secret stays for the messages about its last tasks.
DROP TRIGGER token_deleted;
CREATE TRIGGER token_deleted AFTER DELETE ON token
BEGIN
    DELETE FROM webhook WHERE owner = OLD.id;
    DELETE FROM caller_url WHERE owner = OLD.id;
END;
