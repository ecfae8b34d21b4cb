-- Towards the provider: answers that are asked for, back-off and credit, reports, money.

DROP INDEX task_unconfirmed;
CREATE INDEX task_due ON task (due_at, type, status) WHERE status IN ('submitted', 'unconfirmed');

ALTER TABLE task ADD COLUMN price_estimated BIGINT NOT NULL DEFAULT 0;

CREATE TABLE task_token (
    digest  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    task_id BIGINT NOT NULL REFERENCES task (id) ON DELETE CASCADE
);

CREATE INDEX task_token_by_task ON task_token (task_id);

CREATE TABLE credit (
    account  TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    calls    BIGINT NOT NULL,
    refusals BIGINT NOT NULL
);

CREATE TABLE hold (
    account TEXT   COLLATE "C" NOT NULL,
    script  TEXT   COLLATE "C" NOT NULL,
    cause   TEXT   COLLATE "C" NOT NULL,
    since   BIGINT NOT NULL,
    until   BIGINT,
    repeats BIGINT NOT NULL,
    PRIMARY KEY (account, script)
);

CREATE TABLE report (
    task_id    BIGINT NOT NULL PRIMARY KEY REFERENCES task (id) ON DELETE CASCADE,
    captcha_id TEXT   COLLATE "C" NOT NULL,
    verdict    TEXT   COLLATE "C" NOT NULL,
    reply      TEXT   COLLATE "C",
    recorded   BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at   BIGINT
);

CREATE INDEX report_open ON report (created_at) WHERE ended_at IS NULL;

CREATE TABLE spend (
    day       BIGINT NOT NULL,
    type      TEXT   COLLATE "C" NOT NULL,
    tasks     BIGINT NOT NULL,
    nanos     BIGINT NOT NULL,
    estimated BIGINT NOT NULL,
    PRIMARY KEY (day, type)
);

-- Triggers fire once for a statement and write sets, so that a batch of tasks costs little more than one. None of
-- them does anything while pingbox.copying is on: a copy of a database brings along what they would write.
--
-- A session plans the statements in them once, be it for a single task or for all that there are. A nested loop, as is
-- best for one, would take the square of its size for a batch; and compiling, as pays for all, 50 ms for each one.
CREATE FUNCTION task_solved() RETURNS trigger LANGUAGE plpgsql
SET enable_nestloop = off SET enable_hashjoin = on SET jit = off AS $$
BEGIN
    INSERT INTO spend (day, type, tasks, nanos, estimated)
    SELECT answered_at / 86400000000, type, COUNT(*), LEAST(SUM(nanos), 9e18)::BIGINT, SUM(price_estimated)::BIGINT
    FROM (
        SELECT after.answered_at, after.type, after.price_estimated,
               -- No price, however absurd, may fail the commit of an answer: what it begins with counts, if that is
               -- a number, and only so much of it as NUMERIC holds.
               LEAST(ROUND(COALESCE(substring(left(after.price, 30) FROM '^[0-9]+\.?[0-9]*'), '0')::NUMERIC * 1e9),
                     1e15) AS nanos
        FROM before JOIN after ON after.id = before.id
        WHERE after.status = 'solved' AND before.status <> 'solved') AS solved
    GROUP BY 1, 2
    ON CONFLICT (day, type) DO UPDATE SET
        tasks = spend.tasks + excluded.tasks,
        nanos = LEAST(spend.nanos::NUMERIC + excluded.nanos, 9e18)::BIGINT,
        estimated = spend.estimated + excluded.estimated;
    RETURN NULL;
END $$;

CREATE TRIGGER task_solved AFTER UPDATE ON task
REFERENCING OLD TABLE AS before NEW TABLE AS after
FOR EACH STATEMENT WHEN (current_setting('pingbox.copying', true) IS DISTINCT FROM 'on')
EXECUTE FUNCTION task_solved();

CREATE TABLE pingback_url (
    url      TEXT   COLLATE "C" NOT NULL PRIMARY KEY,
    added_at BIGINT NOT NULL
);
