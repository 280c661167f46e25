-- What waits for an administrator is asked for again and again, and is hardly ever anything.
CREATE INDEX jobs_parked_idx ON loggia.jobs (updated_at) WHERE state = 'parked';
