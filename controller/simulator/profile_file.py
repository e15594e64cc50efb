"""Engine profiles as JSON files: written, read back exactly, and refused with the field."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Final, NoReturn

from controller.simulator.profiles import HARDWARE, HardwareSpec, Profile, Ranges

FORMAT: Final = "heteroscale-profile/1"
KINDS: Final = ("measured", "derived", "modelled")
MOST_GPUS: Final = 1024
MOST_SEQS: Final = 65_536
MOST_TEXT: Final = 1000
SLOWEST_STEP_S: Final = 5.0
"""A step of one sequence that takes longer was given in another unit."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._/-]{0,79}")
_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_FIELDS: Final = (
    "format",
    "name",
    "model",
    "precision",
    "engine",
    "kind",
    "source",
    "hardware",
    "hardware_spec",
    "gpus_per_instance",
    "prefill_s",
    "decode_s",
    "experts",
    "kv_bytes_per_token",
    "kv_capacity_tokens",
    "max_seqs",
    "fit_error_frac",
    "fitted_on",
)
_SPEC_FIELDS: Final = tuple(field.name for field in fields(HardwareSpec) if field.name != "name")
_RANGES: Final = tuple(field.name for field in fields(Ranges))


class ProfileError(ValueError):
    """A profile that can't be used: ``field`` names the figure, ``problem`` what to do."""

    def __init__(self, name: str, field: str, problem: str) -> None:
        self.name = name
        self.field = field
        self.problem = problem
        super().__init__(f"{name}, {field}: {problem}" if field else f"{name}: {problem}")


def write_profile(profile: Profile) -> bytes:
    """Return the profile as a JSON document in UTF-8 that :func:`read_profile` turns back.

    Raises :class:`ProfileError` for what :func:`read_profile` would refuse.
    """
    check_profile(profile)
    text = json.dumps(profile_body(profile), indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def profile_body(profile: Profile) -> dict[str, object]:
    """Return the profile as the object its file holds; what is unknown is null."""
    p, spec, ranges = profile, profile.own_spec, profile.ranges
    return {
        "format": FORMAT,
        "name": p.name,
        "model": p.model,
        "precision": p.precision,
        "engine": p.engine,
        "kind": p.kind,
        "source": p.provenance,
        "hardware": p.hardware,
        "hardware_spec": spec and {name: _known(getattr(spec, name)) for name in _SPEC_FIELDS},
        "gpus_per_instance": p.tp,
        "prefill_s": {"a": p.a, "b_per_token": p.b, "c_per_token2": p.c},
        "decode_s": {"c0": p.c0, "c1_per_seq": p.c1, "c2_per_token": p.c2, "c3_experts": p.c3},
        "experts": {"active": p.top_k, "all": p.experts} if p.experts else None,
        "kv_bytes_per_token": p.kv_bytes_per_token,
        "kv_capacity_tokens": p.kv_capacity_tokens,
        "max_seqs": p.max_seqs,
        "fit_error_frac": {
            "prefill": _known(p.prefill_error_frac),
            "decode": _known(p.decode_error_frac),
        },
        "fitted_on": ranges and {name: list(getattr(ranges, name)) for name in _RANGES},
    }


def read_profile(data: bytes, name: str) -> Profile:
    """Return the profile of a file; ``name`` is what an error calls it.

    Raises :class:`ProfileError` for anything but a complete profile of this format with figures
    an engine can have.
    """
    profile = _profile(_Part(_parsed(data, name), name, "", _FIELDS))
    check_profile(profile, name)
    return profile


def check_profile(profile: Profile, name: str = "") -> None:
    """Raise :class:`ProfileError` when the figures can't be those of an engine."""
    called = name or profile.name
    for field, problem in _problems(profile):
        raise ProfileError(called, field, problem)


def _known(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def _problems(p: Profile) -> list[tuple[str, str]]:
    figures = {
        "prefill_s.a": p.a,
        "prefill_s.b_per_token": p.b,
        "prefill_s.c_per_token2": p.c,
        "decode_s.c0": p.c0,
        "decode_s.c1_per_seq": p.c1,
        "decode_s.c2_per_token": p.c2,
        "decode_s.c3_experts": p.c3,
    }
    found = [
        (field, f"{value!r} is no finite number of at least 0")
        for field, value in figures.items()
        if not (math.isfinite(value) and value >= 0)
    ]
    return found or [
        *_identity_problems(p),
        *_speed_problems(p),
        *_size_problems(p),
        *_spec_problems(p),
    ]


def _identity_problems(p: Profile) -> list[tuple[str, str]]:
    found = []
    if not _NAME.fullmatch(p.name):
        found.append(("name", "use up to 80 small letters, digits, '.', '_', '-' and '/'"))
    if p.kind not in KINDS:
        found.append(("kind", f"'{p.kind}' is none of {', '.join(KINDS)}"))
    for field, text in (("model", p.model), ("precision", p.precision)):
        if not text.strip():
            found.append((field, "is empty"))
    for field, text in (("model", p.model), ("engine", p.engine), ("source", p.provenance)):
        if len(text) > MOST_TEXT:
            found.append((field, f"{len(text)} characters: at most {MOST_TEXT}"))
    return found


def _speed_problems(p: Profile) -> list[tuple[str, str]]:
    found = []
    if p.b + p.c <= 0:
        found.append(("prefill_s", "a longer prompt takes no longer: b or c must be above 0"))
    if p.c0 + p.c3 <= 0:
        found.append(
            ("decode_s", "no batch is ever faster than one sequence: c0 or c3 must be above 0")
        )
    if p.c1 + p.c2 + p.c3 <= 0:
        found.append(
            ("decode_s", "a step takes the same whatever its batch: c1, c2 or c3 must be above 0")
        )
    if p.c0 + p.c1 > SLOWEST_STEP_S:
        found.append(
            ("decode_s", f"a step of one sequence takes {p.c0 + p.c1:g} s: give seconds, not ms")
        )
    return found


def _size_problems(p: Profile) -> list[tuple[str, str]]:
    found = []
    for field, value, most in (
        ("gpus_per_instance", p.tp, MOST_GPUS),
        ("max_seqs", p.max_seqs, MOST_SEQS),
        ("kv_bytes_per_token", p.kv_bytes_per_token, 2**40),
        ("kv_capacity_tokens", p.kv_capacity_tokens, 2**50),
    ):
        if not 1 <= value <= most:
            found.append((field, f"{value:,} is not between 1 and {most:,}"))
    if (p.experts or p.top_k or p.c3) and not 1 <= p.top_k <= p.experts:
        found.append(
            ("experts", f"{p.top_k} active of {p.experts}: give between 1 and all, or no c3")
        )
    return found


def _spec_problems(p: Profile) -> list[tuple[str, str]]:
    spec = p.own_spec
    if spec is None:
        if p.hardware in HARDWARE:
            return []
        known = ", ".join(sorted(HARDWARE))
        return [("hardware", f"'{p.hardware}' is not known and not described; known: {known}")]
    if not _SLUG.fullmatch(p.hardware) or spec.name != p.hardware:
        return [("hardware", f"'{p.hardware}': use small letters, digits and '-'")]
    return [
        (f"hardware_spec.{field}", f"{getattr(spec, field)!r} is no finite number above 0")
        for field in ("gpus_per_node", "gpu_memory_gib", "mem_bw_gb_s", "nic_gb_s")
        if not (math.isfinite(getattr(spec, field)) and getattr(spec, field) > 0)
    ]


class _Part:
    """One JSON object whose fields are known; every read names the field it is about."""

    def __init__(self, value: object, name: str, path: str, known: tuple[str, ...]) -> None:
        self.name = name
        self.path = path
        if not isinstance(value, dict):
            raise ProfileError(name, path.rstrip("."), "is no JSON object")
        self.values: Mapping[str, object] = value
        for key in value:
            if key not in known:
                self.refuse(key, f"is not known; known: {', '.join(known)}")

    def refuse(self, field: str, problem: str) -> NoReturn:
        """Raise the error about a field."""
        raise ProfileError(self.name, f"{self.path}{field}", problem)

    def part(self, field: str, *known: str) -> "_Part | None":
        """Return the object in a field, or None where the file has null."""
        value = self._value(field)
        if value is None:
            return None
        return _Part(value, self.name, f"{self.path}{field}.", known)

    def required(self, field: str, *known: str) -> "_Part":
        """Return the object in a field."""
        return self.part(field, *known) or self.refuse(field, "is null")

    def text(self, field: str) -> str:
        """Return a string."""
        value = self._value(field)
        return value if isinstance(value, str) else self.refuse(field, f"{value!r} is no text")

    def whole(self, field: str) -> int:
        """Return an integer."""
        value = self._value(field)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(field, f"{value!r} is no whole number")
        return value

    def number(self, field: str) -> float:
        """Return a number."""
        return self._number(field, self._value(field))

    def number_or_unknown(self, field: str) -> float:
        """Return a number, NaN where the file has null."""
        return math.nan if self._value(field) is None else self.number(field)

    def range(self, field: str) -> tuple[float, float]:
        """Return a pair (least, most)."""
        value = self._value(field)
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
            self.refuse(field, "is no pair [least, most]")
        least, most = (self._number(field, each) for each in value)
        if not 0 <= least <= most:
            self.refuse(field, f"{least:g} to {most:g} is no range")
        return least, most

    def _value(self, field: str) -> object:
        if field not in self.values:
            self.refuse(field, "is missing")
        return self.values[field]

    def _number(self, field: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(field, f"{value!r} is no number")
        try:
            return float(value)
        except OverflowError:
            self.refuse(field, "is too large")


def _parsed(data: bytes, name: str) -> object:
    def refuse(constant: str) -> NoReturn:
        raise ProfileError(name, "", f"{constant} is no figure: write null for what is unknown")

    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=refuse)
    except (UnicodeDecodeError, RecursionError) as error:
        raise ProfileError(name, "", "is no UTF-8 JSON document") from error
    except json.JSONDecodeError as error:
        raise ProfileError(name, f"line {error.lineno}", f"no JSON: {error.msg}") from error


def _profile(file: _Part) -> Profile:
    if file.text("format") != FORMAT:
        file.refuse("format", f"is not {FORMAT}")
    prefill = file.required("prefill_s", "a", "b_per_token", "c_per_token2")
    decode = file.required("decode_s", "c0", "c1_per_seq", "c2_per_token", "c3_experts")
    experts = file.part("experts", "active", "all")
    errors = file.required("fit_error_frac", "prefill", "decode")
    hardware = file.text("hardware")
    return Profile(
        name=file.text("name"),
        model=file.text("model"),
        precision=file.text("precision"),
        hardware=hardware,
        tp=file.whole("gpus_per_instance"),
        a=prefill.number("a"),
        b=prefill.number("b_per_token"),
        c=prefill.number("c_per_token2"),
        c0=decode.number("c0"),
        c1=decode.number("c1_per_seq"),
        c2=decode.number("c2_per_token"),
        c3=decode.number("c3_experts"),
        top_k=experts.whole("active") if experts else 0,
        experts=experts.whole("all") if experts else 0,
        kv_bytes_per_token=file.whole("kv_bytes_per_token"),
        kv_capacity_tokens=file.whole("kv_capacity_tokens"),
        max_seqs=file.whole("max_seqs"),
        kind=file.text("kind"),
        provenance=file.text("source"),
        prefill_error_frac=errors.number_or_unknown("prefill"),
        decode_error_frac=errors.number_or_unknown("decode"),
        engine=file.text("engine"),
        own_spec=_spec(file.part("hardware_spec", *_SPEC_FIELDS), hardware),
        ranges=_ranges(file.part("fitted_on", *_RANGES)),
    )


def _spec(part: _Part | None, name: str) -> HardwareSpec | None:
    if part is None:
        return None
    return HardwareSpec(
        name,
        part.text("label"),
        part.text("vendor"),
        part.whole("gpus_per_node"),
        part.number("gpu_memory_gib"),
        part.number("mem_bw_gb_s"),
        part.number_or_unknown("bf16_tflops"),
        part.number("nic_gb_s"),
        part.text("source"),
    )


def _ranges(part: _Part | None) -> Ranges | None:
    return Ranges(*(part.range(name) for name in _RANGES)) if part else None
