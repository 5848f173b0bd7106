"""Values that are stored encrypted: task outputs that hold a secret, as Kestra keeps them."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kestra_dagster.errors import TaskFailed, TaskMisconfigured

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_VARIABLE = "KESTRA_ENCRYPTION_KEY"
TYPE = "io.kestra.datatype:aes_encrypted"
"""What `type` says of an encrypted value (Kestra 0.21)."""
_NONCE = 12


def has_key() -> bool:
    """Say whether a key is configured."""
    return bool(os.environ.get(KEY_VARIABLE))


def encrypted(value: str) -> dict[str, str]:
    """Return what stands for a secret in outputs; TaskMisconfigured where there is no key."""
    cipher = _cipher()
    nonce = os.urandom(_NONCE)
    sealed = cipher.encrypt(nonce, value.encode(), None)
    return {"type": TYPE, "value": b64encode(nonce + sealed).decode()}


def is_encrypted(value: Any) -> bool:
    """Say whether a value is one that `encrypted` made."""
    return isinstance(value, Mapping) and value.get("type") == TYPE and len(value) == 2


def decrypted(value: Mapping[str, Any]) -> str:
    """Return the secret; raise TaskFailed where the key is not that which it was made with."""
    from cryptography.exceptions import InvalidTag

    cipher = _cipher()
    try:
        sealed = b64decode(str(value["value"]), validate=True)
        return cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], None).decode()
    except (ValueError, InvalidTag):
        raise TaskFailed(
            "an encrypted output cannot be read",
            hint=f"`{KEY_VARIABLE}` is not the key it was encrypted with",
        ) from None


def _cipher() -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = os.environ.get(KEY_VARIABLE)
    hint = (
        f"set the environment variable `{KEY_VARIABLE}`, for example to `openssl rand -base64 32`"
    )
    if not key:
        raise TaskMisconfigured("no encryption key is configured", hint=hint)
    try:
        return AESGCM(b64decode(key, validate=True))
    except ValueError:
        raise TaskMisconfigured(
            f"`{KEY_VARIABLE}` is not 16, 24 or 32 bytes in Base64", hint=hint
        ) from None
