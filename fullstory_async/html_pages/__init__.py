"""Web pages of a session and of a job: one file each, without scripts and without anything from a network."""
