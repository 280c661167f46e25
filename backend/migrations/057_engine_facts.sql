-- What an installed engine says about itself, as the deploy worker of a server has asked it.
CREATE TABLE loggia.engine_facts (
    server        text        NOT NULL,
    engine        text        NOT NULL,
    -- cpu or gpu: an engine has a build for each.
    accelerator   text        NOT NULL,
    version       text        NOT NULL,
    options       jsonb       NOT NULL,
    quantizations jsonb       NOT NULL,
    reported_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (server, engine, accelerator)
);
