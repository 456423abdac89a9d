"""Links that carry their own proof: what they say was said by this server, and not too long ago."""

from typing import Any

from itsdangerous import BadData, URLSafeTimedSerializer


def sign(secret_key: str, purpose: str, said: Any) -> str:
    """A short text for an address. It is good for this purpose alone; what it says can be read by whoever has it."""
    return URLSafeTimedSerializer(secret_key, salt=f"arwx {purpose}").dumps(said)


def read(secret_key: str, purpose: str, token: str, max_age_s: int) -> Any:
    """What the link says; None when it is not ours, was altered, or is too old."""
    try:
        return URLSafeTimedSerializer(secret_key, salt=f"arwx {purpose}").loads(token, max_age=max_age_s)
    except BadData:
        return None
