-- Towards the provider: answers that are asked for, back-off and credit, reports, money.

-- A submitted task is asked for at due_at, an unconfirmed one ends its wait then. Type and status make it
-- a covering index for counting what is under way.
DROP INDEX task_unconfirmed;
CREATE INDEX task_due ON task (due_at, type, status) WHERE status IN ('submitted', 'unconfirmed');
UPDATE task SET due_at = submitted_at + 10000000 WHERE status = 'submitted';

ALTER TABLE task ADD COLUMN price_estimated INTEGER NOT NULL DEFAULT 0; -- 1: from the table of rates

-- The tokens in pingback URLs of single tasks, each for one attempt.
CREATE TABLE task_token (
    digest  TEXT    NOT NULL PRIMARY KEY,   -- SHA-256, hex; the token itself is not kept
    task_id INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX task_token_by_task ON task_token (task_id);

-- What is left with the provider, by the account's key.
CREATE TABLE credit (
    account  TEXT    NOT NULL PRIMARY KEY,  -- SHA-256 of the key, hex
    calls    INTEGER NOT NULL,              -- of res.php
    refusals INTEGER NOT NULL               -- replies of ERROR_NO_SLOT_AVAILABLE
) STRICT, WITHOUT ROWID;

-- Pauses that the provider asked for.
CREATE TABLE hold (
    account TEXT    NOT NULL,
    script  TEXT    NOT NULL,               -- in.php, res.php
    cause   TEXT    NOT NULL,
    since   INTEGER NOT NULL,
    until   INTEGER,                        -- NULL: until an operator acts
    repeats INTEGER NOT NULL,
    PRIMARY KEY (account, script)
) STRICT, WITHOUT ROWID;

-- Complaints and confirmations, one a task.
CREATE TABLE report (
    task_id    INTEGER NOT NULL PRIMARY KEY REFERENCES task (id) ON DELETE CASCADE,
    captcha_id TEXT    NOT NULL,
    verdict    TEXT    NOT NULL,            -- bad, good
    reply      TEXT,                        -- the provider's word; NULL while it waits to be sent
    recorded   INTEGER NOT NULL DEFAULT 0,  -- 1: the provider has it
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,            -- not sent after this time
    ended_at   INTEGER
) STRICT;

CREATE INDEX report_open ON report (created_at) WHERE ended_at IS NULL;

-- Money spent, by day (days since 1970, UTC) and type.
CREATE TABLE spend (
    day       INTEGER NOT NULL,
    type      TEXT    NOT NULL,
    tasks     INTEGER NOT NULL,
    nanos     INTEGER NOT NULL,             -- billionths of the account's currency
    estimated INTEGER NOT NULL,             -- tasks whose price is from the table of rates
    PRIMARY KEY (day, type)
) STRICT, WITHOUT ROWID;

-- A trigger, so that an answer and what it cost are one statement.
CREATE TRIGGER task_solved AFTER UPDATE OF status ON task
WHEN NEW.status = 'solved' AND OLD.status <> 'solved'
BEGIN
    INSERT INTO spend (day, type, tasks, nanos, estimated)
    VALUES (NEW.answered_at / 86400000000, NEW.type, 1,
            -- No price, however absurd, may fail the commit of an answer.
            CAST(MIN(ROUND(CAST(COALESCE(NEW.price, '0') AS REAL) * 1e9), 1e15) AS INTEGER),
            NEW.price_estimated)
    ON CONFLICT (day, type) DO UPDATE SET
        tasks = tasks + 1, nanos = CAST(MIN(nanos + excluded.nanos, 9000000000000000000) AS INTEGER),
        estimated = estimated + excluded.estimated;
END;

-- Pingback URLs that were added by us, for others.
CREATE TABLE pingback_url (
    url      TEXT    NOT NULL PRIMARY KEY,
    added_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
