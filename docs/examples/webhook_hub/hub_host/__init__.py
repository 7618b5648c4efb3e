"""What the hub's operator runs around the plugins: reading files, the fake chat, the ledger and the report."""
