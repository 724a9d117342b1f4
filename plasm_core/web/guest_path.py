"""The rest of a URL's path as the path of a file in a job's tree, which may have any character but NUL."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class GuestPath(Convertor[str]):
    """`{path:guest}` in a route. Starlette's own `path` has no line breaks, which names of files may have."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """Return the path as it is: it is looked up in a listing, and nowhere else."""
        return value

    def to_string(self, value: str) -> str:
        """Return the path as it is."""
        return value


register_url_convertor("guest", GuestPath())
FILE_PATH = "{path:guest}"
