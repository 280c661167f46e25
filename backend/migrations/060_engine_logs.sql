-- What engines have said, kept when they are gone: of each replica the last lines, of each model
-- the last replicas. Chunks are numbered by their first line.
CREATE TABLE loggia.engine_logs (
    replica_id uuid        NOT NULL,
    first_line bigint      NOT NULL,
    model_id   uuid        NOT NULL,
    revision   int         NOT NULL,
    lines      text[]      NOT NULL,
    -- How far the engine's own log had been read, in bytes.
    read_bytes bigint      NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (replica_id, first_line)
);
CREATE INDEX engine_logs_model_idx ON loggia.engine_logs (model_id, replica_id);
