-- Every claim has an owner, and so has what a daemon notes for itself. What was here before belongs to daemon 1, which is the one that a
-- queue in a local file is opened for.

-- The daemon that claimed the job last, or made it where nobody has claimed it yet.
ALTER TABLE jobs ADD COLUMN owner INTEGER NOT NULL DEFAULT 1;

-- The daemon that carries the delivery, which is the one that made it.
ALTER TABLE deliveries ADD COLUMN daemon INTEGER NOT NULL DEFAULT 1;
DROP INDEX deliveries_due;
CREATE INDEX deliveries_due ON deliveries (daemon, hook, next_try);

CREATE TABLE live_of_daemons (
    job        INTEGER NOT NULL,
    daemon     INTEGER NOT NULL DEFAULT 1,
    sent       INTEGER NOT NULL,
    per_second INTEGER NOT NULL,
    at         INTEGER NOT NULL,
    PRIMARY KEY (job, daemon)
) STRICT, WITHOUT ROWID;
INSERT INTO live_of_daemons (job, sent, per_second, at) SELECT job, sent, per_second, at FROM live;
DROP TABLE live;
ALTER TABLE live_of_daemons RENAME TO live;

CREATE TABLE hosts_of_daemons (
    daemon INTEGER NOT NULL DEFAULT 1,
    name   TEXT NOT NULL,
    kind   TEXT NOT NULL,
    state  TEXT NOT NULL CHECK (state IN ('ready', 'resting', 'held', 'full')),
    until  INTEGER,
    why    TEXT,
    since  INTEGER NOT NULL,
    -- Rests it asked for in a row.
    rests  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (daemon, name)
) STRICT, WITHOUT ROWID;
INSERT INTO hosts_of_daemons (name, kind, state, until, why, since, rests) SELECT name, kind, state, until, why, since, rests FROM hosts;
DROP TABLE hosts;
ALTER TABLE hosts_of_daemons RENAME TO hosts;

CREATE TABLE watches_of_daemons (
    daemon     INTEGER NOT NULL DEFAULT 1,
    path       BLOB NOT NULL,
    first_seen INTEGER NOT NULL,
    configured INTEGER NOT NULL DEFAULT 1,
    state      TEXT NOT NULL DEFAULT 'starting',
    events     TEXT NOT NULL DEFAULT 'auto',
    last_scan  INTEGER,
    settling   INTEGER NOT NULL DEFAULT 0,
    gaps_seen  INTEGER NOT NULL DEFAULT 0,
    why        TEXT,
    PRIMARY KEY (daemon, path)
) STRICT, WITHOUT ROWID;
INSERT INTO watches_of_daemons (path, first_seen, configured, state, events, last_scan, settling, gaps_seen, why)
SELECT path, first_seen, configured, state, events, last_scan, settling, gaps_seen, why FROM watches;
DROP TABLE watches;
ALTER TABLE watches_of_daemons RENAME TO watches;

-- By how much each daemon has changed the number and the bytes of a host's jobs in a state: the sum over the daemons is what there is.
-- Changes are gathered while a transaction runs, and added here once before it is committed, so that a row is not written for every job.
DROP TRIGGER jobs_made;
DROP TRIGGER jobs_moved;
CREATE TABLE totals_of_daemons (
    host   TEXT NOT NULL,
    state  TEXT NOT NULL,
    daemon INTEGER NOT NULL DEFAULT 1,
    jobs   INTEGER NOT NULL,
    bytes  INTEGER NOT NULL,
    PRIMARY KEY (host, state, daemon)
) STRICT, WITHOUT ROWID;
INSERT INTO totals_of_daemons (host, state, jobs, bytes) SELECT host, state, jobs, bytes FROM totals;
DROP TABLE totals;
ALTER TABLE totals_of_daemons RENAME TO totals;
