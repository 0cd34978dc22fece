-- Versions of a file are counted: the jobs of one number are those of one version. Versions that were over before they were counted have
-- negative numbers.
ALTER TABLE files ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE jobs ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET version = -(SELECT min(k.id) FROM jobs k WHERE k.file = jobs.file AND k.size = jobs.size AND k.mtime_ns = jobs.mtime_ns)
WHERE NOT EXISTS (SELECT 1 FROM files f WHERE f.id = jobs.file AND f.size = jobs.size AND f.mtime_ns = jobs.mtime_ns);

-- The hash of the version's first, middle and last 64 KiB; NULL where nothing of it was read.
ALTER TABLE files ADD COLUMN fingerprint INTEGER;

-- A renamed file keeps its time and size, and its inode's number as long as it stays on its file system.
DROP INDEX files_by_inode;
CREATE INDEX files_by_content ON files (mtime_ns, size, inode);

-- Two jobs could be under way for one version and one host. Of these the one that is furthest stays.
UPDATE jobs SET state = 'gone', next_try = NULL, why = '{"class":"superseded"}' WHERE id IN (
    SELECT id FROM (
        SELECT j.id, j.state, row_number() OVER (
            PARTITION BY j.file, j.host, j.version
            ORDER BY j.state = 'uploaded' DESC, u.committing DESC, u.held_bytes DESC, u.parts_acked DESC, u.job IS NULL, j.id
        ) AS place
        FROM jobs j LEFT JOIN uploads u ON u.job = j.id
        WHERE j.state IN ('queued', 'uploading', 'waiting', 'held', 'paused', 'uploaded')
    ) WHERE place > 1 AND state <> 'uploaded'
);
DELETE FROM acks WHERE job IN (SELECT id FROM jobs WHERE state = 'gone');
DELETE FROM digests WHERE job IN (SELECT id FROM jobs WHERE state = 'gone');
DELETE FROM uploads WHERE job IN (SELECT id FROM jobs WHERE state = 'gone');
DELETE FROM totals;
INSERT INTO totals (host, state, daemon, jobs, bytes) SELECT host, state, 1, count(*), sum(size) FROM jobs GROUP BY host, state;
CREATE UNIQUE INDEX jobs_live ON jobs (file, host, version) WHERE state IN ('queued', 'uploading', 'waiting', 'held', 'paused');

-- The exclusive or of the hashes of the bytes that the host has confirmed, part by part; NULL where one of them is not known.
ALTER TABLE uploads ADD COLUMN sent_hash INTEGER;

-- What the root of a watch was when a known file was last met below it. All NULL before that.
ALTER TABLE watches ADD COLUMN device INTEGER;
ALTER TABLE watches ADD COLUMN inode INTEGER;
ALTER TABLE watches ADD COLUMN born_ns INTEGER;

-- How long a job's failures have gone on without progress, in milliseconds: only while the daemon ran and the host was there to be asked.
-- NULL while there are none. It takes the place of `failing_since`, which counted every other time, too.
ALTER TABLE jobs ADD COLUMN failing_ms INTEGER;
UPDATE jobs SET failing_ms = max(0, since - failing_since) WHERE failing_since IS NOT NULL;

-- When the last of them was, where the time until `next_try` belongs to that.
ALTER TABLE jobs ADD COLUMN failed_at INTEGER;

-- How the host has failed since its last success, over all its files, and how far apart its logins are kept, as JSON; NULL where there is
-- neither.
ALTER TABLE hosts ADD COLUMN outage TEXT;

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

-- The smallest of the jobs that are to be tried, which pass large ones by in some of the places.
CREATE INDEX jobs_by_size ON jobs (host, priority DESC, size, id) WHERE state = 'queued';

-- The name and the size that the host says it has stored; NULL where it does not say.
ALTER TABLE jobs ADD COLUMN stored_name TEXT;
ALTER TABLE jobs ADD COLUMN stored_bytes INTEGER;

-- How often the file has been sent again for a new link; counted before it is.
ALTER TABLE jobs ADD COLUMN renewals INTEGER NOT NULL DEFAULT 0;

-- That a person wants a job paused or cancelled that is under way: its state once its worker leaves it.
ALTER TABLE jobs ADD COLUMN wanted TEXT CHECK (wanted IN ('paused', 'cancelled'));
