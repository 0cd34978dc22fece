-- Since when a job's failures have gone on without progress, in milliseconds since the Unix epoch; NULL while there are none.
ALTER TABLE jobs ADD COLUMN failing_since INTEGER;

-- What the host has told about the stored file: that it checked a digest, its size, or nothing but a word of success.
ALTER TABLE jobs ADD COLUMN proof TEXT CHECK (proof IN ('digest', 'size', 'word'));

-- Whether the watch saw a writer close this version of the file.
ALTER TABLE jobs ADD COLUMN close_seen INTEGER NOT NULL DEFAULT 0;

-- These two kinds never had an outcome without a digest that the host had checked.
UPDATE jobs SET proof = 'digest'
WHERE state IN ('uploaded', 'done') AND host IN (SELECT name FROM hosts WHERE kind IN ('koodrive', '4shared'));
