-- How long a job's failures have gone on without progress, in milliseconds: only while the daemon ran and the host was there to be asked.
-- NULL while there are none. It takes the place of `failing_since`, which counted every other time, too.
ALTER TABLE jobs ADD COLUMN failing_ms INTEGER;
UPDATE jobs SET failing_ms = max(0, since - failing_since) WHERE failing_since IS NOT NULL;

-- When the last of them was, where the time until `next_try` belongs to that.
ALTER TABLE jobs ADD COLUMN failed_at INTEGER;

-- How the host has failed since its last success, over all its files, as JSON; NULL where it has not.
ALTER TABLE hosts ADD COLUMN outage TEXT;
