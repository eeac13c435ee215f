"""Private SQLite files: the activation ledger and the summary cache."""
