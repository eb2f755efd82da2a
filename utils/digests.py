"""SHA-256 digests of content given in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def digest_of(parts: Iterable[str | bytes | memoryview]) -> str:
    """Return the SHA-256, in hexadecimal, of a sequence of parts; the same bytes split differently have another one."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode("utf-8", errors="surrogatepass") if isinstance(part, str) else part
        size = content.nbytes if isinstance(content, memoryview) else len(content)
        total.update(size.to_bytes(8, "little"))
        total.update(content)
    return total.hexdigest()
