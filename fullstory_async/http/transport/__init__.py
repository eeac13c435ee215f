"""The aiohttp side of a request: the only folder that imports aiohttp's client."""
