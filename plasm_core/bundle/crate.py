"""Write a bundle: a zip file whose metadata follow Process Run Crate 0.5 (https://w3id.org/ro/wfrun/process/0.5)."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from plasm_core.bundle.contents import MANIFEST, Contents, SignedReceipt
from plasm_core.client.upload import Bytes, File
from plasm_core.errors import BundleError, PluginMissingError
from plasm_core.records.spki import public_key_pem

RECEIPTS, FILES, KEYS = "receipts/", "files/", "keys/"
METADATA = "ro-crate-metadata.json"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
_STATEMENT = "https://in-toto.io/Statement/v1"
_TYPES = {"module": "application/wasm", MANIFEST: "application/json"}


def receipt_names(receipts: tuple[SignedReceipt, ...]) -> Iterator[tuple[str, SignedReceipt]]:
    """Yield the name of each receipt in the bundle: its job and its node."""
    for number, item in enumerate(receipts, start=1):
        yield f"{RECEIPTS}{number:04}-{item.receipt.asked.job_id[:12]}-{item.receipt.node}.json", item


def write_bundle(contents: Contents, path: Path, *, name: str) -> None:
    """Write a bundle. `name`: its title. Raises: `BundleError`; `PluginMissingError` without the library rocrate."""
    try:
        from rocrate.rocrate import ROCrate  # it takes a quarter of a second to load
    except ImportError as exc:
        raise PluginMissingError(
            "bundles need the library rocrate", hint="pip install 'phase-plasm[bundle]'"
        ) from exc
    crate: Any = ROCrate()
    crate.name = name
    crate.description = "Runs of WebAssembly modules, each with a signed receipt: plasm verify checks them."
    _describe(crate, contents)
    part = path.with_name(f".plasm-{secrets.token_hex(8)}.new")
    try:
        crate.write_zip(part)
        os.replace(part, path)
    except OSError as exc:
        raise BundleError(f"cannot write {path}: {exc.strerror or exc}") from exc
    finally:
        part.unlink(missing_ok=True)


def _describe(crate: Any, contents: Contents) -> None:
    from rocrate.model.contextentity import ContextEntity

    def entity(identifier: str, **properties: Any) -> Any:
        return crate.add(ContextEntity(crate, identifier, properties=properties))

    crate.root_dataset["conformsTo"] = entity(
        PROFILE, **{"@type": "CreativeWork", "name": "Process Run Crate", "version": "0.5"}
    )
    files: dict[str, Any] = {}
    for digest, role in contents.roles():
        source = contents.files[digest]
        given = Path(source.path).name if isinstance(source, File) else role
        data = (
            source.path
            if isinstance(source, File)
            else BytesIO(source.data)
            if isinstance(source, Bytes)
            else None
        )
        properties: dict[str, Any] = {
            "name": given,
            "sha256": digest,
            "contentSize": str(source.size_bytes),
            "encodingFormat": _TYPES.get(role, "application/octet-stream"),
        }
        if role == "module":
            properties |= {"@type": ["File", "SoftwareApplication"], "softwareRequirements": "WASI preview 1"}
        files[digest] = crate.add_file(data, f"{FILES}{digest}", properties=properties)
    nodes: dict[str, Any] = {}
    for name, item in receipt_names(contents.receipts):
        receipt, node = item.receipt, str(item.receipt.node)
        if node not in nodes:
            pem = crate.add_file(
                BytesIO(public_key_pem(receipt.node).encode()),
                f"{KEYS}{node}.pem",
                properties={"name": f"public key of {node}", "encodingFormat": "application/x-pem-file"},
            )
            nodes[node] = entity(
                f"urn:plasm:node:{node}",
                **{"@type": "Organization", "name": f"the Plasm node {node}", "subjectOf": pem},
            )
        signed = crate.add_file(
            BytesIO(item.envelope_json),
            name,
            properties={
                "name": f"receipt of {node}",
                "encodingFormat": "application/vnd.dsse.envelope+json",
                "conformsTo": {"@id": _STATEMENT},
            },
        )
        digests = item.digests
        claims, outcome = receipt.claims, receipt.result.outcome
        action = crate.add_action(
            files[digests["module"]],
            identifier=f"#{name.removeprefix(RECEIPTS).removesuffix('.json')}",
            object=[files[digests[role]] for role in ("args", "env", "stdin") if digests[role] in files],
            result=[files[digests[role]] for role in ("stdout", "stderr") if digests[role] in files],
            properties={
                "@type": "CreateAction",
                "name": f"job {receipt.asked.job_id}",
                "description": f"{outcome}; {receipt.result.gas_used} gas",
                "startTime": claims.started_at.isoformat(),
                "endTime": claims.finished_at.isoformat(),
                "actionStatus": {
                    "@id": f"http://schema.org/{'CompletedActionStatus' if outcome.ok else 'FailedActionStatus'}"
                },
            },
        )
        action["agent"] = nodes[node]
        action["subjectOf"] = signed
        if not outcome.ok:
            action["error"] = str(outcome)
        crate.root_dataset.append_to("mentions", action)
