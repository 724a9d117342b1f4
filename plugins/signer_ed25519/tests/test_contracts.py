"""Hold the signer and the signature verifier to their contracts."""

from __future__ import annotations

from pathlib import Path

from plasm_core.plugins.interfaces import Signer, Verifier
from plasm_core.testing.contract import SignerContract, VerifierContract
from plasm_signer_ed25519 import Ed25519Signer
from plasm_signer_ed25519.verifier import SignatureVerifier


class TestEd25519(SignerContract):
    @classmethod
    def signer(cls, directory: Path) -> Signer:
        return Ed25519Signer(key=str(directory / "key"))


class TestSignature(VerifierContract):
    @classmethod
    def verifier(cls) -> Verifier:
        return SignatureVerifier()
