-- Whether a job of the file was removed from the history: without any job it would be taken for one that was there before its watch.
ALTER TABLE files ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;

-- Whether a person sent the file by name: it goes to the host whatever the watches say.
ALTER TABLE jobs ADD COLUMN one_off INTEGER NOT NULL DEFAULT 0;
