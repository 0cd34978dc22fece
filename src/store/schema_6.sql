-- Whether a job of the file was removed from the history: without any job it would be taken for one that was there before its watch.
ALTER TABLE files ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
