"""Tables: what the rows of exports, Arrow and dicts are, and how an answer becomes rows.

A row is a tuple of values in the order of its table's columns, already in the documented normal form. Writers
convert nothing but what their format needs.
"""
