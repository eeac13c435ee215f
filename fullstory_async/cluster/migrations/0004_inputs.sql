-- What the id of a session came from: its text, and the other columns of its row in a table, after a checksum.
-- Not a column of the sessions, which are written again with each change of their state. Erased with its session.
CREATE TABLE {schema}.inputs (
    seq bigint PRIMARY KEY REFERENCES {schema}.sessions ON DELETE CASCADE,
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
