"""Codes that an authenticator shows (RFC 4226 and RFC 6238)."""

import hashlib
import hmac
import struct
from typing import Final

STEP_S: Final = 30
DIGITS: Final = 6
AROUND: Final = (0, -1, 1)
"""Steps that count beside the present one: clocks differ and typing takes time."""


def code_at(secret: bytes, step: int, *, digits: int = DIGITS) -> str:
    """Return the code of a step, with leading zeros (RFC 4226 §5.3, SHA-1)."""
    digest = hmac.new(secret, struct.pack(">Q", step), hashlib.sha1).digest()
    start = digest[-1] & 0x0F
    (number,) = struct.unpack(">I", digest[start : start + 4])
    return str((number & 0x7FFF_FFFF) % 10**digits).zfill(digits)


def step_of(secret: bytes, code: str, *, now_s: float, used: int) -> int | None:
    """Return the step whose code this is, ``None`` for a wrong code.

    Steps up to ``used`` are spent: a code that was seen on its way opens nothing afterwards.
    """
    present = int(now_s // STEP_S)
    for step in (present + apart for apart in AROUND):
        right = hmac.compare_digest(code_at(secret, step).encode(), code.encode())
        if right and step > used:
            return step
    return None
