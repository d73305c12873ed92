-- Databases, dynamic secrets, leases and rotations. What 0001 says of types, times and lists holds here.
--
-- Work on a server is claimed: `claim_owner` is the platform instance, `claim_until` its deadline, and `claim` the
-- number of claims so far. Whoever changes a claimed row names the number that it knows.

CREATE TABLE databases (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    project TEXT NOT NULL REFERENCES projects (id),
    gateway TEXT NOT NULL REFERENCES gateways (id),
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    port BIGINT NOT NULL,
    tls TEXT NOT NULL,
    ca TEXT NOT NULL,
    dbname TEXT NOT NULL,
    admin_user TEXT NOT NULL,
    sealed_password TEXT NOT NULL,
    -- Written before ALTER ROLE, and empty once a login has shown which of the two counts.
    sealed_pending TEXT NOT NULL,
    max_connections BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    claim_owner TEXT NOT NULL,
    claim_until BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    -- When its server was last searched for users that nobody leases, and what was found.
    scanned_at BIGINT NOT NULL,
    UNIQUE (organisation, name)
);
CREATE INDEX databases_of ON databases (project);

CREATE TABLE secrets (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    database_id TEXT NOT NULL REFERENCES databases (id),
    name TEXT NOT NULL,
    -- read-only, read-write or custom.
    access TEXT NOT NULL,
    -- Empty for the database's own.
    dbname TEXT NOT NULL,
    -- Everything that is defined once: `words::NewSecret` as JSON.
    definition TEXT NOT NULL,
    -- The group role; empty where there is none.
    group_role TEXT NOT NULL,
    max_leases BIGINT NOT NULL,
    prepared_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organisation, name)
);
CREATE INDEX secrets_of ON secrets (database_id);

-- `state` is creating, active, revoking, revoked, failed or abandoned. A row is written before anything is done on the
-- server, and what was done is written after; what is unknown is revoking.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    secret TEXT NOT NULL REFERENCES secrets (id),
    database_id TEXT NOT NULL REFERENCES databases (id),
    identity TEXT NOT NULL REFERENCES identities (id),
    username TEXT NOT NULL,
    -- For a repeated request; empty once it may be repeated no more.
    sealed_password TEXT NOT NULL,
    -- Unique among leases whose request may be repeated: the identity and its key, hashed; else the lease's id.
    idempotency TEXT NOT NULL UNIQUE,
    -- What was asked for with that key, hashed.
    request TEXT NOT NULL,
    state TEXT NOT NULL,
    -- The store's epoch in which it was made, or in which somebody asked for its end.
    epoch TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- Since when its user is known to be there.
    made_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    max_expires_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    reason TEXT NOT NULL,
    claim_owner TEXT NOT NULL,
    claim_until BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    -- When work on it is due next: its expiry, or the next attempt to remove it; 0 when there is none.
    due_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    stuck BIGINT NOT NULL,
    error TEXT NOT NULL
);
CREATE INDEX leases_due ON leases (due_at);
CREATE INDEX leases_by_time ON leases (organisation, created_at, id);
CREATE INDEX leases_repeatable ON leases (created_at) WHERE sealed_password <> '';
CREATE INDEX leases_ended ON leases (ended_at) WHERE ended_at > 0;
CREATE INDEX leases_of ON leases (secret, state);
CREATE INDEX leases_on ON leases (database_id, state);
CREATE INDEX leases_by_identity ON leases (identity, state);

-- Users that look like leases of nobody, by database; one that is not found again is forgotten.
CREATE TABLE orphans (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    database_id TEXT NOT NULL REFERENCES databases (id),
    username TEXT NOT NULL,
    finding TEXT NOT NULL,
    ours BIGINT NOT NULL,
    -- In the first search that found it, and in the last one.
    seen_at BIGINT NOT NULL,
    seen_again_at BIGINT NOT NULL,
    PRIMARY KEY (database_id, username)
);

CREATE TABLE rotations (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    database_id TEXT NOT NULL REFERENCES databases (id),
    name TEXT NOT NULL,
    -- two-user or single-user.
    mode TEXT NOT NULL,
    users TEXT NOT NULL,
    schedule TEXT NOT NULL,
    password TEXT NOT NULL,
    pre_hashed BIGINT NOT NULL,
    -- Which of `users` is read now; before the first rotation there is no password.
    current_user_index BIGINT NOT NULL,
    sealed_current TEXT NOT NULL,
    -- Written before ALTER ROLE, for the user `pending_user_index`; empty once a login has shown that it counts.
    sealed_pending TEXT NOT NULL,
    pending_user_index BIGINT NOT NULL,
    -- How often a password has changed, and the store's epoch in which one last began to.
    turns BIGINT NOT NULL,
    epoch TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    rotated_at BIGINT NOT NULL,
    next_at BIGINT NOT NULL,
    claim_owner TEXT NOT NULL,
    claim_until BIGINT NOT NULL,
    claim BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    failing_since BIGINT NOT NULL,
    error TEXT NOT NULL,
    UNIQUE (organisation, name)
);
CREATE INDEX rotations_due ON rotations (next_at);
CREATE INDEX rotations_on ON rotations (database_id);
