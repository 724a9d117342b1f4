"""The contents of a bundle: the module, inputs and outputs of each receipt, found by their digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import attrs

from plasm_core.client.upload import Bytes, Source
from plasm_core.errors import BundleError, InvalidRecordError
from plasm_core.records import PAYLOAD_TYPE, Envelope, Receipt
from plasm_core.records.digest import encode_list
from plasm_core.records.output import EMPTY_SHA256

ROLES = ("module", "args", "env", "stdin", "stdout", "stderr")
"""What a receipt names by SHA-256: `args` and `env` as the list encoding of docs/determinism.md."""
MANIFEST = "manifest"
"""The manifest, whose SHA-256 is the job id. A bundle may do without."""
MAX_RECEIPTS = 4096


@attrs.frozen(kw_only=True)
class SignedReceipt:
    """A receipt with the JSON of its envelope."""

    envelope_json: bytes
    receipt: Receipt

    @classmethod
    def read(cls, envelope_json: bytes) -> SignedReceipt:
        """Parse an envelope, without verifying it. Raises: `InvalidRecordError`."""
        envelope = Envelope.from_json(envelope_json)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise InvalidRecordError("envelope", [("payloadType", f"expected {PAYLOAD_TYPE}")])
        return cls(envelope_json=envelope_json, receipt=Receipt.from_statement(envelope.payload))

    @property
    def digests(self) -> Mapping[str, str]:
        """The SHA-256 of each thing that the receipt names, by its role."""
        asked = self.receipt.asked
        return {
            **{role: getattr(asked, role) for role in ("module", "args", "env", "stdin")},
            "stdout": self.receipt.stdout,
            "stderr": self.receipt.stderr,
        }


@attrs.frozen(kw_only=True)
class Contents:
    """The receipts of a bundle, and the files that they name, by SHA-256."""

    receipts: tuple[SignedReceipt, ...]
    files: Mapping[str, Source]

    @classmethod
    def gathered(
        cls, receipts: Sequence[bytes], given: Sequence[Source], lists: Sequence[Sequence[bytes]] = ()
    ) -> Contents:
        """Take of the given files those that the receipts name. `lists`: the arguments, and the environment, of jobs.

        Raises: `InvalidRecordError`; `BundleError` if something is missing, or a given file is named by no receipt.
        """
        if not 0 < len(receipts) <= MAX_RECEIPTS:
            raise BundleError(f"expected 1 to {MAX_RECEIPTS} receipts, got {len(receipts)}")
        read = [SignedReceipt.read(envelope_json) for envelope_json in dict.fromkeys(receipts)]
        with_files = next((item for item in read if item.receipt.asked.files is not None), None)
        if with_files is not None:
            raise BundleError(
                f"the job {with_files.receipt.asked.job_id[:12]}… has files, which a bundle cannot hold"
            )
        own = [Bytes(b""), Bytes(encode_list(())), *(Bytes(encode_list(tuple(items))) for items in lists)]
        at_hand: dict[str, Source] = {source.digest: source for source in [*own, *given]}
        named = {digest for item in read for digest in item.digests.values()}
        named |= {item.receipt.asked.job_id for item in read}
        missing = [
            f"the {role} of {item.receipt.asked.job_id[:12]}… (sha256 {digest})"
            for item in read
            for role, digest in item.digests.items()
            if digest not in at_hand
        ]
        if missing:
            raise BundleError(
                "missing: " + "; ".join(dict.fromkeys(missing)),
                hint="give the files too, in any order; arguments and variables are given by --arg and --env",
            )
        for source in given:
            if source.digest not in named and source.digest != EMPTY_SHA256:
                raise BundleError(f"no receipt names {getattr(source, 'path', 'what was given')}")
        return cls(
            receipts=tuple(read),
            files={
                digest: source
                for digest, source in at_hand.items()
                if digest in named and digest != EMPTY_SHA256  # empty content is stored without a file
            },
        )

    def roles(self) -> Iterator[tuple[str, str]]:
        """Yield digest and role of each file, each once, in the order of the receipts."""
        seen = set()
        for item in self.receipts:
            for role, digest in [*item.digests.items(), (MANIFEST, item.receipt.asked.job_id)]:
                if digest in self.files and digest not in seen:
                    seen.add(digest)
                    yield digest, role
