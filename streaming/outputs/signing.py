"""Content credentials (C2PA) in finished MP4 and MOV files, by the package c2pa-python."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from sana_stream import __version__
from sana_stream._files import read_bounded, rewritten_file
from sana_stream._text import os_reason, safe_text
from sana_stream.errors import InvalidOutputError
from sana_stream.streaming.ai_mark import DIGITAL_SOURCE_TYPE
from sana_stream.streaming.containers.mp4 import Mp4Muxer
from sana_stream.streaming.containers.mp4_boxes import walk
from sana_stream.streaming.video_format import Metadata, StreamSpec, VideoFormat

if TYPE_CHECKING:
    from sana_stream.engine.block import BlockPart

SIGNED_SUFFIXES = (".mp4", ".mov")
_TYPES = {".mp4": "video/mp4", ".mov": "video/quicktime"}
_BOX = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.2, A.4
_LARGEST = 1 << 20  # bytes of a file with a certificate
_CHUNK = 1 << 20  # bytes
_BEGIN = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class ContentSigner:
    """Signs files with a certificate and its private key, which were tried before."""

    name: str  # of the file that holds them
    certificates: bytes  # PEM, the signer's own first
    key: bytes  # PEM, PKCS#8
    algorithm: str  # as C2PA names it

    def sign_file(self, path: Path, metadata: Metadata) -> None:
        """Replace a finished file by the same one with content credentials.

        Raises:
            OSError: it cannot be signed; the file is unchanged.
        """
        with path.open("rb") as source, rewritten_file(path) as signed:
            self.sign(source, signed, path.suffix.lower(), metadata, path.name)

    def sign(
        self, source: BinaryIO, signed: BinaryIO, suffix: str, metadata: Metadata, title: str
    ) -> None:
        """Write a signed copy of a stream; raises OSError.

        The signature holds the digital source type, the model, the seed and the prompts.
        """
        import c2pa

        info = c2pa.C2paSignerInfo(
            alg=self.algorithm.encode(),
            sign_cert=self.certificates,
            private_key=self.key,
            ta_url=None,  # no time stamp: nothing is sent to anybody
        )
        try:
            with (
                c2pa.Signer.from_info(info) as signer,
                c2pa.Builder(_manifest(metadata, title)) as builder,
            ):
                builder.sign(signer, _TYPES[suffix], source, signed)
        except c2pa.C2paError as error:
            raise OSError(f"it cannot be signed: {safe_text(error)}") from error


def load_signer(path: Path) -> ContentSigner:
    """Read a PEM file with a certificate, its chain and its private key, and try to sign with them.

    Raises:
        InvalidOutputError: the package c2pa-python is missing, or the file cannot be used.
    """
    name = safe_text(path)
    try:
        import c2pa  # noqa: F401
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise InvalidOutputError(
            "sign= needs the package c2pa-python: pip install 'sana-stream[sign]'"
        ) from error
    try:
        data = read_bounded(path, _LARGEST)
    except (OSError, ValueError) as error:
        raise InvalidOutputError(f"sign: {name}: {os_reason(error)}") from error
    parts = [_BEGIN + part for part in data.split(_BEGIN)[1:]]
    certificates = b"".join(part for part in parts if part.startswith(_BEGIN + b"CERTIFICATE-"))
    keys = [part for part in parts if b"PRIVATE KEY-----" in part.partition(b"\n")[0]]
    if not certificates:
        raise InvalidOutputError(
            f"sign: {name} holds no certificate: give a PEM file with the certificate, those that"
            " it was issued by, and its private key"
        )
    if len(keys) != 1:
        what = "no private key" if not keys else f"{len(keys)} private keys"
        raise InvalidOutputError(
            f"sign: {name} holds {what}: give one PEM file with both (cat cert.pem key.pem)"
        )
    try:
        key: Any = serialization.load_pem_private_key(keys[0], None)
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidOutputError(
            f"sign: the private key in {name} cannot be read: give one without a password"
        ) from error
    signer = ContentSigner(name, certificates, plain, _algorithm(key, name))
    _try(signer)
    return signer


def _algorithm(key: Any, name: str) -> str:
    """The signature algorithm of a key (C2PA 2.2, 13.2)."""
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if (curve := getattr(key, "curve", None)) is not None and curve.name in curves:
        return curves[curve.name]
    kind = type(key).__name__.lower()
    if "ed25519" in kind:
        return "ed25519"
    if "rsa" in kind:
        return "ps256"
    raise InvalidOutputError(
        f"sign: the private key in {name} is of a kind that C2PA does not take: give one of P-256,"
        " P-384, P-521, Ed25519 or RSA"
    )


def _try(signer: ContentSigner) -> None:
    """Sign one frame, so that a certificate that cannot be used is found before a video is made."""
    from types import SimpleNamespace

    muxer, file = Mp4Muxer(StreamSpec(VideoFormat(32, 32, 1))), io.BytesIO()
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    block: BlockPart = SimpleNamespace(start=0, frames=frames, prompt="")  # type: ignore[assignment]
    file.write(muxer.header() + muxer.add(block))
    muxer.finish(file)
    file.seek(0)
    try:
        signer.sign(file, io.BytesIO(), ".mp4", Metadata(), "")
    except OSError as error:
        raise InvalidOutputError(f"sign: {signer.name}: {error}") from error


def is_signed(path: Path) -> bool:
    """Whether an MP4 or MOV file has content credentials."""
    try:
        with path.open("rb") as file:
            return _credentials(file) is not None
    except OSError:
        return False


def remove_signature(path: Path) -> None:
    """Replace a signed file by the same one without content credentials; raises OSError.

    The positions in its index do not count the credentials any more: the index has to be removed.
    """
    with path.open("rb") as file:
        if (found := _credentials(file)) is None:
            return
        start, end = found
        with rewritten_file(path) as plain:
            file.seek(0)
            plain.write(file.read(start))
            file.seek(end)
            shutil.copyfileobj(file, plain, _CHUNK)


def _credentials(file: BinaryIO) -> tuple[int, int] | None:
    for part in walk(file):
        if part.kind == "uuid":
            file.seek(part.content)
            if file.read(len(_BOX)) == _BOX:
                return part.start, part.end
        elif part.kind not in ("ftyp", "free"):
            return None
    return None


def _manifest(metadata: Metadata, title: str) -> str:
    agent = {"name": "sana-stream", "version": __version__}
    action = {
        "action": "c2pa.created",
        "digitalSourceType": DIGITAL_SOURCE_TYPE,
        "softwareAgent": agent,
    }
    generation = {
        "model": metadata.model,
        "seed": metadata.seed,
        "prompts": list(metadata.prompts),
    }
    return json.dumps(
        {
            "title": metadata.title or title,
            "claim_generator_info": [agent],
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                {"label": "io.github.sana-stream.generation", "data": generation},
            ],
        }
    )
