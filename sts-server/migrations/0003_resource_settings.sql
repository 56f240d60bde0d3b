-- How gateways treat what a resource is called with.
ALTER TABLE resources ADD COLUMN single_use INTEGER NOT NULL DEFAULT 0;
ALTER TABLE resources ADD COLUMN require_chain_contains TEXT NOT NULL DEFAULT '[]';
ALTER TABLE resources ADD COLUMN forward TEXT; -- JSON; without it, what the gateway is configured to do
