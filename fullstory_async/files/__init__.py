"""Small SQLite files that belong to their owner: the activation ledger and the summary cache."""
