-- What the gateway is asked for and the deploy worker scales by, and replicas that come and go.

-- One row for each gateway process and model; of those that are silent for long, nothing counts.
-- Unlogged: after a crash of the database the gateways write it anew within a second.
CREATE UNLOGGED TABLE loggia.demand (
    model_id   uuid        NOT NULL,
    gateway    uuid        NOT NULL,
    -- Requests at engines, on average since the process wrote before, rounded up.
    running    int         NOT NULL,
    -- Requests that wait for a replica, likewise.
    waiting    int         NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, gateway)
);

-- How many replicas its slot had before it: part of what its id follows from.
ALTER TABLE loggia.replicas ADD COLUMN generation int NOT NULL DEFAULT 0;
UPDATE loggia.replicas AS r SET generation = n.generation
FROM (
    SELECT replica_id,
           row_number() OVER (PARTITION BY deployment_id, revision, slot ORDER BY created_at) - 1
               AS generation
    FROM loggia.replicas
) AS n
WHERE n.replica_id = r.replica_id;
