-- Callers' own URLs: where they are told how their tasks ended.

ALTER TABLE task ADD COLUMN callback_url TEXT;      -- as the caller gave it; NULL once erased
ALTER TABLE task ADD COLUMN callback_receiver TEXT; -- its host:port

-- Each is one message to one receiver. What is sent is made from the task when it is sent: no answer is
-- kept here.
CREATE TABLE delivery (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id     INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    owner       INTEGER NOT NULL,           -- of the task: token.id; 0 is local
    url         TEXT,                       -- NULL once erased
    receiver    TEXT    NOT NULL,           -- host:port
    status      TEXT    NOT NULL DEFAULT 'waiting', -- waiting, delivered, dead
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,                    -- of HTTP, from the last attempt that got one
    last_error  TEXT,                       -- what came of the last attempt, if it failed
    created_at  INTEGER NOT NULL,
    planned_at  INTEGER NOT NULL,           -- when due_at was set: ahead of now, the clock was set back
    due_at      INTEGER NOT NULL,           -- while it waits: not sent before this time
    ended_at    INTEGER
) STRICT;

CREATE INDEX delivery_by_task ON delivery (task_id);
CREATE INDEX delivery_due ON delivery (receiver, owner, due_at) WHERE status = 'waiting';
CREATE INDEX delivery_soonest ON delivery (due_at) WHERE status = 'waiting';

-- A trigger, so that the end of a task and what its caller is told are one statement, whatever ended it.
-- One that the provider never took may be refused by the reply of in.php, which waits 4 s at most for it: only
-- after that does its caller know the id.
CREATE TRIGGER task_called_back AFTER UPDATE OF status ON task
WHEN NEW.callback_url IS NOT NULL AND NEW.answered_at IS NOT NULL AND OLD.answered_at IS NULL
     AND NEW.status <> 'cancelled'
BEGIN
    INSERT INTO delivery (task_id, owner, url, receiver, created_at, planned_at, due_at)
    VALUES (NEW.id, NEW.owner, NEW.callback_url, NEW.callback_receiver, NEW.answered_at, NEW.answered_at,
            CASE WHEN NEW.captcha_id IS NULL
                 THEN MAX(NEW.answered_at, MIN(NEW.created_at, NEW.answered_at) + 5000000)
                 ELSE NEW.answered_at END);
END;

-- URLs that callers have registered, in the order in which they did.
CREATE TABLE caller_url (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    owner    INTEGER NOT NULL,              -- token.id; 0 is local
    url      TEXT    NOT NULL,              -- as the caller gave it
    target   TEXT    NOT NULL,              -- the same in its one form
    added_at INTEGER NOT NULL,
    UNIQUE (owner, target)
) STRICT;
