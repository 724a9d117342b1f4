"""A submission out of a received form."""

from __future__ import annotations

from collections.abc import Mapping

from plasm_core.client.module_profile import needed_profile
from plasm_core.client.submission import Submission, argument_bytes, environment_bytes
from plasm_core.client.upload import Bytes, Pack, Source
from plasm_core.protocol.channels import Channel
from plasm_core.records import JobInput, Manifest
from plasm_core.records.digest import encode_list
from plasm_core.records.fields import ConstraintError
from plasm_core.records.job_description import JobDescription
from plasm_core.records.manifest import DEFAULT_LIMITS, ZERO_SEED, manifest_of
from plasm_core.web import job_trees
from plasm_core.web.forms import Form
from plasm_core.web.job_trees import JobTree
from plasm_core.web.problems import ApiProblem, invalid

TEXTS = frozenset({"manifest", "job", "args", "env", "moduleDigest", "webhook"}) | job_trees.TEXTS
_MAX_INPUT_BYTES = 2 << 20
"""Arguments and environment as they are sent to a node: no node takes more (`plasm_core.policy`)."""


def submission_of(form: Form, module: Source, tree: JobTree | None = None) -> tuple[Submission, str]:
    """Return the submission that a form describes, and the name to show for it. Blocks: a description may be 8 MiB.

    `tree`: the job's files, which the caller closes. Raises: `ApiProblem`, `InvalidRecordError`.
    """
    described = form.one("job")
    job = JobDescription.from_json(described) if described is not None else JobDescription()
    name = job.name or form.file_names.get("module") or "module.wasm"
    if job.stdin_file is not None:
        raise invalid(
            "job.stdin_file",
            "the server opens no file that a request names: send the bytes as the part stdin",
        )
    try:
        args, env = _args(form, job), _env(form, job)
        _check_size(args, env)
        inputs = JobInput(args=args, env=env)
        given = form.files.get("stdin")
        stdin: Source = given if given is not None else Bytes(job.stdin_bytes() or b"")
        manifest_json = form.one("manifest")
        if manifest_json is None:
            manifest_json = _manifest(job, module, inputs, stdin, tree).to_json()
        else:
            _check(Manifest.from_json(manifest_json), module, inputs, stdin, job)
            if tree is None and Manifest.from_json(manifest_json).files is not None:
                raise invalid(
                    "pack", "the manifest has files: send its tree as pack, or name it by treeDigest"
                )
    except (TypeError, ConstraintError, ValueError) as exc:
        raise ApiProblem(422, "invalid_request", str(exc)) from exc
    sources: dict[Channel, Source] = {
        Channel.MODULE: module,
        Channel.ARGS: Bytes(encode_list(inputs.args)),
        Channel.ENV: Bytes(encode_list(inputs.env)),
        Channel.STDIN: stdin,
    }
    if tree is not None:
        sources[Channel.FILES] = Pack(tree.pack)
    pack = None if tree is None else tree.pack
    return Submission(manifest_json=manifest_json, sources=sources, pack=pack), name


def _check_size(args: tuple[bytes, ...], env: tuple[bytes, ...]) -> None:
    """Refuse what no node takes, before it is copied further. Raises: `ApiProblem`."""
    size = sum(8 + len(item) for item in (*args, *env))  # each preceded by its length
    if size > _MAX_INPUT_BYTES:
        raise ApiProblem(
            413,
            "input_too_large",
            f"args and env: {size:,} bytes, more than the {_MAX_INPUT_BYTES:,} allowed",
        )


def _args(form: Form, job: JobDescription) -> tuple[bytes, ...]:
    return tuple(form.texts["args"]) if "args" in form.texts else argument_bytes(job.args)


def _env(form: Form, job: JobDescription) -> tuple[bytes, ...]:
    return environment_bytes(form.texts.get("env", job.env))


def _manifest(
    job: JobDescription, module: Source, inputs: JobInput, stdin: Source, tree: JobTree | None
) -> Manifest:
    return manifest_of(
        module=module.digest,
        inputs=inputs,
        stdin=stdin.digest,
        limits=job.limits(DEFAULT_LIMITS),
        seed=job.seed or ZERO_SEED,
        wall_time_s=60 if job.wall_time_s is None else job.wall_time_s,
        grants=job.grants or (),
        files=None if tree is None else tree.asked,
        profile=needed_profile(module),
    )


def _check(manifest: Manifest, module: Source, inputs: JobInput, stdin: Source, job: JobDescription) -> None:
    """Refuse what is not what a manifest names, before it is sent to the node. Raises: `ApiProblem`."""
    found: Mapping[str, str] = {
        "module": module.digest,
        "args": Bytes(encode_list(inputs.args)).digest,
        "env": Bytes(encode_list(inputs.env)).digest,
        "stdin": stdin.digest,
    }
    wrong = [name for name, digest in found.items() if getattr(manifest, name) != digest]
    if wrong:
        raise ApiProblem(
            422,
            "digest_mismatch",
            f"what was sent is not what the manifest names: {', '.join(wrong)}",
            errors=[(name, f"its digest is {found[name]}") for name in wrong],
        )
    if job != _only_inputs(job):
        raise invalid("job", "limits, seed and grants are in the manifest: leave them out here")


def _only_inputs(job: JobDescription) -> JobDescription:
    return JobDescription(
        name=job.name, args=job.args, env=job.env, stdin=job.stdin, stdin_base64=job.stdin_base64
    )
