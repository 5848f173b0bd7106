"""Kafka's settings, by Java's names as flows have them, for Python's library; its data types."""

from __future__ import annotations

import base64
import json
import ssl
import struct
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from kestra_dagster.errors import TaskFailed, TaskMisconfigured
from kestra_dagster.tasks.messages import encoded

Serde = Literal[
    "STRING", "INTEGER", "FLOAT", "DOUBLE", "LONG", "SHORT",
    "BYTE_ARRAY", "BYTE_BUFFER", "BYTES", "UUID", "VOID", "JSON",
]  # fmt: skip
_NUMBERS = {"INTEGER": ">i", "FLOAT": ">f", "DOUBLE": ">d", "LONG": ">q", "SHORT": ">h"}
_BYTES = ("BYTE_ARRAY", "BYTE_BUFFER", "BYTES")
_NO_EFFECT = ("key.serializer", "value.serializer", "key.deserializer", "value.deserializer")
_LOGIN = "sasl.jaas.config"


def settings(properties: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a client of the library whose own defaults are `known`.

    Raise TaskMisconfigured for a property that it does not have.
    """
    found: dict[str, Any] = {}
    secure: dict[str, Any] = {}
    for name, value in properties.items():
        if name in _NO_EFFECT or value is None:
            continue
        if name == _LOGIN:
            found["sasl_plain_username"], found["sasl_plain_password"] = _login(str(value))
        elif name.startswith("ssl."):
            secure[name] = value
        else:
            own = name.replace(".", "_")
            if own not in known:
                raise TaskMisconfigured(f"`properties` of Kafka: `{name}` is not supported")
            found[own] = _typed(name, value, known[own])
    if "bootstrap_servers" not in found:
        raise TaskMisconfigured("`properties` needs `bootstrap.servers`")
    found["bootstrap_servers"] = [part.strip() for part in found["bootstrap_servers"].split(",")]
    if secure or "SSL" in str(found.get("security_protocol", "")):
        found["ssl_context"] = _secure(secure)
    return found


def serializer(how: Serde) -> Callable[[Any], bytes | None]:
    """Return what turns a value into bytes; a missing one stays missing, as Kafka has it."""

    def serialize(value: Any) -> bytes | None:
        if value is None or how == "VOID":
            return None
        try:
            if how in _NUMBERS:
                return struct.pack(
                    _NUMBERS[how], float(value) if how in ("FLOAT", "DOUBLE") else int(value)
                )
            if how in _BYTES:
                return value if isinstance(value, bytes) else base64.b64decode(value, validate=True)
            if how == "UUID":
                return str(uuid.UUID(str(value))).encode()
        except (ValueError, TypeError, struct.error) as error:
            raise TaskFailed(f"a value cannot be written as {how}: {error}") from error
        return encoded(value, "JSON" if how == "JSON" else "STRING")

    return serialize


def deserialized(data: bytes | None, how: Serde) -> Any:
    """Return what bytes mean; raise ValueError if they are nothing of that kind."""
    if data is None or how == "VOID":
        return None
    if how in _NUMBERS:
        try:
            return struct.unpack(_NUMBERS[how], data)[0]
        except struct.error as error:
            raise ValueError(str(error)) from error
    if how in _BYTES:
        return base64.b64encode(data).decode()
    text = data.decode()
    return json.loads(text) if how == "JSON" else text


def _typed(name: str, value: Any, default: Any) -> Any:
    text = str(value).strip()
    try:
        if name == "acks":
            return "all" if text in ("all", "-1") else int(text)
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
    except (ValueError, KeyError):
        raise TaskMisconfigured(f"`properties` of Kafka: `{name}: {text}` is not right") from None
    return text


def _login(text: str) -> tuple[str, str]:
    found = {}
    for part in ("username", "password"):
        _, _, rest = text.partition(f"{part}=")
        quote = rest[:1]
        if quote not in ("'", '"'):
            raise TaskMisconfigured(
                f"`{_LOGIN}` has no `{part}`",
                hint='write `... required username="..." password="...";`',
            )
        found[part] = rest[1:].partition(quote)[0]
    return found["username"], found["password"]


def _secure(given: Mapping[str, Any]) -> ssl.SSLContext:
    """Return what to trust and how to identify; stores are PKCS12 in Base64, or PEM text."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.serialization import pkcs12

    allowed = {
        f"ssl.{kind}.{part}"
        for kind in ("keystore", "truststore")
        for part in ("type", "location", "password", "certificates", "certificate.chain", "key")
    }
    allowed |= {"ssl.key.password", "ssl.endpoint.identification.algorithm"}
    for name in given.keys() - allowed:
        raise TaskMisconfigured(f"`properties` of Kafka: `{name}` is not supported")
    context = ssl.create_default_context()
    if given.get("ssl.endpoint.identification.algorithm") == "":
        context.check_hostname = False

    def store(kind: str) -> Any:
        place = given.get(f"ssl.{kind}.location")
        if not place:
            return None
        password = str(given.get(f"ssl.{kind}.password") or "").encode() or None
        try:
            return pkcs12.load_pkcs12(base64.b64decode(str(place)), password)
        except ValueError:
            raise TaskMisconfigured(
                f"`ssl.{kind}.location` is not a PKCS12 store in Base64, or its password is wrong",
                hint="convert a JKS store: keytool -importkeystore ... -deststoretype PKCS12",
            ) from None

    trusted = store("truststore")
    pem = str(given.get("ssl.truststore.certificates") or "")
    if trusted is not None:
        certificates = [each.certificate for each in trusted.additional_certs]
        certificates += [trusted.cert.certificate] if trusted.cert else []
        pem += "".join(one.public_bytes(form.Encoding.PEM).decode() for one in certificates)
    if pem:
        context.load_verify_locations(cadata=pem)
    own = store("keystore")
    if own is not None and own.key is not None:
        key = own.key.private_bytes(
            form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption()
        ).decode()
        chain = [own.cert.certificate, *(each.certificate for each in own.additional_certs)]
        text = "".join(one.public_bytes(form.Encoding.PEM).decode() for one in chain)
        _identify(context, key + text, None)
    elif given.get("ssl.keystore.key"):
        text = f"{given['ssl.keystore.key']}\n{given.get('ssl.keystore.certificate.chain') or ''}"
        _identify(context, text, given.get("ssl.key.password"))
    return context


def _identify(context: ssl.SSLContext, pem: str, password: str | None) -> None:
    # Python's library takes a key from a file only.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        path.touch(mode=0o600)
        path.write_text(pem)
        context.load_cert_chain(path, password=password)
