-- Migration 0006: the nodes that run, with fingerprints of their secrets, so that each node notices one with other secrets.

create table if not exists node_secret (
  node uuid primary key,                            -- one run of a process
  used text not null,                               -- the fingerprint of the secret that creates
  accepted text[] not null,                         -- the fingerprints of all secrets that verify
  serving_since timestamptz,                        -- null: the node is not ready, because an earlier one has other secrets
  expires_at timestamptz not null                   -- the row counts until then; a running node renews it
);
