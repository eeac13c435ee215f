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
