"""Files that come with a form.

Owns what a handler sees of one; reading forms is ``_forms.py``'s job.
"""

from __future__ import annotations

from typing import IO, Any, final

import anyio.to_thread
from pydantic_core import CoreSchema, core_schema

__all__ = ("Upload",)


@final
class Upload:
    """A file that was sent with a form; it is gone when the request has been answered.

    Args:
        filename: What the sender calls it; never a path to write to.
        content_type: What the sender says it is.
        size: Its size, in bytes.
        file: Its content.

    Example:
        >>> import io
        >>> Upload("tea.txt", "text/plain", 5, io.BytesIO(b"green")).file.read()
        b'green'
    """

    __slots__ = ("content_type", "file", "filename", "size")

    def __init__(self, filename: str, content_type: str, size: int, file: IO[bytes]) -> None:
        self.filename, self.content_type, self.size, self.file = filename, content_type, size, file

    async def read(self, size: int = -1) -> bytes:
        """Read on, in a worker thread.

        Args:
            size: How many bytes at most; all unless given.
        """
        return await anyio.to_thread.run_sync(self.file.read, size)

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        """Let pydantic take one for what it is."""
        return core_schema.is_instance_schema(cls)

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: Any, _handler: Any) -> dict[str, Any]:
        """Let the documents tell what it is, as OpenAPI 3.1 does."""
        return {"type": "string", "contentMediaType": "application/octet-stream"}

    def __repr__(self) -> str:
        return f"Upload({self.filename!r}, {self.content_type!r}, {self.size})"
