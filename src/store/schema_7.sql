-- Whether the job is done, and its after-action due, only once this has succeeded. What a hook gathers is told later, and nothing waits
-- for it.
ALTER TABLE deliveries ADD COLUMN waited_for INTEGER NOT NULL DEFAULT 0;
UPDATE deliveries SET waited_for = 1 WHERE event IN ('done', 'after');

-- Why what no job waits for failed last; NULL before that.
ALTER TABLE deliveries ADD COLUMN trouble TEXT;

-- What is still to be told of what has happened, and keeps no job from being done.
CREATE INDEX deliveries_to_tell ON deliveries (hook, next_try) WHERE waited_for = 0 AND event IN ('done', 'failed', 'held');
