"""Exports and tables, read back with the programs that data engineers read them with."""
