-- One schema for SQLite and PostgreSQL: TEXT and BIGINT only. Times are unix seconds; 0 means never. Lists are JSON.
-- Sealed values and hashes are base64. Ids are random texts. The organisation `installation` is the operators' own.

CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Keys that seal values; each is itself sealed by a key of the root-key file.
CREATE TABLE data_keys (
    id TEXT PRIMARY KEY,
    root_key TEXT NOT NULL,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT NOT NULL
);

CREATE TABLE organisations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    -- Grows when something changes that its gateways must know.
    generation BIGINT NOT NULL,
    -- The store's last epoch in which an administrator let leases of older ones end by themselves.
    confirmed_epoch TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- Roots and intermediates. `office` is root, gateway or connector.
CREATE TABLE authorities (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    office TEXT NOT NULL,
    certificate TEXT NOT NULL,
    sealed_key TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    not_after BIGINT NOT NULL,
    -- Announced as an anchor first, used for issuing from then on, still an anchor until then.
    used_from BIGINT NOT NULL,
    trusted_until BIGINT NOT NULL
);
CREATE INDEX authorities_of ON authorities (organisation, office);

CREATE TABLE identities (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    roles TEXT NOT NULL,
    allowed_from TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    UNIQUE (organisation, name)
);

-- `kind` is identity, gateway, relay (both for enrolment) or access; `subject` is what the token stands for.
CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    -- An enrolment token works once.
    spent_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL
);
CREATE INDEX tokens_of ON tokens (subject, kind);
CREATE INDEX tokens_expiring ON tokens (kind, expires_at);

-- Numbers of proofs that were used, until they would have run out anyway.
CREATE TABLE nonces (
    nonce TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organisation, name)
);

CREATE TABLE members (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    project TEXT NOT NULL REFERENCES projects (id),
    identity TEXT NOT NULL REFERENCES identities (id),
    role TEXT NOT NULL,
    PRIMARY KEY (project, identity)
);
CREATE INDEX members_by_identity ON members (identity);

CREATE TABLE gateways (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (organisation, name)
);

CREATE TABLE links (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    project TEXT NOT NULL REFERENCES projects (id),
    gateway TEXT NOT NULL REFERENCES gateways (id),
    targets TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (project, gateway)
);

CREATE TABLE instances (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    gateway TEXT NOT NULL REFERENCES gateways (id),
    public_key TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    session TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    version TEXT NOT NULL,
    last_heartbeat_at BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    addresses TEXT NOT NULL,
    relays TEXT NOT NULL,
    peers TEXT NOT NULL,
    health TEXT NOT NULL,
    health_since BIGINT NOT NULL,
    health_reason TEXT NOT NULL,
    -- The platform instance that keeps a connection and PINGs it, and until when it claims to.
    watcher TEXT NOT NULL,
    watched_until BIGINT NOT NULL,
    last_pong_at BIGINT NOT NULL
);
CREATE INDEX instances_of ON instances (gateway);
CREATE INDEX instances_watched ON instances (revoked_at, watched_until);

-- `organisation` is `installation` for a shared relay.
CREATE TABLE relays (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    urls TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    public_key TEXT NOT NULL,
    enrolled_at BIGINT NOT NULL,
    session TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    last_heartbeat_at BIGINT NOT NULL,
    status TEXT NOT NULL,
    health TEXT NOT NULL,
    health_since BIGINT NOT NULL,
    health_reason TEXT NOT NULL,
    -- SHA-256 of the SubjectPublicKeyInfo of its certificate.
    pin TEXT NOT NULL,
    UNIQUE (organisation, name)
);

-- At most two live ones for each relay; the newest makes credentials once the relay has fetched it.
CREATE TABLE relay_secrets (
    id TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    relay TEXT NOT NULL REFERENCES relays (id),
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    fetched_at BIGINT NOT NULL,
    retired_at BIGINT NOT NULL
);
CREATE INDEX relay_secrets_of ON relay_secrets (relay);

-- Every leaf that was issued and is still valid. `subject` is the SPIFFE id, `holder` the id of the identity,
-- instance or platform instance.
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    holder TEXT NOT NULL,
    subject TEXT NOT NULL,
    not_after BIGINT NOT NULL,
    issued_at BIGINT NOT NULL
);
CREATE INDEX certificates_of ON certificates (holder);

-- What gateways and connectors must not trust any more, until it would have run out anyway.
CREATE TABLE revocations (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    kind TEXT NOT NULL,
    value TEXT NOT NULL,
    revoked_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    PRIMARY KEY (organisation, kind, value)
);

-- Which gateway a certificate of a person is for.
CREATE TABLE forwardings (
    serial TEXT PRIMARY KEY,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    identity TEXT NOT NULL REFERENCES identities (id),
    gateway TEXT NOT NULL,
    not_after BIGINT NOT NULL
);
CREATE INDEX forwardings_by_time ON forwardings (not_after);

-- Addresses of persons' connectors that the instances of a gateway permit.
CREATE TABLE permits (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    gateway TEXT NOT NULL REFERENCES gateways (id),
    serial TEXT NOT NULL,
    address TEXT NOT NULL,
    until_at BIGINT NOT NULL,
    PRIMARY KEY (gateway, serial, address)
);
CREATE INDEX permits_by_time ON permits (until_at);

CREATE TABLE platform_instances (
    id TEXT PRIMARY KEY,
    started_at BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    -- The addresses of its connector, as relays see them.
    addresses TEXT NOT NULL
);

CREATE TABLE audit_heads (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    instance TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (organisation, instance)
);

CREATE TABLE audit (
    organisation TEXT NOT NULL REFERENCES organisations (id),
    instance TEXT NOT NULL,
    sequence BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    object TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash TEXT NOT NULL,
    PRIMARY KEY (organisation, instance, sequence)
);
CREATE INDEX audit_by_time ON audit (organisation, at, instance, sequence);
