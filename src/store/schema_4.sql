-- How the digest is computed, which was not said before, but shows in its length.
ALTER TABLE digests ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'sha256';
UPDATE digests SET algorithm = 'md5' WHERE length(hex) = 32;

-- The inner states of the hash function where parts begin, for a host that wants them: words of four bytes, each with its lowest byte first.
ALTER TABLE digests RENAME COLUMN borders TO mid_states;

-- The shape that the host had when the session was opened, as JSON; NULL where an older version opened it.
ALTER TABLE uploads ADD COLUMN shape TEXT;
