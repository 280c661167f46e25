-- What consumers remember beside their offsets, and the relay's last position for each partition.

-- Every event up to `position` has been seen; `ahead` are positions above it, seen on other
-- partitions, that do not join it yet.
CREATE TABLE loggia.consumer_watermark (
    consumer text PRIMARY KEY,
    position bigint   NOT NULL,
    ahead    bigint[] NOT NULL
);

DROP TABLE loggia.relay_progress;
CREATE TABLE loggia.relay_progress (
    topic     text   NOT NULL,
    partition int    NOT NULL,
    -- The last event of this partition that the broker has confirmed.
    position  bigint NOT NULL,
    PRIMARY KEY (topic, partition)
);
