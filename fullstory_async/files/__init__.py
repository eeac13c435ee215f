"""Private SQLite files: the activation ledger and the response cache."""
