-- The sessions, their answers, and who fetches what at the moment. See docs/cluster.md.

ALTER TABLE {schema}.budgets
    ADD COLUMN id integer GENERATED ALWAYS AS IDENTITY UNIQUE,
    ADD COLUMN secret text,
    ADD COLUMN at_risk bigint NOT NULL DEFAULT 0;

-- The organisation of a key that was asked for once, by the key's fingerprint.
CREATE TABLE {schema}.key_owners (
    key text PRIMARY KEY,
    organisation text NOT NULL
);

-- The sessions of a budget, numbered in the order in which they were added.
-- state: 0 pending, 1 done, 2 failed permanently, 3 failed for now.
CREATE TABLE {schema}.sessions (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    budget integer NOT NULL,
    session_id text NOT NULL,
    state smallint NOT NULL DEFAULT 0,
    UNIQUE (budget, session_id)
);
CREATE INDEX sessions_pending ON {schema}.sessions (budget, seq) WHERE state = 0;
CREATE INDEX sessions_unfinished ON {schema}.sessions (budget, state) WHERE state > 1;

-- The responses, compressed with a checksum.
CREATE TABLE {schema}.answers (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    attempts integer NOT NULL,
    body bytea NOT NULL
);
ALTER TABLE {schema}.answers ALTER COLUMN body SET STORAGE EXTERNAL;

-- Why the latest call for a session failed.
CREATE TABLE {schema}.failures (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    attempts integer NOT NULL,
    error text NOT NULL,
    status integer,
    code text,
    message text NOT NULL,
    may_have_cost boolean NOT NULL,
    permanent boolean NOT NULL,
    tries integer NOT NULL DEFAULT 1,
    retry_at timestamptz,
    body bytea
);
CREATE INDEX failures_retried ON {schema}.failures (retry_at) WHERE retry_at IS NOT NULL;

-- Fingerprints of sessions that were erased and are never added again.
CREATE TABLE {schema}.purged (
    budget integer NOT NULL,
    fingerprint text NOT NULL,
    PRIMARY KEY (budget, fingerprint)
);

-- The processes at work. One whose lease has expired has lost its claims.
CREATE TABLE {schema}.workers (
    id uuid PRIMARY KEY,
    expires timestamptz NOT NULL
);

-- The sessions that a process has taken: sent = 0 is free to lose, more is counted as spent.
CREATE TABLE {schema}.claims (
    seq bigint PRIMARY KEY,
    budget integer NOT NULL,
    worker uuid NOT NULL,
    number bigint NOT NULL,
    sent smallint NOT NULL DEFAULT 0
);
CREATE INDEX claims_worker ON {schema}.claims (worker);

-- The functions below look up rows by their keys. Their plans are made while a table may be empty and kept
-- when it has millions of rows, so nothing else may be planned: no scans of whole tables, and no compilation.

-- Remove the processes whose lease has expired, and their claims. After a restart everybody has one lease
-- more: nobody could renew it while the server was down.
CREATE FUNCTION {schema}.reap(p_lease double precision) RETURNS void LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
DECLARE
    v_dead uuid[];
BEGIN
    IF NOT EXISTS (SELECT FROM workers WHERE expires < clock_timestamp())
            OR clock_timestamp() < pg_postmaster_start_time() + make_interval(secs => p_lease) THEN
        RETURN;
    END IF;
    WITH expired AS (
        SELECT id FROM workers WHERE expires < clock_timestamp() ORDER BY id FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM workers WHERE id IN (SELECT id FROM expired) RETURNING id
    )
    SELECT array_agg(id) INTO v_dead FROM gone;
    IF v_dead IS NOT NULL THEN
        PERFORM abandon(v_dead);
    END IF;
END $$;

-- Free all claims of some processes; what they had sent stays spent, and is at risk.
CREATE FUNCTION {schema}.abandon(p_workers uuid[]) RETURNS void LANGUAGE sql
SET search_path = {schema}, pg_temp AS $$
    WITH freed AS (
        DELETE FROM claims WHERE worker = ANY (p_workers) RETURNING budget, sent
    ), lost AS (
        SELECT budget, sum(sent) AS sent FROM freed GROUP BY budget HAVING sum(sent) > 0
    )
    UPDATE budgets b SET at_risk = at_risk + lost.sent FROM lost WHERE b.id = lost.budget;
$$;

-- Renew the lease of a process at work, if it has expired and nobody has noticed. False: it is gone.
CREATE FUNCTION {schema}.is_at_work(p_worker uuid, p_lease double precision) RETURNS boolean LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
    PERFORM FROM workers WHERE id = p_worker AND expires > clock_timestamp() FOR KEY SHARE;
    IF NOT FOUND THEN
        UPDATE workers SET expires = clock_timestamp() + make_interval(secs => p_lease) WHERE id = p_worker;
    END IF;
    RETURN FOUND;
END $$;

-- Renew the lease of a process, and remove those of others that have expired. False: it has expired.
CREATE FUNCTION {schema}.beat(p_worker uuid, p_lease double precision) RETURNS boolean LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
DECLARE
    v_found boolean;
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    UPDATE workers SET expires = clock_timestamp() + make_interval(secs => p_lease) WHERE id = p_worker;
    v_found := FOUND;
    PERFORM reap(p_lease);
    RETURN v_found;
END $$;

-- Add sessions that are neither known nor erased; return how many are new.
CREATE FUNCTION {schema}.add_sessions(p_budget integer, p_ids text[], p_marks text[]) RETURNS integer
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    v_new integer;
BEGIN
    -- not beside a purge, nor beside another one, which may have the same ids in another order
    PERFORM pg_advisory_xact_lock(5067837, p_budget);
    INSERT INTO sessions (budget, session_id)
    SELECT p_budget, given.id
    FROM unnest(p_ids, p_marks) WITH ORDINALITY AS given (id, mark, place)
    WHERE NOT EXISTS (SELECT FROM purged p WHERE p.budget = p_budget AND p.fingerprint = given.mark)
    ORDER BY given.place
    ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS v_new = ROW_COUNT;
    RETURN v_new;
END $$;

-- Take sessions for a process, and return what is known of each. No row at all: its lease has expired. A claim
-- of its own with another number is one whose end is not saved yet; it has to be waited for as any other.
CREATE FUNCTION {schema}.take(
    p_budget integer, p_worker uuid, p_number bigint, p_lease double precision, p_ids text[], p_marks text[]
) RETURNS TABLE (
    session_id text, seq bigint, is_mine boolean, at timestamptz, body bytea,
    failed_at timestamptz, error text, status integer, code text, message text
)
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_new text[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- a client that gave up must leave no process of the server behind, and no claim that it doesn't know
    PERFORM set_config('lock_timeout', (p_lease * 250)::integer || 'ms', true);
    IF NOT is_at_work(p_worker, p_lease) THEN
        RETURN;
    END IF;
    SELECT array_agg(given.id) INTO v_new FROM unnest(p_ids) AS given (id)
    WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.budget = p_budget AND s.session_id = given.id);
    IF v_new IS NOT NULL THEN
        PERFORM add_sessions(p_budget, p_ids, p_marks);
    END IF;
    -- behind the lock of the budget, as in a purge
    PERFORM reap(p_lease);
    INSERT INTO claims (seq, budget, worker, number)
    SELECT s.seq, p_budget, p_worker, p_number FROM sessions s
    WHERE s.budget = p_budget AND s.session_id = ANY (p_ids) AND s.state IN (0, 3)
    ORDER BY s.seq
    ON CONFLICT DO NOTHING;
    -- done meanwhile by a process that had lost its claim
    DELETE FROM claims c USING sessions s
    WHERE s.budget = p_budget AND s.session_id = ANY (p_ids) AND s.state NOT IN (0, 3)
        AND c.seq = s.seq AND c.worker = p_worker AND c.number = p_number;
    RETURN QUERY
    SELECT given.id, s.seq, c.worker = p_worker AND c.number = p_number, a.at, a.body,
        f.at, f.error, f.status, f.code, f.message
    FROM unnest(p_ids) AS given (id)
    LEFT JOIN sessions s ON s.budget = p_budget AND s.session_id = given.id
    LEFT JOIN claims c ON c.seq = s.seq
    LEFT JOIN answers a ON a.seq = s.seq AND s.state = 1
    LEFT JOIN failures f ON f.seq = s.seq AND s.state = 2;
END $$;

-- Claim pending sessions beyond one for a process; behind all of them, those that failed some time ago.
CREATE FUNCTION {schema}.claim(
    p_budget integer, p_worker uuid, p_number bigint, p_lease double precision, p_after bigint,
    p_limit integer
) RETURNS TABLE (session_id text, seq bigint)
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
DECLARE
    v_seqs bigint[];
    v_more bigint[];
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    PERFORM set_config('lock_timeout', (p_lease * 250)::integer || 'ms', true);
    IF NOT is_at_work(p_worker, p_lease) THEN
        RETURN QUERY SELECT NULL::text, NULL::bigint;
        RETURN;
    END IF;
    v_seqs := ARRAY(
        SELECT s.seq FROM sessions s
        WHERE s.budget = p_budget AND s.state = 0 AND s.seq > p_after
            AND NOT EXISTS (SELECT FROM claims c WHERE c.seq = s.seq)
        ORDER BY s.seq LIMIT p_limit FOR NO KEY UPDATE OF s SKIP LOCKED
    );
    IF cardinality(v_seqs) = 0 AND p_after = 0 THEN
        v_seqs := ARRAY(
            SELECT s.seq FROM failures f JOIN sessions s ON s.seq = f.seq
            WHERE f.retry_at <= clock_timestamp() AND s.budget = p_budget AND s.state = 3
                AND NOT EXISTS (SELECT FROM claims c WHERE c.seq = s.seq)
            ORDER BY f.retry_at LIMIT p_limit FOR NO KEY UPDATE OF s SKIP LOCKED
        );
    END IF;
    RETURN QUERY
    WITH claimed AS (
        INSERT INTO claims (seq, budget, worker, number)
        SELECT seq, p_budget, p_worker, p_number FROM unnest(v_seqs) AS given (seq)
        ON CONFLICT DO NOTHING RETURNING claims.seq
    )
    SELECT s.session_id, s.seq FROM claimed JOIN sessions s ON s.seq = claimed.seq ORDER BY s.seq;
END $$;

-- Mark claims of a process as sent, once more; return those that were still its own.
CREATE FUNCTION {schema}.mark_sent(p_worker uuid, p_seqs bigint[], p_numbers bigint[]) RETURNS SETOF bigint
LANGUAGE plpgsql SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    PERFORM FROM workers WHERE id = p_worker AND expires > clock_timestamp() FOR KEY SHARE;
    IF FOUND THEN
        RETURN QUERY
        UPDATE claims c SET sent = c.sent + 1
        FROM unnest(p_seqs, p_numbers) AS given (seq, number), sessions s
        WHERE c.seq = given.seq AND c.number = given.number AND c.worker = p_worker
            AND s.seq = c.seq AND s.state IN (0, 3)
        RETURNING c.seq;
    END IF;
END $$;

-- End claims of a process; return how many of the activations that were reserved for them were not spent, and
-- how many were spent, but possibly not charged. Those of claims that it has lost are counted already.
CREATE FUNCTION {schema}.end_claims(
    p_worker uuid, p_seqs bigint[], p_numbers bigint[], p_spent integer[], p_at_risk integer[],
    OUT unspent bigint, OUT at_risk bigint
) LANGUAGE sql
SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH ended AS (
        DELETE FROM claims c
        USING unnest(p_seqs, p_numbers, p_spent, p_at_risk) AS given (seq, number, spent, at_risk)
        WHERE c.seq = given.seq AND c.number = given.number AND c.worker = p_worker
        RETURNING greatest(c.sent - given.spent, 0) AS unspent, given.at_risk
    )
    SELECT coalesce(sum(ended.unspent), 0)::bigint, coalesce(sum(ended.at_risk), 0)::bigint FROM ended;
$$;

-- Save answers, as many seconds after they came. The first one of a session stays; a session that was erased
-- gets none.
CREATE FUNCTION {schema}.save_answers(
    p_budget integer, p_seqs bigint[], p_ages double precision[], p_attempts integer[], p_bodies bytea[]
) RETURNS void LANGUAGE sql
SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    WITH given AS (
        SELECT * FROM unnest(p_seqs, p_ages, p_attempts, p_bodies) AS given (seq, age, attempts, body)
    ), saved AS (
        UPDATE sessions s SET state = 1 FROM unnest(p_seqs) AS wanted (seq)
        WHERE s.seq = wanted.seq AND s.budget = p_budget AND s.state <> 1
        RETURNING s.seq
    ), cleared AS (
        DELETE FROM failures WHERE seq = ANY (p_seqs)
    )
    INSERT INTO answers (seq, at, attempts, body)
    SELECT given.seq, clock_timestamp() - make_interval(secs => given.age), given.attempts, given.body
    FROM given JOIN saved USING (seq);
$$;

-- Save why a call failed, unless another process has an answer.
CREATE FUNCTION {schema}.save_failure(
    p_budget integer, p_seq bigint, p_age double precision, p_attempts integer, p_error text,
    p_status integer, p_code text, p_message text, p_may_have_cost boolean, p_permanent boolean,
    p_pause double precision, p_most_tries integer, p_body bytea
) RETURNS void LANGUAGE plpgsql
SET search_path = {schema}, pg_temp AS $$
BEGIN
    UPDATE sessions SET state = CASE WHEN p_permanent THEN 2 ELSE 3 END
    WHERE seq = p_seq AND budget = p_budget AND state <> 1;
    IF FOUND THEN
        INSERT INTO failures AS f (
            seq, at, attempts, error, status, code, message, may_have_cost, permanent, retry_at, body
        ) VALUES (
            p_seq, clock_timestamp() - make_interval(secs => p_age), p_attempts, p_error, p_status, p_code,
            p_message, p_may_have_cost, p_permanent,
            CASE WHEN NOT p_permanent THEN clock_timestamp() + make_interval(secs => p_pause) END, p_body
        )
        ON CONFLICT (seq) DO UPDATE SET
            at = excluded.at, attempts = excluded.attempts, error = excluded.error,
            status = excluded.status, code = excluded.code, message = excluded.message,
            may_have_cost = f.may_have_cost OR excluded.may_have_cost, permanent = excluded.permanent,
            tries = f.tries + 1,
            retry_at = CASE WHEN NOT p_permanent AND f.tries + 1 < p_most_tries
                THEN clock_timestamp() + make_interval(secs => p_pause * 2 ^ least(f.tries, 10)) END,
            body = excluded.body;
    END IF;
END $$;

-- Erase a session from a budget, never to be added again; return whether it was there.
CREATE FUNCTION {schema}.purge(p_budget integer, p_session_id text, p_mark text) RETURNS boolean
LANGUAGE plpgsql SET search_path = {schema}, pg_temp AS $$
DECLARE
    v_seq bigint;
    v_sent bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(5067837, p_budget);
    INSERT INTO purged VALUES (p_budget, p_mark) ON CONFLICT DO NOTHING;
    DELETE FROM sessions WHERE budget = p_budget AND session_id = p_session_id RETURNING seq INTO v_seq;
    IF v_seq IS NULL THEN
        RETURN false;
    END IF;
    DELETE FROM answers WHERE seq = v_seq;
    DELETE FROM failures WHERE seq = v_seq;
    -- the claim first, as everywhere: who marks it as sent meanwhile has it, and wants the budget next
    DELETE FROM claims WHERE seq = v_seq RETURNING sent INTO v_sent;
    UPDATE budgets SET at_risk = at_risk + v_sent WHERE id = p_budget AND v_sent > 0;
    RETURN true;
END $$;
