"""Rate limiting: a token bucket with a pause, shared by everything that uses one key."""
