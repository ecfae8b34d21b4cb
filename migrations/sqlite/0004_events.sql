-- Answers reach callers their own way: the feed of events, the sink of unmatched pingbacks, webhooks.

-- Cursors name the feed that they are of, so that one of another database is known for what it is.
INSERT INTO memory (name, value) VALUES ('feed', lower(hex(randomblob(4))));

-- What happened, in the order in which it was committed. A task is shown as it was then: what has changed since
-- is kept here, the rest is the task's own. No answer is kept here.
CREATE TABLE event (
    id           INTEGER PRIMARY KEY AUTOINCREMENT, -- numbers are never used again
    type         TEXT    NOT NULL,
    time         INTEGER NOT NULL,          -- when it was stored
    owner        INTEGER,                   -- of the task; NULL: for admins alone
    task_id      INTEGER,
    pingback_id  INTEGER,                   -- of one that no task waits for
    captcha_id   TEXT,
    attempts     INTEGER,
    submitted_at INTEGER
) STRICT;

-- The feed begins with the ends of the tasks that there are, so that every task that has ended has an event, and goes
-- with it.
INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
SELECT 'task.' || status, answered_at, owner, id, captcha_id, attempts, submitted_at
FROM task WHERE answered_at IS NOT NULL ORDER BY answered_at, id;

-- Where callers are told of events.
CREATE TABLE webhook (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    owner       INTEGER NOT NULL,           -- token.id; 0 is local
    sees_all    INTEGER NOT NULL,           -- 1: the owner is admin, and is told of everybody's tasks
    url         TEXT    NOT NULL,
    receiver    TEXT    NOT NULL,           -- host:port
    types       TEXT    NOT NULL,           -- with a comma before and after each: ,task.solved,task.failed,
    secret      TEXT    NOT NULL,           -- as it is shown: whsec_…
    old_secret  TEXT,                       -- the one before, which signs too until old_until
    old_until   INTEGER,
    created_at  INTEGER NOT NULL,
    disabled_at INTEGER,                    -- nothing is sent any more
    disabled_why TEXT
) STRICT;

CREATE INDEX webhook_by_owner ON webhook (owner);

-- What signs messages to URLs that tasks carry, by the owner of the tasks.
CREATE TABLE signing_secret (
    owner      INTEGER NOT NULL PRIMARY KEY, -- token.id; 0 is local
    secret     TEXT    NOT NULL,
    old_secret TEXT,
    old_until  INTEGER
) STRICT;

ALTER TABLE task ADD COLUMN webhook_url TEXT;      -- as the caller gave it; NULL once erased
ALTER TABLE task ADD COLUMN webhook_receiver TEXT; -- its host:port

-- Deliveries may now be of an event, and of no task.
DROP TRIGGER task_called_back;
CREATE TABLE message (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    type        TEXT    NOT NULL,           -- of the event, or what it would be: task.solved, …
    task_id     INTEGER REFERENCES task (id) ON DELETE CASCADE,
    event_id    INTEGER,                    -- NULL: id and code, as the provider sends them
    webhook_id  INTEGER,                    -- whose URL it goes to; NULL: to one of the task
    owner       INTEGER NOT NULL,           -- of the task or the webhook: token.id; 0 is local
    url         TEXT,                       -- of the task; NULL once erased
    receiver    TEXT    NOT NULL,           -- host:port, and of a webhook '#' and its id: who may fail by itself
    status      TEXT    NOT NULL DEFAULT 'waiting', -- waiting, delivered, dead
    attempts    INTEGER NOT NULL DEFAULT 0,
    last_status INTEGER,                    -- of HTTP, from the last attempt that got one
    last_error  TEXT,                       -- what came of the last attempt, if it failed
    created_at  INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,           -- when its attempts began, anew with each replay
    planned_at  INTEGER NOT NULL,           -- when due_at was set: ahead of now, the clock was set back
    due_at      INTEGER NOT NULL,           -- while it waits: not sent before this time
    ended_at    INTEGER
) STRICT;
INSERT INTO message (id, type, task_id, owner, url, receiver, status, attempts, last_status, last_error,
                     created_at, started_at, planned_at, due_at, ended_at)
SELECT delivery.id, 'task.' || task.status, task_id, delivery.owner, url, receiver, delivery.status,
       delivery.attempts, last_status, last_error, delivery.created_at, delivery.created_at, planned_at,
       delivery.due_at, ended_at
FROM delivery JOIN task ON task.id = task_id;
DROP TABLE delivery;
ALTER TABLE message RENAME TO delivery;

CREATE INDEX delivery_by_task ON delivery (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX delivery_due ON delivery (receiver, owner, due_at) WHERE status = 'waiting';
CREATE INDEX delivery_soonest ON delivery (due_at) WHERE status = 'waiting';

-- Triggers, so that a change, the event that tells of it and the deliveries of that are one statement, whatever
-- made the change. One that a change of a task does not concern pays for a comparison.

-- One that the provider never took may be refused by the reply of in.php, which waits 4 s at most for it: only
-- after that does its caller know the id.
CREATE TRIGGER task_called_back AFTER UPDATE OF status ON task
WHEN NEW.callback_url IS NOT NULL AND NEW.answered_at IS NOT NULL AND OLD.answered_at IS NULL
     AND NEW.status <> 'cancelled'
BEGIN
    INSERT INTO delivery (type, task_id, owner, url, receiver, created_at, started_at, planned_at, due_at)
    VALUES ('task.' || NEW.status, NEW.id, NEW.owner, NEW.callback_url, NEW.callback_receiver, NEW.answered_at,
            NEW.answered_at, NEW.answered_at,
            CASE WHEN NEW.captcha_id IS NULL
                 THEN MAX(NEW.answered_at, MIN(NEW.created_at, NEW.answered_at) + 5000000)
                 ELSE NEW.answered_at END);
END;

CREATE TRIGGER task_created AFTER INSERT ON task
BEGIN
    INSERT INTO event (type, time, owner, task_id)
    VALUES ('task.created', CAST(unixepoch('subsec') * 1000000 AS INTEGER), NEW.owner, NEW.id);
END;

-- A captcha ID that becomes known and an answer may be one change, because the answer had come before: they are two
-- events all the same, and this one comes first. Plain rows of values: an INSERT of a SELECT would make a temporary
-- table for every row.
CREATE TRIGGER task_taken BEFORE UPDATE OF captcha_id ON task
WHEN NEW.captcha_id IS NOT NULL AND NEW.captcha_id IS NOT OLD.captcha_id AND OLD.answered_at IS NULL
BEGIN
    INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
    VALUES ('task.submitted', CAST(unixepoch('subsec') * 1000000 AS INTEGER), NEW.owner, NEW.id, NEW.captcha_id,
            NEW.attempts, NEW.submitted_at);
END;

CREATE TRIGGER task_changed AFTER UPDATE OF status ON task
WHEN NEW.status <> OLD.status AND OLD.answered_at IS NULL AND NEW.status NOT IN ('queued', 'submitting', 'submitted')
BEGIN
    INSERT INTO event (type, time, owner, task_id, captcha_id, attempts, submitted_at)
    VALUES ('task.' || NEW.status, CAST(unixepoch('subsec') * 1000000 AS INTEGER), NEW.owner, NEW.id,
            NEW.captcha_id, NEW.attempts, NEW.submitted_at);
END;

CREATE TRIGGER pingback_parked AFTER INSERT ON pingback
WHEN NEW.task_id IS NULL AND NEW.outcome <> 'notice'
BEGIN
    INSERT INTO event (type, time, pingback_id, captcha_id)
    VALUES ('pingback.unmatched', CAST(unixepoch('subsec') * 1000000 AS INTEGER), NEW.id, NEW.captcha_id);
END;

CREATE TRIGGER event_told AFTER INSERT ON event
WHEN NEW.type IN ('task.solved', 'task.failed', 'task.expired', 'task.cancelled')
     AND (SELECT webhook_url FROM task WHERE id = NEW.task_id) IS NOT NULL
BEGIN
    INSERT INTO delivery (type, task_id, event_id, owner, url, receiver, created_at, started_at, planned_at, due_at)
    SELECT NEW.type, id, NEW.id, owner, webhook_url, webhook_receiver, answered_at, answered_at, answered_at, answered_at
    FROM task WHERE id = NEW.task_id;
END;

CREATE TRIGGER event_subscribed AFTER INSERT ON event
WHEN EXISTS (SELECT 1 FROM webhook)
BEGIN
    INSERT INTO delivery (type, task_id, event_id, webhook_id, owner, receiver, created_at, started_at, planned_at,
                          due_at)
    SELECT NEW.type, NEW.task_id, NEW.id, webhook.id, webhook.owner, receiver || '#' || webhook.id, NEW.time, NEW.time,
           NEW.time, NEW.time
    FROM webhook
    WHERE disabled_at IS NULL AND (sees_all = 1 OR owner = NEW.owner) AND instr(types, ',' || NEW.type || ',') > 0
    ORDER BY webhook.id;
END;

-- What the sink holds, oldest first.
CREATE INDEX pingback_unmatched ON pingback (id) WHERE task_id IS NULL;

-- What came for a task goes with it: untied, it would be open to everybody.
CREATE TRIGGER task_deleted BEFORE DELETE ON task
BEGIN
    DELETE FROM pingback WHERE task_id = OLD.id;
END;

-- A webhook is told of what its token may see, and goes with it.
CREATE TRIGGER token_deleted AFTER DELETE ON token
BEGIN
    DELETE FROM webhook WHERE owner = OLD.id;
    DELETE FROM signing_secret WHERE owner = OLD.id;
END;
