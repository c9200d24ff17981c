-- What programs sign in with, and what they may ask for in a minute: the tables of the embedded engine's migration 3,
-- with PostgreSQL's own types.

-- A token is known by its keyed hash only. The key of an LMv1 pair is needed itself, to compute signatures with, so it
-- is sealed under the master key `key_id`, which is not in this database. A revoked credential loses its sealed key and
-- stays for a while, so that whoever goes on using it is told by name.
CREATE TABLE credentials (
    id         uuid PRIMARY KEY,
    account    uuid NOT NULL REFERENCES accounts (id),
    kind       text COLLATE "C" NOT NULL CHECK (kind IN ('lmv1', 'bearer', 'api-key')),
    name       text COLLATE "C" NOT NULL,
    -- The name as it is compared: without case.
    name_key   text COLLATE "C" NOT NULL,
    access_id  text COLLATE "C" UNIQUE,
    token_hash bytea UNIQUE,
    sealed     bytea,
    key_id     text COLLATE "C",
    expires_at timestamptz,
    revoked_at timestamptz,
    created_at timestamptz NOT NULL,
    used_at    timestamptz,
    -- A pair has an access id and the others a token, and never both.
    CHECK ((kind = 'lmv1') = (access_id IS NOT NULL)),
    CHECK ((kind = 'lmv1') = (token_hash IS NULL)),
    -- What is sealed is known with its master key, and it is the key of a pair that is in use.
    CHECK ((sealed IS NULL) = (key_id IS NULL)),
    CHECK ((sealed IS NOT NULL) = (kind = 'lmv1' AND revoked_at IS NULL))
);
-- A name is free again once its credential is revoked.
CREATE UNIQUE INDEX credentials_in_use ON credentials (account, name_key) WHERE revoked_at IS NULL;
CREATE INDEX credentials_revoked ON credentials (revoked_at) WHERE revoked_at IS NOT NULL;

-- How much of a customer's budget for an endpoint is given out, by minute. Processes take blocks of it.
CREATE TABLE rate_windows (
    began    timestamptz NOT NULL,
    customer uuid NOT NULL,
    endpoint text COLLATE "C" NOT NULL,
    taken    bigint NOT NULL,
    PRIMARY KEY (began, customer, endpoint)
);

-- Query servers whose role was given its rights before (`annals store grant-query`) need them on these tables too.
DO $$
DECLARE query_role text;
BEGIN
    FOR query_role IN
        SELECT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END
        FROM pg_class, aclexplode(relacl)
        WHERE pg_class.oid = 'sign_ins'::regclass AND privilege_type = 'UPDATE'
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON credentials, rate_windows TO %s', query_role);
    END LOOP;
END $$;
