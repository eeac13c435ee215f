"""Fingerprints of personal data that only one job can compare: a keyed hash with a secret of the job's own."""

from __future__ import annotations

import hashlib
import hmac
import secrets

__all__ = ["fingerprint", "new_secret"]


def new_secret() -> str:
    """Return what makes one job's fingerprints different from every other's."""
    return secrets.token_hex(16)


def fingerprint(secret: str, text: str) -> str:
    """Return the same 16 hexadecimal digits for the same text, from which nobody can guess it back without the secret."""
    return hmac.new(secret.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:16]
