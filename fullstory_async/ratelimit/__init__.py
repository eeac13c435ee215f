"""Rate limiting: one limiter for everything that uses an API key."""
