"""The options of `plasm verify` that name the files of one receipt."""

RECEIPT_FILES = (
    "stdout_file",
    "stderr_file",
    "stdin_file",
    "args",
    "env",
    "module_file",
    "manifest_file",
    "files",
    "directories",
    "outputs",
    "links",
)
