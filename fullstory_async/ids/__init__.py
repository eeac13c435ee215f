"""Session ids in rows: find their column, and detect texts that are not ids or were rounded or cut off."""
