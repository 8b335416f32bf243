"""A certificate to sign videos with, and the check of what it has signed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import av
import pytest


def write_certificate(path: Path) -> Path:
    """Write a certificate for signing, that of its issuer, and the private key.

    The calling test is skipped where the packages for signing are not installed.
    """
    pytest.importorskip("c2pa", reason="needs sana-stream[sign]")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def issue(name: str, issuer: Any = None, by: Any = None) -> tuple[Any, Any]:
        key = ec.generate_private_key(ec.SECP256R1())
        words = [(NameOID.COMMON_NAME, name), (NameOID.ORGANIZATION_NAME, "Test")]
        subject = x509.Name([x509.NameAttribute(*word) for word in words])
        now, ca = datetime.datetime.now(datetime.UTC), issuer is None
        signing = by or key
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key())
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False)
        builder = (
            x509.CertificateBuilder(issuer.subject if issuer else subject, subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca, None), True)
            .add_extension(usage, True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(identifier, False)
        )
        if not ca:
            mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(mail, False)
        return builder.sign(signing, hashes.SHA256()), key

    root, root_key = issue("root")
    leaf, key = issue("signer", root, root_key)
    encoding = serialization.Encoding.PEM
    text = leaf.public_bytes(encoding) + root.public_bytes(encoding)
    text += key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(text)
    return path


def check_credentials(path: Path, frames: int) -> dict[str, Any]:
    """Check a file's credentials and return its active manifest."""
    import c2pa

    with c2pa.Reader(str(path)) as reader:
        report = json.loads(reader.json())
    assert report["validation_state"] == "Valid", report.get("validation_status")
    failures = {each["code"] for each in report.get("validation_status", [])}
    assert failures <= {"signingCredential.untrusted"}, "the root is this test's"
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == frames
    return report["manifests"][report["active_manifest"]]
