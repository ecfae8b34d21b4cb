-- Replicas share a database only in PostgreSQL. Here one process has it, and needs no leases.

ALTER TABLE delivery ADD COLUMN claimed_until INTEGER; -- a replica is trying it until then; others leave it alone

-- A task whose sender is gone is found by when it was sent.
CREATE INDEX task_submitting ON task (sent_at) WHERE status = 'submitting';
