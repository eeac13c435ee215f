-- A bucket of a rate limiter, in microseconds of the server's clock; cluster/slots.py says how it is read.
-- Unlogged: a crash of the server loses it, and a bucket that was lost starts empty. One row is updated in place.
CREATE UNLOGGED TABLE {schema}.buckets (
    name text PRIMARY KEY,
    begin_at bigint,
    arrival bigint,
    seen bigint
) WITH (fillfactor = 50);

-- Gives slots of a bucket, as the script for Redis does.
CREATE FUNCTION {schema}.take_slots(
    bucket text,
    step bigint,
    tolerance bigint,
    guard bigint,
    max_wait bigint,
    pause bigint,
    reset integer,
    wanted integer,
    OUT granted integer,
    OUT ahead bigint,
    OUT paused bigint,
    OUT beginning bigint
) LANGUAGE plpgsql AS $$
DECLARE
    arrived bigint;
    seen_at bigint;
    clock bigint;
    soonest bigint;
BEGIN
    -- Its own error on a replica would be that unlogged tables can't be read there.
    IF pg_is_in_recovery() THEN
        RAISE EXCEPTION 'recovery is in progress' USING ERRCODE = 'read_only_sql_transaction';
    END IF;
    PERFORM set_config('synchronous_commit', 'off', true);
    -- A client that gave up must not leave a process of the server waiting behind it.
    PERFORM set_config('lock_timeout', '1s', true);
    SELECT b.begin_at, b.arrival, b.seen INTO beginning, arrived, seen_at
        FROM {schema}.buckets b WHERE b.name = bucket FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO {schema}.buckets (name) VALUES (bucket) ON CONFLICT (name) DO NOTHING;
        SELECT b.begin_at, b.arrival, b.seen INTO beginning, arrived, seen_at
            FROM {schema}.buckets b WHERE b.name = bucket FOR UPDATE;
    END IF;
    -- read after the row was locked: otherwise it could go back between two requests
    clock := floor(extract(epoch FROM clock_timestamp()) * 1000000);
    soonest := clock + guard + step;
    IF beginning IS NULL THEN
        beginning := soonest;
        arrived := soonest + tolerance;
    ELSIF clock < seen_at OR (reset = 1 AND beginning <= clock) THEN
        beginning := greatest(soonest, clock + beginning - greatest(clock, seen_at));
        arrived := beginning + tolerance;
    END IF;
    IF pause > 0 AND clock + pause > beginning THEN
        beginning := greatest(soonest, clock + pause);
        arrived := beginning + tolerance;
    END IF;
    granted := 0;
    ahead := greatest(clock, beginning, arrived - tolerance) - clock;
    IF ahead <= max_wait AND beginning <= clock THEN
        granted := wanted;
        arrived := greatest(arrived, clock);
        ahead := arrived - tolerance - clock;
        arrived := arrived + wanted * step;
    END IF;
    paused := beginning - clock;
    UPDATE {schema}.buckets b SET begin_at = beginning, arrival = arrived, seen = clock WHERE b.name = bucket;
END
$$;
