-- Where replicas run: registered servers, machines of deploy workers, and what was read off them.

-- Written with the events about a server, and so never behind them.
CREATE TABLE loggia.servers (
    server_id          uuid PRIMARY KEY,
    name               text        NOT NULL UNIQUE,
    pool               text        NOT NULL,
    address            text        NOT NULL,
    grpc_address       text        NOT NULL,
    engine             text        NOT NULL,
    engine_version     text        NOT NULL,
    capacity           jsonb       NOT NULL,
    -- Encrypted with a key made from the platform's; NULL where the server wants none.
    sealed_credentials bytea,
    draining           boolean     NOT NULL DEFAULT false,
    -- Given up at this moment; NULL while it answers.
    lost_at            timestamptz,
    -- From here on it is telemetry: the last look, the last answer, and what was wrong.
    checked_at         timestamptz,
    answered_at        timestamptz,
    problem            text        NOT NULL DEFAULT ''
);
CREATE INDEX servers_pool_idx ON loggia.servers (pool);

-- One row for each deploy worker's machine and data directory, renewed while it lives.
CREATE TABLE loggia.machines (
    -- As in loggia.replicas.
    server     text PRIMARY KEY,
    host       text        NOT NULL,
    cpu_count  int         NOT NULL,
    memory_gib double precision NOT NULL,
    -- [{"uuid", "index", "name", "memory_gib"}]
    gpus       jsonb       NOT NULL,
    driver     text        NOT NULL,
    -- [{"name", "version"}] of the environments that are complete.
    engines    jsonb       NOT NULL,
    -- In words, how replicas are bounded here.
    bounds     text        NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now()
);

-- Load over time: every row of the last hour, then one a minute, for one day.
CREATE TABLE loggia.readings (
    server text        NOT NULL,
    at     timestamptz NOT NULL DEFAULT now(),
    load   jsonb       NOT NULL,
    PRIMARY KEY (server, at)
);

ALTER TABLE loggia.replicas
    -- As in the deploy configuration.
    ADD COLUMN engine     text NOT NULL DEFAULT 'vllm',
    -- What the replica was promised: memory of the machine, and parts of GPUs
    -- [{"uuid", "index", "name", "memory_gib", "total_gib"}].
    ADD COLUMN memory_gib double precision NOT NULL DEFAULT 0,
    ADD COLUMN devices    jsonb NOT NULL DEFAULT '[]',
    -- On a server that runs already: the name to which it answers, once it does.
    ADD COLUMN served_name text NOT NULL DEFAULT '';
CREATE INDEX replicas_server_idx ON loggia.replicas (server) WHERE state <> 'ended';
