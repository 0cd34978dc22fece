-- The same index. Written as a list, its condition was computed with a table of its own for every row that changes.
DROP INDEX jobs_live;
CREATE UNIQUE INDEX jobs_live ON jobs (file, host, version)
    WHERE state = 'queued' OR state = 'uploading' OR state = 'waiting' OR state = 'held' OR state = 'paused';
