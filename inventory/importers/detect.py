"""Which format a file has, told by its content, and the one way in for all of them."""

import re
from collections.abc import Callable
from typing import Final

from inventory.importers import (
    ibnetdiscover,
    kubernetes,
    lldp,
    netbox,
    nvidia_smi,
    slurm,
    table,
    topograph,
    yaml_file,
)
from inventory.importers.found import Found, Options, RefusedError
from inventory.importers.gathering import Gathering
from inventory.importers.hostlist import HostListError

MAX_BYTES: Final = 64 * 1024 * 1024
MAX_LINES: Final = 4_000_000
AUTO: Final = "auto"
FORMATS: Final[dict[str, Callable[[bytes, Gathering], Found]]] = {
    "kubernetes": kubernetes.read,
    "csv": table.read,
    "yaml": yaml_file.read,
    "ibnetdiscover": ibnetdiscover.read,
    "topograph": topograph.read,
    "slurm": slurm.read,
    "nvidia-smi": nvidia_smi.read,
    "lldp": lldp.read,
    "netbox": netbox.read,
}
_PACKED: Final = (
    (b"PK\x03\x04", "a zip file; spreadsheets are: save the sheet as CSV"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\x00", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd"),
    (b"\xd0\xcf\x11\xe0", "an old spreadsheet: save the sheet as CSV"),
)
# The order matters: what is surest comes first, and a table is what is left. No expression here
# or in an importer may go over the same characters again and again, whatever it is given.
_SIGNS: Final = (
    ("ibnetdiscover", re.compile(r'(?m)^(Switch|Ca)[ \t]+\d+[ \t]+"[SH]-|^switchguid=')),
    ("yaml", re.compile(r"(?m)^version[ \t]*:[ \t]*\d")),
    ("topograph", re.compile(r"(?m)^blocks[ \t]*:")),
    (
        "nvidia-smi",
        re.compile(
            r"<nvidia_smi_log|NVIDIA-SMI|(?m:^[^\n]{0,200}\b(index\b[^\n]{0,400}\b"
            r"(uuid|pci\.bus_id|memory\.total)\b|(uuid|pci\.bus_id)\b[^\n]{0,400}\bindex\b))"
        ),
    ),
    ("lldp", re.compile(r'"lldp"\s*:')),
    ("kubernetes", re.compile(r'\bkind"?\s*:\s*"?(Node|NodeList|List)\b')),
    ("netbox", re.compile(r'"url"\s*:\s*"[^"]*/api/(dcim|virtualization)/|"results"\s*:\s*\[')),
    ("slurm", re.compile(r"(?mi)^[ \t]*(SwitchName|BlockName)[ \t]*=")),
)
_HEAD: Final = 256 * 1024


def read(data: bytes, name: str, options: Options, form: str = AUTO) -> Found:
    """Return what a file says exists; ``name`` is said where something is wrong.

    Raises :class:`RefusedError` for what is not read at all: a file over 64 MiB, packed, not
    UTF-8, of no known format, or broken as a whole. What is wrong with single things is in the
    faults of the answer.
    """
    text = _checked(data)
    chosen = detect(text[:_HEAD]) if form == AUTO else form
    if chosen not in FORMATS:
        raise RefusedError("no_format", f"there is no format {chosen!r}: {', '.join(FORMATS)}")
    try:
        return FORMATS[chosen](text.encode(), Gathering(name, options))
    except HostListError as fault:
        raise RefusedError("too_many", str(fault)) from fault


def detect(head: str) -> str:
    """Return the name of a file's format from its beginning.

    Raises :class:`RefusedError` when nothing fits.
    """
    head = head.lstrip()
    for form, sign in _SIGNS:
        if sign.search(head):
            return form
    first = head.split("\n", 1)[0]
    if head[:1] in {"{", "[", "<"} or not re.search(r"[,;\t|]", first):
        raise RefusedError("no_format", "the file is of no format that is known here")
    return "csv"


def _checked(data: bytes) -> str:
    """Return a file's text without its byte order mark."""
    if len(data) > MAX_BYTES:
        most = MAX_BYTES // 1024 // 1024
        size = -(-len(data) // (1024 * 1024))
        raise RefusedError("too_large", f"the file has {size} MiB, at most {most} MiB are read")
    for begin, what in _PACKED:
        if data.startswith(begin):
            raise RefusedError("packed", f"the file is {what}")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RefusedError("not_utf8", "the file is UTF-16: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = data.count(b"\n", 0, fault.start) + 1
        message = f"byte {fault.start + 1} is no UTF-8: save the file as UTF-8"
        raise RefusedError("not_utf8", message, line) from fault
    _check_text(text)
    return text


def _check_text(text: str) -> None:
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise RefusedError("binary", "the file holds zero bytes, so it is no text", line)
    if text.count("\n") > MAX_LINES:
        raise RefusedError("too_many", f"more than {MAX_LINES:,} lines are not read at once")
    if not text.strip():
        raise RefusedError("empty", "the file is empty")
