-- What the id of a session came from: its text, and the other columns of its row in a table, after a checksum.
-- Not a column of the sessions, which are written again with each change of their state.
CREATE TABLE {schema}.inputs (
    seq bigint PRIMARY KEY,
    input bytea NOT NULL
);

-- The names of the inputs' columns of a budget, as a list in JSON, in the order in which they came.
CREATE TABLE {schema}.input_columns (
    budget integer PRIMARY KEY,
    names text NOT NULL
);

-- Add the inputs of sessions. One that is there stays; a session that was erased gets none. The caller has added
-- the sessions in the same transaction, and so holds the lock of the budget.
CREATE FUNCTION {schema}.add_inputs(p_budget integer, p_ids text[], p_inputs bytea[]) RETURNS void
LANGUAGE sql SET search_path = {schema}, pg_temp SET jit = off SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off AS $$
    INSERT INTO inputs (seq, input)
    SELECT s.seq, given.input
    FROM unnest(p_ids, p_inputs) WITH ORDINALITY AS given (id, input, place)
    JOIN sessions s ON s.budget = p_budget AND s.session_id = given.id
    ORDER BY given.place
    ON CONFLICT DO NOTHING;
$$;

-- Erase a session from a budget, never to be added again; return whether it was there.
CREATE OR REPLACE FUNCTION {schema}.purge(p_budget integer, p_session_id text, p_mark text) RETURNS boolean
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
    DELETE FROM inputs WHERE seq = v_seq;
    -- the claim first, as everywhere: who marks it as sent meanwhile has it, and wants the budget next
    DELETE FROM claims WHERE seq = v_seq RETURNING sent INTO v_sent;
    UPDATE budgets SET at_risk = at_risk + v_sent WHERE id = p_budget AND v_sent > 0;
    RETURN true;
END $$;
