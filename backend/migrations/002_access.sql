-- Secrets of people, kept outside the events.

CREATE TABLE loggia.credentials (
    user_id       uuid PRIMARY KEY,
    username      text NOT NULL UNIQUE,
    role          text NOT NULL,
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE loggia.sessions (
    sha256     text PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES loggia.credentials ON DELETE CASCADE,
    csrf       text        NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE loggia.access_tokens (
    token_id     uuid PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES loggia.credentials ON DELETE CASCADE,
    name         text        NOT NULL,
    sha256       text        NOT NULL UNIQUE,
    prefix       text        NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);

-- Failed attempts to sign in, by user name and by address.
CREATE TABLE loggia.sign_in_failures (
    subject text        NOT NULL,
    at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failures_idx ON loggia.sign_in_failures (subject, at);
