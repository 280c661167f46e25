-- What answers took, summed up. Unlike a projection's tables, these cannot be made again from the
-- event store: the records come from the gateway and leave the topic after a while. Back them up.

CREATE TABLE loggia.usage_days (
    -- In UTC, by the time at which the answer ended.
    day                      date   NOT NULL,
    model_id                 uuid   NOT NULL,
    -- Empty where the playground asked.
    key_id                   text   NOT NULL,
    requests                 bigint NOT NULL,
    -- Those with a status of 400 and above.
    failed                   bigint NOT NULL,
    -- Those whose tokens no engine has reported.
    estimated                bigint NOT NULL,
    input_tokens             bigint NOT NULL,
    output_tokens            bigint NOT NULL,
    milliseconds             bigint NOT NULL,
    engine_microseconds      bigint NOT NULL,
    accelerator_microseconds bigint NOT NULL,
    PRIMARY KEY (day, model_id, key_id)
);
CREATE INDEX usage_days_model_idx ON loggia.usage_days (model_id, day);

-- Which records are in the sums, for each process of the gateway that ever sent one.
CREATE TABLE loggia.usage_sources (
    source   text PRIMARY KEY,
    -- The highest number that was seen.
    sequence bigint      NOT NULL,
    -- Numbers below it that were not: [[first, last], ...], in order.
    missing  jsonb       NOT NULL DEFAULT '[]',
    -- Records that the process says it could not keep.
    lost     bigint      NOT NULL DEFAULT 0,
    first_at timestamptz NOT NULL,
    last_at  timestamptz NOT NULL
);

-- Where reading goes on, and which record stands just before, so that another topic of the same name
-- (a broker that lost its memory) is recognised.
CREATE TABLE loggia.usage_progress (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    next_offset bigint      NOT NULL DEFAULT 0,
    last_record text        NOT NULL DEFAULT '',
    updated_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO loggia.usage_progress DEFAULT VALUES;
