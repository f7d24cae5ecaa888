-- Migration 0020: finds the API keys among their sessions. The table is small.
create index if not exists api_key_created on api_key (created_at, id) where session_of is null;
