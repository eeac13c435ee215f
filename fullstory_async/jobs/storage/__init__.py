"""A job's file: its schema, its writer thread, its readers, its lock."""
