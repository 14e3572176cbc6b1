"""Signatures of bundles, by the Ed25519 keys of SSH (``ssh-keygen -t ed25519``).

What is signed is the manifest, which states the SHA-256 of every other file. A signature says who
packed a bundle; it does not say that the numbers were really made.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import ClassVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from dadnet.base.errors import DadnetError
from results.ledger.sealed import Sealed, Text

_MADE_BY = "ssh-keygen -t ed25519 -N '' -f FILE makes one"
_PURPOSE = b"dadnet-loso bundle 1\0"  # a signature of something else is none of a bundle


class Signature(Sealed, frozen=True):
    """Who signed a manifest.

    Attributes:
        key: the public key, as OpenSSH writes it.
        signature: of the manifest's bytes, in base64.
    """

    record_kind: ClassVar[str] = "signature"

    key: Text
    signature: Text


def sign(manifest: bytes, path: Path) -> Signature:
    """Sign a manifest by a private key.

    Raises:
        DadnetError: if the file holds no Ed25519 key, or one with a passphrase.
    """
    data = _content(path)
    try:
        key = serialization.load_ssh_private_key(data, password=None)
    except TypeError:
        raise DadnetError(
            f"sign: {path} has a passphrase; expected a key without one, {_MADE_BY}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise DadnetError(f"sign: {path} is no private key of SSH; {_MADE_BY}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DadnetError(f"sign: expected an Ed25519 key in {path}, got another kind; {_MADE_BY}")
    made = base64.b64encode(key.sign(_PURPOSE + manifest)).decode()
    return Signature(_text_of(key.public_key()), made)


def check_signature(manifest: bytes, signature: Signature) -> str:
    """Return the fingerprint of the key that signed a manifest, as `ssh-keygen -l` prints it.

    Raises:
        DadnetError: if the signature is of another manifest, or damaged.
    """
    key = _public_key(signature.key.encode(), "the signature")
    try:
        key.verify(base64.b64decode(signature.signature, validate=True), _PURPOSE + manifest)
    except (InvalidSignature, binascii.Error):
        raise DadnetError(
            "signature: it does not fit the manifest; nothing is known of it"
        ) from None
    return _fingerprint(key)


def fingerprint_of(path: Path) -> str:
    """Return the fingerprint of a public key's file (``FILE.pub``).

    Raises:
        DadnetError: if the file holds no Ed25519 key.
    """
    return _fingerprint(_public_key(_content(path), str(path)))


def _content(path: Path) -> bytes:
    try:
        return path.expanduser().read_bytes()
    except FileNotFoundError:
        raise DadnetError(f"expected a key of SSH, got: no file at {path}") from None


def _public_key(data: bytes, where: str) -> Ed25519PublicKey:
    try:
        key = serialization.load_ssh_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise DadnetError(f"expected a public key of SSH in {where}, got something else") from None
    if not isinstance(key, Ed25519PublicKey):
        raise DadnetError(f"expected an Ed25519 key in {where}, got another kind")
    return key


def _text_of(key: Ed25519PublicKey) -> str:
    form = serialization.PublicFormat.OpenSSH
    return key.public_bytes(serialization.Encoding.OpenSSH, form).decode()


def _fingerprint(key: Ed25519PublicKey) -> str:
    digest = hashlib.sha256(base64.b64decode(_text_of(key).split()[1])).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
