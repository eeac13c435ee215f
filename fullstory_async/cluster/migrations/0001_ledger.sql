-- A named budget, of all machines together. It belongs to one organisation, once that is known.
CREATE TABLE {schema}.budgets (
    name text PRIMARY KEY,
    organisation text,
    max_activations bigint CHECK (max_activations >= 0),
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0)
);

-- What a key may spend in a month. The key is a fingerprint, never the key itself.
CREATE TABLE {schema}.keys (
    key text PRIMARY KEY,
    monthly_cap bigint CHECK (monthly_cap >= 0)
);

-- What a key has spent in a month in UTC, such as 2026-11.
CREATE TABLE {schema}.months (
    key text NOT NULL,
    month text NOT NULL,
    spent bigint NOT NULL DEFAULT 0 CHECK (spent >= 0),
    PRIMARY KEY (key, month)
);

-- Reserve up to `wanted` activations: fewer are granted where a cap is reached. No row is returned for a
-- budget that does not exist. A statement that comes later than `latest` is refused: whoever sent it has given
-- up, and would not know that it was counted. The rows are locked in one order everywhere: budget, month.
CREATE FUNCTION {schema}.reserve(budget_name text, key_name text, wanted bigint, latest timestamptz,
    OUT granted bigint, OUT month_name text, OUT clock timestamptz,
    OUT budget_spent bigint, OUT budget_cap bigint, OUT month_spent bigint, OUT month_cap bigint)
RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
    SELECT b.spent, b.max_activations INTO budget_spent, budget_cap
        FROM {schema}.budgets b WHERE b.name = budget_name FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    clock := clock_timestamp();
    IF clock > latest THEN
        RAISE EXCEPTION 'the reservation came too late' USING ERRCODE = 'query_canceled';
    END IF;
    month_name := to_char(clock AT TIME ZONE 'UTC', 'YYYY-MM');
    INSERT INTO {schema}.months AS m (key, month) VALUES (key_name, month_name) ON CONFLICT DO NOTHING;
    SELECT m.spent INTO month_spent
        FROM {schema}.months m WHERE m.key = key_name AND m.month = month_name FOR UPDATE;
    SELECT k.monthly_cap INTO month_cap FROM {schema}.keys k WHERE k.key = key_name;
    granted := greatest(0, least(wanted, budget_cap - budget_spent, month_cap - month_spent));
    IF granted > 0 THEN
        UPDATE {schema}.budgets b SET spent = b.spent + granted WHERE b.name = budget_name;
        UPDATE {schema}.months m SET spent = m.spent + granted
            WHERE m.key = key_name AND m.month = month_name;
    END IF;
    RETURN NEXT;
END
$$;

-- Release activations that were reserved in a month and not spent.
CREATE FUNCTION {schema}.release(budget_name text, key_name text, month_name text, unspent bigint)
RETURNS void LANGUAGE sql AS $$
    UPDATE {schema}.budgets SET spent = greatest(0, spent - unspent) WHERE name = budget_name;
    UPDATE {schema}.months SET spent = greatest(0, spent - unspent) WHERE key = key_name AND month = month_name;
$$;
