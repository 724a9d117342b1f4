"""Hold key files: private from the first moment, never replaced, and one key however many processes make it."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from plasm_core.errors import KeyFileError
from plasm_signer_ed25519.keyfile import MAX_KEY_BYTES, create, load, load_or_create

CREATE = (
    "import sys, pathlib; from plasm_signer_ed25519.keyfile import load_or_create;"
    "sys.stdin.read(); print(load_or_create(pathlib.Path(sys.argv[1])).public_key().public_bytes_raw().hex())"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "node.key"


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)
    return path


def pem(key: PrivateKeyTypes, encryption: KeySerializationEncryption | None = None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def refusal(path: Path) -> KeyFileError:
    with pytest.raises(KeyFileError) as caught:
        load(path)
    return caught.value


def public(key: ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def test_a_key_that_was_made_is_read_again(path: Path) -> None:
    made = create(path)

    assert public(load(path)) == public(made) == public(load_or_create(path))


def test_two_keys_are_not_the_same(tmp_path: Path) -> None:
    assert public(create(tmp_path / "a")) != public(create(tmp_path / "b"))


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_key_is_readable_only_by_its_owner_under_every_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        create(path)
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


def test_nothing_but_the_key_is_left_behind(path: Path) -> None:
    create(path)
    with pytest.raises(KeyFileError):
        create(path)

    assert os.listdir(path.parent) == ["node.key"]


def test_a_key_is_never_replaced(path: Path) -> None:
    create(path)
    before = path.read_bytes()

    with pytest.raises(KeyFileError, match=r"^there is a key at .*/node\.key already$"):
        create(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_even_a_file_that_is_no_key_is_not_replaced(path: Path, content: bytes) -> None:
    write(path, content)

    for make in (create, load_or_create):
        with pytest.raises(KeyFileError):
            make(path)
    assert path.read_bytes() == content


def test_a_dangling_link_is_not_followed_to_make_a_key(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path.parent / "elsewhere")

    with pytest.raises(KeyFileError):
        create(path)
    assert not (path.parent / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777])
def test_a_key_that_others_can_reach_is_refused(path: Path, mode: int) -> None:
    create(path)
    path.chmod(mode)

    error = refusal(path)
    assert str(error) == f"the key {path} is open to other users"
    assert error.hint == f"close it with: chmod 600 {path}"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_a_key_that_only_its_owner_can_reach_is_taken(path: Path, mode: int) -> None:
    made = create(path)
    path.chmod(mode)

    assert public(load(path)) == public(made)


def test_a_missing_key_comes_with_the_command_that_makes_one(path: Path) -> None:
    error = refusal(path)

    assert str(error) == f"no key at {path}"
    assert error.hint == "make one with: plasm key new"


OTHER_KEYS: list[PrivateKeyTypes] = [
    x25519.X25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(public_exponent=65537, key_size=2048),
]


@pytest.mark.parametrize("key", OTHER_KEYS, ids=["x25519", "p256", "rsa"])
def test_a_key_of_another_kind_is_refused(path: Path, key: PrivateKeyTypes) -> None:
    assert str(refusal(write(path, pem(key)))) == f"{path} holds a key that is not Ed25519"


ED25519 = ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 100,
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n",
        pem(ED25519)[:-30],
        pem(ED25519, BestAvailableEncryption(b"secret")),
        ED25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        ED25519.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        ED25519.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()),
        b"\n" * MAX_KEY_BYTES + pem(ED25519),
    ],
    ids=["empty", "bytes", "hollow", "short", "cut", "encrypted", "public", "der", "raw", "huge"],
)
def test_a_file_that_is_no_unencrypted_key_is_refused(path: Path, data: bytes) -> None:
    error = refusal(write(path, data))

    assert str(error) == f"{path} is not an unencrypted private key in PEM form"
    assert "secret" not in str(error)


def test_a_directory_is_no_key(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)

    assert str(refusal(path)) == f"cannot read the key {path}: Is a directory"


@pytest.mark.parametrize("parent", ["file/below", "file"])
def test_a_place_that_cannot_be_is_named(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(KeyFileError, match=r"^cannot write the key .*/node\.key: "):
        create(tmp_path / parent / "node.key")


def test_processes_that_make_a_key_at_once_agree_on_one(path: Path) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CREATE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:  # each begins when its input ends
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    keys = {process.communicate()[0].strip() for process in processes}

    assert keys == {public(load(path)).hex()}
    assert os.listdir(path.parent) == ["node.key"]


def test_threads_that_make_a_key_at_once_agree_on_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            path = tmp_path / str(number) / "node.key"
            keys = {public(key) for key in pool.map(load_or_create, [path] * 8)}
            assert keys == {public(load(path))}


def test_files_left_by_a_crash_do_not_block_a_new_key(path: Path) -> None:
    """In a container every run may have the same process id."""
    write(path.with_name(f".{path.name}.{os.getpid()}.new"), b"")

    assert load_or_create(path)
