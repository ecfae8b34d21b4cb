-- Times are microseconds since 1970, UTC.

CREATE TABLE task (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    owner        INTEGER NOT NULL,          -- token.id; 0 is local
    type         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    tag          TEXT,
    priority     INTEGER NOT NULL,
    params       TEXT    NOT NULL,          -- JSON: [["method","post"], …], as in.php gets them
    captcha_id   TEXT,
    answer       TEXT,
    error        TEXT,
    via          TEXT,
    price        TEXT,
    attempts     INTEGER NOT NULL DEFAULT 0,
    doubtful     INTEGER NOT NULL DEFAULT 0, -- 1: an attempt was sent without a reply
    reason       TEXT,
    extra        TEXT,                      -- JSON: unknown fields of the pingback that settled it
    created_at   INTEGER NOT NULL,
    sent_at      INTEGER,
    submitted_at INTEGER,
    answered_at  INTEGER,                   -- when it ended; NULL while it is open
    expires_at   INTEGER NOT NULL,
    due_at       INTEGER,                   -- not sent before this time
    erased       INTEGER NOT NULL DEFAULT 0 -- 1: answer, parameters and images were erased
) STRICT;

-- Not unique: a provider that hands out an id twice must not fail the commit of others.
CREATE INDEX task_by_captcha_id ON task (captcha_id) WHERE captcha_id IS NOT NULL;
CREATE INDEX task_queue ON task (priority DESC, id) WHERE status = 'queued';
CREATE INDEX task_open ON task (expires_at) WHERE answered_at IS NULL;
CREATE INDEX task_unconfirmed ON task (due_at) WHERE status = 'unconfirmed';
CREATE INDEX task_ended ON task (erased, answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX task_by_tag ON task (tag, id) WHERE tag IS NOT NULL;

-- The images of a task, apart from it so that a change of status does not rewrite them.
CREATE TABLE task_file (
    task_id  INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    field    TEXT    NOT NULL,
    content  BLOB    NOT NULL,
    PRIMARY KEY (task_id, position)
) STRICT;

-- Pingbacks that settled no task when they came: unmatched (and joined later, if their captcha ID
-- turns up), differing from what settled the task, or notices about the account.
CREATE TABLE pingback (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    captcha_id  TEXT    NOT NULL,
    task_id     INTEGER REFERENCES task (id) ON DELETE SET NULL,
    code        TEXT    NOT NULL,
    outcome     TEXT    NOT NULL,           -- answer, failed, notice
    price       TEXT,
    extra       TEXT,
    received_at INTEGER NOT NULL
) STRICT;

CREATE INDEX pingback_by_captcha_id ON pingback (captcha_id);
CREATE INDEX pingback_by_task ON pingback (task_id) WHERE task_id IS NOT NULL;
CREATE INDEX pingback_by_time ON pingback (received_at);

CREATE TABLE idempotency (
    owner      INTEGER NOT NULL,
    key        TEXT    NOT NULL,
    digest     BLOB    NOT NULL,            -- SHA-256 of the submission
    task_id    INTEGER NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT;

CREATE INDEX idempotency_by_time ON idempotency (created_at);
CREATE INDEX idempotency_by_task ON idempotency (task_id);

CREATE TABLE token (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    name       TEXT    NOT NULL,
    digest     BLOB    NOT NULL UNIQUE,     -- SHA-256 of the token; the token itself is not kept
    scopes     TEXT    NOT NULL,            -- comma-separated: submit, read, admin
    created_at INTEGER NOT NULL
) STRICT;

-- What pingbox remembers about itself: the pingback secret, what the database is used with.
CREATE TABLE memory (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
