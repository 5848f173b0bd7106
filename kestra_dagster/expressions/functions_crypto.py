"""`encrypt()` and `decrypt()`: AES-GCM as Kestra does it, the nonce in front, all in Base64."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from kestra_dagster.expressions.context import Context
from kestra_dagster.expressions.errors import ExpressionError
from kestra_dagster.expressions.functions_core import OMITTED, text_argument

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12


def encrypt(context: Context, key: Any = OMITTED, plaintext: Any = OMITTED) -> str:
    """Encrypt text with a key of 16, 24 or 32 bytes in Base64."""
    secret, text = (
        text_argument(key, "encrypt", "key"),
        text_argument(plaintext, "encrypt", "plaintext"),
    )
    context.budget.text(2 * len(text))
    nonce = os.urandom(_NONCE)
    sealed = _cipher(secret, "encrypt").encrypt(nonce, text.encode("utf-8", "replace"), None)
    return b64encode(nonce + sealed).decode()


def decrypt(context: Context, key: Any = OMITTED, encrypted: Any = OMITTED) -> str:
    """Return the text that `encrypt()` made unreadable."""
    from cryptography.exceptions import InvalidTag

    cipher = _cipher(text_argument(key, "decrypt", "key"), "decrypt")
    text = text_argument(encrypted, "decrypt", "encrypted")
    context.budget.text(len(text))
    try:
        sealed = b64decode(text, validate=True)
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode("utf-8", "replace")
    except (ValueError, InvalidTag):
        raise ExpressionError(
            "`decrypt()` cannot read this text: it was encrypted with another key, or changed"
        ) from None


def _cipher(key: str, function: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(b64decode(key, validate=True))
    except ValueError:
        raise ExpressionError(
            f"the key of `{function}()` is not 16, 24 or 32 bytes in Base64",
            hint="make one with `openssl rand -base64 32`",
        ) from None
