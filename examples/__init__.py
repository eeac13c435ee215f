"""Programs that embed the client, each runnable, also against the sandbox; see docs/embedding.md."""
