import pytest
from plasm_signer_passphrase import Passphrase

from plasm_core.errors import KeyFileError
from plasm_core.testing.contract import SignerContract


class TestPassphrase(SignerContract):
    @classmethod
    def signer(cls, directory):
        (directory / "passphrase").write_text("correct horse\n")
        return Passphrase(key=str(directory / "key"), passphrase_file=str(directory / "passphrase"))


def test_the_key_is_not_readable_without_its_passphrase(tmp_path):
    signer = TestPassphrase.signer(tmp_path)
    signer.create_key()
    (tmp_path / "passphrase").write_text("battery staple\n")

    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    with pytest.raises(KeyFileError):
        Passphrase(key=signer.key, passphrase_file=signer.passphrase_file).sign(b"x")
