-- The event store's own table (made in the shape that the event-sourcing library expects), and
-- what is written in the same transaction as events.

CREATE TYPE loggia.stored_event_uuid AS (
    originator_id      uuid,
    originator_version bigint,
    topic              text,
    state              bytea
);

CREATE TABLE loggia.loggia_events (
    originator_id      uuid   NOT NULL,
    originator_version bigint NOT NULL,
    topic              text,
    state              bytea,
    -- The position: assigned under the table's lock, so that there are no gaps.
    notification_id    bigint NOT NULL,
    PRIMARY KEY (originator_id, originator_version)
) WITH (
    autovacuum_vacuum_threshold = 100000000,
    autovacuum_vacuum_scale_factor = 0.5,
    autovacuum_analyze_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.01
);
CREATE UNIQUE INDEX loggia_events_notification_id_idx ON loggia.loggia_events (notification_id);

-- A command that was carried out: its repetition answers as the first did.
CREATE TABLE loggia.commands (
    actor             text        NOT NULL,
    idempotency_key   text        NOT NULL,
    fingerprint       text        NOT NULL,
    aggregate_id      uuid        NOT NULL,
    aggregate_version bigint      NOT NULL,
    result            jsonb       NOT NULL,
    -- What was shown once, encrypted, for repetitions within a day.
    sealed            bytea,
    at                timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, idempotency_key)
);
CREATE INDEX commands_sealed_idx ON loggia.commands (at) WHERE sealed IS NOT NULL;

CREATE TABLE loggia.model_names (
    name_key text PRIMARY KEY,
    model_id uuid NOT NULL UNIQUE
);
