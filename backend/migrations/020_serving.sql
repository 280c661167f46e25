-- What the deploy worker wants, holds and sees. Leases and ages follow this database's clock alone.

-- One row for each deployment that somebody has to look after.
CREATE TABLE loggia.serving_targets (
    deployment_id uuid PRIMARY KEY,
    model_id      uuid    NOT NULL,
    -- Position of the newest event that changed what is wanted.
    position      bigint  NOT NULL,
    -- That event and its chain, for what the worker records.
    correlation_id uuid   NOT NULL,
    event_id      uuid    NOT NULL,
    -- Nothing runs and nothing is wanted.
    settled       boolean NOT NULL DEFAULT false,
    worker        text,
    -- The fencing number: grows whenever the lease changes hands.
    fence         bigint  NOT NULL DEFAULT 0,
    lease_until   timestamptz
);
CREATE INDEX serving_targets_open_idx ON loggia.serving_targets (position) WHERE NOT settled;

-- One row for each engine process of a revision that has not come to its end.
CREATE TABLE loggia.replicas (
    replica_id    uuid PRIMARY KEY,
    deployment_id uuid        NOT NULL,
    model_id      uuid        NOT NULL,
    revision      int         NOT NULL,
    -- Which of the revision's replicas it is; a replacement has its predecessor's slot.
    slot          int         NOT NULL,
    server        text        NOT NULL,
    -- starting, ready, draining or ended.
    state         text        NOT NULL,
    endpoint      text        NOT NULL,
    -- Its start stands in the event store.
    announced     boolean     NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL DEFAULT now(),
    ready_at      timestamptz,
    draining_at   timestamptz,
    ended_at      timestamptz,
    -- It ended without being asked to.
    crashed       boolean     NOT NULL DEFAULT false,
    end_reason    text        NOT NULL DEFAULT '',
    end_remedy    text        NOT NULL DEFAULT '',
    log_tail      jsonb       NOT NULL DEFAULT '[]'
);
CREATE INDEX replicas_deployment_idx ON loggia.replicas (deployment_id, revision, slot);
