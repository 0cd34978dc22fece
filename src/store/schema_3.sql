-- Every claim has an owner, and so has what a daemon notes for itself. What was here before belongs to daemon 1, which is the one that a
-- queue in a local file is opened for.

-- The daemon that claimed the job last, or made it where nobody has claimed it yet.
ALTER TABLE jobs ADD COLUMN owner INTEGER NOT NULL DEFAULT 1;
