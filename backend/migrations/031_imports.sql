-- A model has two names that nobody else may have, and an upload may be for any of its versions.

ALTER TABLE loggia.model_names DROP CONSTRAINT model_names_model_id_key;
CREATE INDEX model_names_model_idx ON loggia.model_names (model_id);

ALTER TABLE loggia.uploads ADD COLUMN model_version text;
UPDATE loggia.uploads SET model_version = '0.0.1' WHERE model_id IS NOT NULL;

UPDATE loggia.jobs SET payload = payload || '{"version": "0.0.1"}'
    WHERE kind IN ('import', 'import-cleanup');

-- Credentials for other systems. The events about them say everything but the secret.
CREATE TABLE loggia.connections (
    connection_id uuid PRIMARY KEY,
    name          text        NOT NULL,
    kind          text        NOT NULL,
    endpoint      text        NOT NULL,
    -- Encrypted with a key made from the server's; NULL where the other system wants none.
    sealed_secret bytea,
    saved_by      text        NOT NULL,
    saved_at      timestamptz NOT NULL DEFAULT now()
);
