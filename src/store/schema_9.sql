-- When the session of a job is given back whose file does not go to its host any more; NULL for all others.
ALTER TABLE jobs ADD COLUMN abandon_at INTEGER;
CREATE INDEX jobs_to_abandon ON jobs (host, abandon_at) WHERE abandon_at IS NOT NULL;

-- Whether the host was taken at its word when the outcome was committed, or a start has taken it at its word since.
ALTER TABLE jobs ADD COLUMN trusted INTEGER NOT NULL DEFAULT 0;

-- The parts of the plan by which a job was uploaded, once it is.
ALTER TABLE jobs ADD COLUMN parts INTEGER NOT NULL DEFAULT 0;

-- From here on `done_at` is when the host had the file, also while hooks and the after-action are still to come.
UPDATE jobs SET done_at = since WHERE state = 'uploaded' AND done_at IS NULL;

-- What is on the hosts, in the order in which it came there, whatever follows.
DROP INDEX jobs_done;
CREATE INDEX jobs_done ON jobs (done_at) WHERE done_at IS NOT NULL;
