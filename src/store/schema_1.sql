-- What has been seen and what is to be done with it. docs/STATE.md tells the meaning; times are milliseconds since the Unix epoch
-- unless the column says _ns, sizes are bytes, paths and names are the file system's own bytes.

CREATE TABLE folders (
    id   INTEGER PRIMARY KEY,
    path BLOB NOT NULL UNIQUE
) STRICT;

-- Sets of hosts that files are sent to: names in order, a line each. A file notes the set its jobs were made for.
CREATE TABLE routes (
    id    INTEGER PRIMARY KEY,
    hosts TEXT NOT NULL UNIQUE
) STRICT;

-- The scan's memory: which version of the file at this path has been taken up. `route` is NULL once that version is forgotten.
CREATE TABLE files (
    id       INTEGER PRIMARY KEY,
    folder   INTEGER NOT NULL REFERENCES folders (id),
    name     BLOB NOT NULL,
    device   INTEGER NOT NULL,
    inode    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    born_ns  INTEGER NOT NULL,
    route    INTEGER REFERENCES routes (id),
    UNIQUE (folder, name)
) STRICT;
CREATE INDEX files_by_inode ON files (inode);

CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    file            INTEGER NOT NULL REFERENCES files (id),
    host            TEXT NOT NULL,
    device          INTEGER NOT NULL,
    inode           INTEGER NOT NULL,
    size            INTEGER NOT NULL,
    mtime_ns        INTEGER NOT NULL,
    ctime_ns        INTEGER NOT NULL,
    born_ns         INTEGER NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('queued', 'uploading', 'waiting', 'held', 'uploaded', 'done',
                                                   'failed', 'gone', 'paused', 'cancelled')),
    priority        INTEGER NOT NULL DEFAULT 0,
    queued_at       INTEGER NOT NULL,
    since           INTEGER NOT NULL,
    done_at         INTEGER,
    next_try        INTEGER,
    why             TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    failures        INTEGER NOT NULL DEFAULT 0,
    -- Of what kind the last failure was, and how many in a row were of that kind.
    failing         TEXT,
    alike           INTEGER NOT NULL DEFAULT 0,
    sessions_lost   INTEGER NOT NULL DEFAULT 0,
    maybe_duplicate INTEGER NOT NULL DEFAULT 0,
    -- Why hooks were last told that a person must act, without its numbers; NULL when they are to be told again whatever the reason.
    told_held       TEXT,
    link            TEXT,
    remote_id       TEXT,
    expires         INTEGER
) STRICT;
CREATE INDEX jobs_ready ON jobs (host, priority DESC, id) WHERE state = 'queued';
CREATE INDEX jobs_due ON jobs (host, next_try) WHERE state IN ('waiting', 'held');
CREATE INDEX jobs_by_state ON jobs (state, id);
CREATE INDEX jobs_done ON jobs (done_at) WHERE state = 'done';
CREATE INDEX jobs_by_file ON jobs (file);

-- A session and the plan made for it. `committing` is set before the request that makes the parts a file, and stays while nobody knows
-- whether it took effect.
CREATE TABLE uploads (
    job         INTEGER PRIMARY KEY REFERENCES jobs (id),
    session     TEXT NOT NULL,
    part_bytes  INTEGER NOT NULL,
    parts       INTEGER NOT NULL,
    parts_acked INTEGER NOT NULL DEFAULT 0,
    held_bytes  INTEGER NOT NULL DEFAULT 0,
    opened_at   INTEGER NOT NULL,
    committing  INTEGER NOT NULL DEFAULT 0,
    commits     INTEGER NOT NULL DEFAULT 0,
    resent      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The digest of a job's file, where the host wants one and it is known: in hexadecimal, and its inner states at the borders between parts
-- of this size. It outlives a lost session.
CREATE TABLE digests (
    job        INTEGER PRIMARY KEY REFERENCES jobs (id),
    part_bytes INTEGER NOT NULL,
    hex        TEXT NOT NULL,
    borders    BLOB NOT NULL
) STRICT;

CREATE TABLE acks (
    job     INTEGER NOT NULL REFERENCES jobs (id),
    number  INTEGER NOT NULL,
    receipt TEXT,
    PRIMARY KEY (job, number)
) STRICT, WITHOUT ROWID;

-- What is to follow a job's change of state, and has not succeeded yet: a row for each hook that wants to hear of it, for the
-- after-action (`next_try` is NULL until it may run), for a link to be renewed. `said` is the job's reason when the event happened.
CREATE TABLE deliveries (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    job      INTEGER NOT NULL REFERENCES jobs (id),
    hook     TEXT NOT NULL,
    event    TEXT NOT NULL CHECK (event IN ('done', 'failed', 'held', 'expiring', 'after', 'refresh')),
    number   INTEGER NOT NULL,
    made_at  INTEGER NOT NULL,
    next_try INTEGER,
    tries    INTEGER NOT NULL DEFAULT 0,
    said     TEXT,
    UNIQUE (job, event, hook)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (hook, next_try);

-- What is moving right now, written about once a second while something moves; stale rows mean nothing.
CREATE TABLE live (
    job        INTEGER PRIMARY KEY,
    sent       INTEGER NOT NULL,
    per_second INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT;

CREATE TABLE hosts (
    name  TEXT PRIMARY KEY,
    kind  TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('ready', 'resting', 'held', 'full')),
    until INTEGER,
    why   TEXT,
    since INTEGER NOT NULL,
    -- Rests it asked for in a row.
    rests INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE watches (
    path       BLOB PRIMARY KEY,
    first_seen INTEGER NOT NULL,
    configured INTEGER NOT NULL DEFAULT 1,
    state      TEXT NOT NULL DEFAULT 'starting',
    events     TEXT NOT NULL DEFAULT 'auto',
    last_scan  INTEGER,
    settling   INTEGER NOT NULL DEFAULT 0,
    gaps_seen  INTEGER NOT NULL DEFAULT 0,
    why        TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Counted as jobs move, so that `status` never counts a million rows. Every host of a route has a row for every state.
CREATE TABLE totals (
    host  TEXT NOT NULL,
    state TEXT NOT NULL,
    jobs  INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (host, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER jobs_made AFTER INSERT ON jobs BEGIN
    UPDATE totals SET jobs = jobs + 1, bytes = bytes + new.size WHERE host = new.host AND state = new.state;
END;

CREATE TRIGGER jobs_moved AFTER UPDATE OF state ON jobs WHEN new.state IS NOT old.state BEGIN
    UPDATE totals SET jobs = jobs - 1, bytes = bytes - old.size WHERE host = old.host AND state = old.state;
    UPDATE totals SET jobs = jobs + 1, bytes = bytes + new.size WHERE host = new.host AND state = new.state;
END;
