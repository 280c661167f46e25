-- Uploads, jobs, and what consumers of the topic remember.

CREATE TABLE loggia.uploads (
    id           uuid PRIMARY KEY,
    owner        text        NOT NULL,
    file_name    text        NOT NULL,
    size_bytes   bigint      NOT NULL,
    offset_bytes bigint      NOT NULL DEFAULT 0,
    -- [{"offset": ..., "size": ...}], in order and without holes.
    parts        jsonb       NOT NULL DEFAULT '[]',
    model_id     uuid,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    completed_at timestamptz
);
CREATE INDEX uploads_expires_idx ON loggia.uploads (expires_at);

CREATE TABLE loggia.jobs (
    id               uuid PRIMARY KEY,
    kind             text        NOT NULL,
    model_id         uuid        NOT NULL,
    payload          jsonb       NOT NULL,
    -- queued, running, done, failed, cancelled or parked.
    state            text        NOT NULL DEFAULT 'queued',
    -- The fencing number: grows with every claim.
    attempt          int         NOT NULL DEFAULT 0,
    worker           text,
    lease_until      timestamptz,
    cancel_requested boolean     NOT NULL DEFAULT false,
    journal          jsonb       NOT NULL DEFAULT '{}',
    error            text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_claimable_idx ON loggia.jobs (kind, created_at) WHERE state IN ('queued', 'running');
CREATE INDEX jobs_model_idx ON loggia.jobs (model_id);

-- How far a consumer has come on each partition; written in the transaction of its rows.
CREATE TABLE loggia.consumer_progress (
    consumer    text   NOT NULL,
    partition   int    NOT NULL,
    next_offset bigint NOT NULL,
    position    bigint NOT NULL,
    PRIMARY KEY (consumer, partition)
);

CREATE TABLE loggia.dead_letters (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    consumer      text        NOT NULL,
    position      bigint,
    partition     int         NOT NULL,
    record_offset bigint      NOT NULL,
    partition_key text        NOT NULL,
    event_type    text,
    error         text        NOT NULL,
    record_key    bytea,
    record_value  bytea,
    headers       jsonb       NOT NULL,
    parked_at     timestamptz NOT NULL DEFAULT now(),
    resolved_at   timestamptz
);
CREATE INDEX dead_letters_open_idx ON loggia.dead_letters (consumer, partition_key)
    WHERE resolved_at IS NULL;

-- How far the relay has come.
CREATE TABLE loggia.relay_progress (
    topic    text PRIMARY KEY,
    position bigint NOT NULL
);
