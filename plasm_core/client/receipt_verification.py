"""`plasm_core.verify`: verify receipts that somebody else holds, as `plasm verify` does."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import attrs

from plasm_core import assurance
from plasm_core import config as configuration
from plasm_core.assurance import Standing
from plasm_core.client.submission import Content, argument_bytes, environment_bytes, source_of
from plasm_core.client.upload import MAX_STREAM_BYTES, Source
from plasm_core.config import Config
from plasm_core.errors import KeyFileError, ReceiptRejectedError, ReceiptUndecidedError
from plasm_core.input_file import read_input
from plasm_core.local_node import LocalNode
from plasm_core.records import Decision, Envelope, JobInput, Manifest, PeerId, Verdict, list_digest
from plasm_core.records.envelope import MAX_ENVELOPE_BYTES
from plasm_core.records.manifest import MAX_MANIFEST_BYTES
from plasm_core.records.output import OutputDigest, OutputStream
from plasm_core.records.plan import MAX_EXECUTIONS
from plasm_core.reexecution import NodeLaboratory
from plasm_core.trusted_keys import read_key
from plasm_core.verification import Answer, Expectation, verify_all

log = logging.getLogger(__name__)

Key = PeerId | str
"""A key to trust: a PeerId, its text, 64 hexadecimal digits, or the path of a public key."""


def verify(
    *receipts: Envelope | bytes | str | os.PathLike[str],
    keys: Key | Sequence[Key] = (),
    module: Content | None = None,
    args: Sequence[str | bytes] | None = None,
    env: Mapping[str, str] | Sequence[str | bytes] | None = None,
    stdin: Content | None = None,
    stdout: Content | None = None,
    stderr: Content | None = None,
    manifest: Manifest | bytes | str | os.PathLike[str] | None = None,
    verifier: str | Sequence[str] = (),
    require: str | None = None,
    config: Config | str | os.PathLike[str] | None = None,
) -> Verdict:
    """Verify a receipt, or several nodes' receipts of one task together, and return the verdict.

    It returns only if every verifier accepts, a trusted key signed, and the receipt matches everything that is given.

    `receipts`: an envelope, its JSON as bytes, or the path of a file; `keys`: the keys to trust, each a PeerId, 64
    hexadecimal digits or the path of a public key (by default your own and those of `plasm.known`). `module`,
    `stdin`, `stdout` and `stderr` are bytes or paths, `args`, `env` and `manifest` as of a job; None is not compared.
    `verifier`: names of verifiers, as `["signature", "reexecute"]`, which needs the module. `require`: the required
    assurance (`plasm_core.assurance.REQUIREMENTS`). `config`: as of `Client`.

        from plasm_core import Client, verify

        result = Client().run("examples/hello/hello.wasm", stdin=b"Hello, world")
        verdict = verify(
            result.envelope,
            keys=str(result.receipt.node),
            module="examples/hello/hello.wasm",
            stdin=b"Hello, world",
            stdout=result.stdout,
            verifier=["signature", "reexecute"],
        )
        print(verdict)  # receipt verified ✓ signed by 12D3KooW…, a node that you named, re-executed on …

    Raises: `ReceiptRejectedError`, `ReceiptUndecidedError`, `ConfigError`, `PluginError`; OSError if a file cannot be
    read; ValueError if a key cannot be; TypeError.
    """
    if not 0 < len(receipts) <= MAX_EXECUTIONS:
        raise ValueError(f"expected 1 to {MAX_EXECUTIONS} receipts, got {len(receipts)}")
    settings = (
        config
        if isinstance(config, Config)
        else configuration.load(file=None if config is None else Path(config))
    )
    require = settings.plasm.require if require is None else require
    assurance.check_known(require)
    names = ((verifier,) if isinstance(verifier, str) else tuple(verifier)) or settings.plasm.verifier
    chosen = assurance.verifiers_for(require, names)
    settings = attrs.evolve(settings, plasm=attrs.evolve(settings.plasm, verifier=chosen))
    given = (keys,) if isinstance(keys, (str, PeerId)) else tuple(keys)
    named = frozenset(_key(key) for key in given or settings.plasm.known)
    inputs = JobInput(args=argument_bytes(args or ()), env=environment_bytes(env or ()))
    with ExitStack() as stack:
        files = {
            what: stack.enter_context(closing(source_of(content, what)))
            for what, content in (
                ("module", module),
                ("stdin", stdin),
                ("stdout", stdout),
                ("stderr", stderr),
            )
            if content is not None
        }
        node = stack.enter_context(LocalNode(settings))
        own = frozenset() if given else _own_key(node)
        digests = {what: file.digest for what, file in files.items()}
        expectation = Expectation(
            trusted=named | own,
            manifest_json=None if manifest is None else _manifest(manifest),
            module=digests.get("module"),
            args=None if args is None else list_digest(inputs.args),
            env=None if env is None else list_digest(inputs.env),
            stdin=digests.get("stdin"),
            outputs={
                stream: OutputDigest(size_bytes=files[stream.label].size_bytes, sha256=digests[stream.label])
                for stream in OutputStream
                if stream.label in files
            },
        )

        def load() -> tuple[bytes, JobInput]:
            code = _whole(files["module"], settings.admission.module_bytes)
            data = _whole(files["stdin"], MAX_STREAM_BYTES) if "stdin" in files else b""
            return code, attrs.evolve(inputs, stdin=data)

        answers = [Answer(envelope_json=_envelope(item), expectation=expectation) for item in receipts]
        laboratory = NodeLaboratory(node, load) if module is not None else None
        _, verdict = verify_all(answers, node.verifiers, laboratory=laboratory)
    standing = standing_of(verdict, own, named)
    if verdict.decision is Decision.REJECT:
        raise ReceiptRejectedError(verdict.reasons)
    if verdict.decision is not Decision.ACCEPT:
        error = ReceiptUndecidedError(verdict.reasons)
        if verdict.signers and not given:
            error.hint = "a receipt does not say whom you trust: name the key with keys="
        raise error
    assurance.insist(require, verdict, standing)
    return attrs.evolve(verdict, standing=standing)


def standing_of(verdict: Verdict, own: frozenset[PeerId], named: frozenset[PeerId]) -> Standing:
    """Return the standing of the signers: the lowest of them."""
    if not verdict.signers or not (own | named).issuperset(verdict.signers):
        return Standing.STRANGER
    return Standing.OWN if own.issuperset(verdict.signers) else Standing.NAMED


def _own_key(node: LocalNode) -> frozenset[PeerId]:
    try:
        own = node.signer.existing_peer_id()
    except KeyFileError as exc:
        log.warning("your own key is not used reason=%s", exc)
        return frozenset()
    return frozenset() if own is None else frozenset({own})


def _whole(source: Source, maximum: int) -> bytes:
    if source.size_bytes > maximum:
        raise ValueError(f"expected at most {maximum} bytes, got {source.size_bytes}")
    return source.read(0, maximum)


def _key(key: Key) -> PeerId:
    if isinstance(key, PeerId):
        return key
    try:
        return read_key(key)
    except ValueError as exc:
        raise ValueError(f"keys: {key}: {exc}") from exc


def _envelope(receipt: Envelope | bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(receipt, Envelope):
        return receipt.to_json()
    if isinstance(receipt, bytes):
        return receipt
    return read_input(_path(receipt, "receipt"), MAX_ENVELOPE_BYTES)


def _manifest(manifest: Manifest | bytes | str | os.PathLike[str]) -> bytes:
    if isinstance(manifest, Manifest):
        return manifest.to_json()
    if isinstance(manifest, bytes):
        return manifest
    return read_input(_path(manifest, "manifest"), MAX_MANIFEST_BYTES)


def _path(value: object, what: str) -> str | os.PathLike[str]:
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{what}: expected bytes, or the path of a file, got {type(value).__name__}")
    return value
