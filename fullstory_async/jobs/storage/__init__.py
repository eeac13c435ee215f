"""A job's file: its schema, the thread that writes it, what reads it, its lock."""
