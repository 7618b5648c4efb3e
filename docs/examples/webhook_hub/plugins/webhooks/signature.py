"""Did GitHub send this? A delivery is signed over its body, with a secret that both sides know.

Source: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hmac

__all__ = ("is_signed", "signature_of")


def signature_of(secret: str, body: bytes) -> str:
    """Return what GitHub sends as ``X-Hub-Signature-256``.

    Args:
        secret: The secret of the webhook.
        body: The body, byte for byte.

    Example:
        >>> signature_of("It's a Secret to Everybody", b"Hello, World!")  # the example of GitHub's documentation
        'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17'
    """
    return f"sha256={hmac.new(secret.encode(), body, 'sha256').hexdigest()}"


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    """Tell whether a signature is that of a body, in a time that says nothing about the right one.

    Args:
        secret: The secret of the webhook.
        body: The body, byte for byte: what was parsed and written again has another signature.
        signature: What came as ``X-Hub-Signature-256``; empty where nothing did.
    """
    # Bytes, because compare_digest() takes no text that is not ASCII, and the sender chooses this one.
    return hmac.compare_digest(signature_of(secret, body).encode(), signature.encode())
