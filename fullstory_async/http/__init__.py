"""One request's way, in walking order.

messages → endpoints → ratelimit → transport → retry → pipeline.
"""
