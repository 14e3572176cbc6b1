"""Bundles that are signed by keys which the real ssh-keygen has made."""

import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from dadnet.base.errors import DadnetError
from results.__main__ import main
from results.exchange.bundle import SIGNATURE
from results.exchange.signature import sign
from results.exchange.submission import _zip, pack, verify
from results.ledger.sealed import seal


def new_key(folder: Path, name: str, *words: str) -> Path:
    path = folder / name
    made_by = ["ssh-keygen", "-q", "-f", str(path), "-C", "someone", *words]
    subprocess.run(made_by if "-N" in words else [*made_by, "-N", ""], check=True)
    return path


def fingerprint(key: Path) -> str:
    printed = subprocess.run(["ssh-keygen", "-lf", key], check=True, capture_output=True, text=True)
    return printed.stdout.split()[1]


@pytest.fixture
def key(tmp_path) -> Path:
    return new_key(tmp_path, "mine", "-t", "ed25519")


def replaced(bundle: Path, signature: bytes) -> Path:
    with zipfile.ZipFile(bundle) as held:
        kept = {name: held.read(name) for name in held.namelist()}
    path = bundle.with_name("replaced.zip")
    path.write_bytes(_zip({**kept, SIGNATURE: signature}))
    return path


def test_verify_says_who_signed_by_the_fingerprint_of_ssh(ledger, real, key, tmp_path, capsys):
    out = tmp_path / "signed.zip"
    words = ["--ledger", str(ledger.root), "--out", str(out)]
    assert main(["pack", *words, "--sign", str(key)]) == 0
    assert capsys.readouterr().out.rstrip().endswith(f"in {out}, signed")
    assert main(["verify", str(out), "--signer", f"{key}.pub"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-2].endswith(f"figures; signed by {fingerprint(key)}")
    assert printed[-1].startswith("not checked: that the predictions come from this training")


def test_a_bundle_without_a_signature_is_not_signed(bundle, key, capsys):
    assert main(["verify", str(bundle)]) == 0
    assert capsys.readouterr().out.splitlines()[-2].endswith("figures; not signed")
    assert main(["verify", str(bundle), "--signer", f"{key}.pub"]) == 2
    wanted = f"to be signed by {fingerprint(key)}, it is not signed"
    assert wanted in capsys.readouterr().err


def test_the_key_of_somebody_else_is_refused_where_a_signer_is_required(
    ledger, real, key, tmp_path, capsys
):
    other = new_key(tmp_path, "other", "-t", "ed25519")
    pack(ledger, [real], tmp_path / "signed.zip", other)
    words = ["verify", str(tmp_path / "signed.zip"), "--signer", f"{key}.pub"]
    assert main(words) == 2
    assert f"signed by {fingerprint(key)}, it is signed by {fingerprint(other)}" in (
        capsys.readouterr().err
    )


def test_a_signature_is_of_one_manifest(ledger, real, key, bundle, tmp_path):
    signed = tmp_path / "signed.zip"
    pack(ledger, [real], signed, key)
    with zipfile.ZipFile(signed) as held:
        signature = held.read(SIGNATURE)
    assert verify(replaced(bundle, signature=signature)).signer == fingerprint(key)  # equal files
    other = sign(b"another manifest", key).to_json().encode()
    with pytest.raises(DadnetError, match="signature: it does not fit the manifest"):
        verify(replaced(signed, signature=other))
    damaged = {k: v for k, v in json.loads(signature).items() if k != "checksum"}
    damaged["signature"] = "AAAA"
    with pytest.raises(DadnetError, match="signature: it does not fit the manifest"):
        verify(replaced(signed, signature=seal(damaged).encode()))
    damaged["key"] = "ssh-ed25519 AAAA"
    with pytest.raises(DadnetError, match="expected a public key of SSH in the signature"):
        verify(replaced(signed, signature=seal(damaged).encode()))


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("-t", "rsa"), "expected an Ed25519 key in"),
        (("-t", "ed25519", "-N", "secret"), "has a passphrase; expected a key without one"),
    ],
)
def test_other_keys_are_refused(ledger, real, tmp_path, capsys, words, line):
    wrong = new_key(tmp_path, "wrong", *words)
    out = tmp_path / "signed.zip"
    given = ["pack", "--ledger", str(ledger.root), "--out", str(out), "--sign"]
    assert main([*given, str(wrong)]) == 2
    assert line in capsys.readouterr().err
    assert main([*given, f"{wrong}.pub"]) == 2
    assert "is no private key of SSH" in capsys.readouterr().err
    assert main([*given, str(tmp_path / "none")]) == 2
    assert "expected a key of SSH, got: no file at" in capsys.readouterr().err
    assert not out.exists()
