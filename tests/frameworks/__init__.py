"""Programs of others that take this package's models and run its coroutines: FastAPI, pydantic and trio."""
