-- One round trip for all commands that arrive together: takes the lock, compares what each has
-- relied on with what is stored, writes those that still hold, and tells what was found.
--
-- `changes` has lists of objects, each with the number `n` of its command:
--   reliedOn {n, id, version}, keys {n, actor, key}, events {n, id, version, topic, state},
--   commands {n, actor, key, fingerprint, aggregateId, aggregateVersion, result, sealed}.
-- A command is passed over when an aggregate has another version (0: there is none), or when its
-- key is known. With `locked` off nothing may be there to be written.
CREATE FUNCTION loggia.write_changes(changes json, locked boolean) RETURNS json
LANGUAGE plpgsql AS $$
DECLARE
    outdated      int[];
    repeated      int[];
    stored        json;
    earlier       json;
    last_position bigint := 0;
    found_events  bigint;
    new_secrets   bigint;
BEGIN
    IF locked THEN
        -- Every statement below sees what was committed before the lock was granted.
        LOCK TABLE loggia.loggia_events IN EXCLUSIVE MODE;
        SELECT COALESCE(max(notification_id), 0) INTO last_position FROM loggia.loggia_events;
    END IF;

    SELECT array_agg(relied.n) FILTER (WHERE COALESCE(last.version, 0) <> relied.version),
           json_agg(json_build_object('id', relied.id, 'version', last.version,
                                      'position', last.position))
               FILTER (WHERE last.version IS NOT NULL)
    INTO outdated, stored
    FROM json_to_recordset(changes -> 'reliedOn') AS relied(n int, id uuid, version bigint)
    LEFT JOIN LATERAL (
        SELECT originator_version AS version, notification_id AS position
        FROM loggia.loggia_events
        WHERE originator_id = relied.id
        ORDER BY originator_version DESC LIMIT 1
    ) AS last ON true;

    SELECT array_agg(keys.n),
           json_agg(json_build_object(
               'actor', known.actor, 'key', known.idempotency_key,
               'fingerprint', known.fingerprint, 'aggregateId', known.aggregate_id,
               'aggregateVersion', known.aggregate_version, 'result', known.result,
               'sealed', convert_from(known.sealed, 'UTF8'),
               'position', (SELECT notification_id FROM loggia.loggia_events
                            WHERE originator_id = known.aggregate_id
                            AND originator_version = known.aggregate_version)))
    INTO repeated, earlier
    FROM json_to_recordset(changes -> 'keys') AS keys(n int, actor text, key text),
    LATERAL (
        SELECT * FROM loggia.commands
        WHERE actor = keys.actor AND idempotency_key = keys.key LIMIT 1
    ) AS known;

    IF locked THEN
        outdated := COALESCE(outdated, '{}') || COALESCE(repeated, '{}');

        INSERT INTO loggia.loggia_events
            (originator_id, originator_version, topic, state, notification_id)
        SELECT id, version, topic, convert_to(state, 'UTF8'),
               last_position + row_number() OVER (ORDER BY place)
        FROM ROWS FROM (
            json_to_recordset(changes -> 'events')
            AS (n int, id uuid, version bigint, topic text, state text)
        ) WITH ORDINALITY AS event(n, id, version, topic, state, place)
        WHERE n <> ALL (outdated);
        GET DIAGNOSTICS found_events = ROW_COUNT;
        IF found_events > 0 THEN
            NOTIFY loggia_events;
        END IF;

        WITH written AS (
            INSERT INTO loggia.commands (actor, idempotency_key, fingerprint, aggregate_id,
                                         aggregate_version, result, sealed)
            SELECT actor, key, fingerprint, "aggregateId", "aggregateVersion", result,
                   convert_to(sealed, 'UTF8')
            FROM json_to_recordset(changes -> 'commands')
                AS command(n int, actor text, key text, fingerprint text, "aggregateId" uuid,
                           "aggregateVersion" bigint, result jsonb, sealed text)
            WHERE n <> ALL (outdated)
            RETURNING sealed
        )
        SELECT count(sealed) INTO new_secrets FROM written;
        IF new_secrets > 0 THEN
            UPDATE loggia.commands SET sealed = NULL
            WHERE sealed IS NOT NULL AND at < now() - interval '1 day';
        END IF;
    END IF;

    RETURN json_build_object('lastPosition', last_position, 'stored', stored, 'earlier', earlier);
END
$$;
