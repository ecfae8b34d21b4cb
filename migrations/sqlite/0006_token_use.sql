-- When a token was last shown, to the minute.
ALTER TABLE token ADD COLUMN last_used_at INTEGER;
