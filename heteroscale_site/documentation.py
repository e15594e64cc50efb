"""The page about settings, as text."""

from __future__ import annotations

from heteroscale_site.configuration import Setting, declared

HEAD = """\
# Configuration

HeteroScale reads its settings from the environment. None has to be set to try it out: without
`DATABASE_URL` and `REDIS_URL` it starts servers of its own. A setting that is wrong stops the
start with its name and what to write instead.

This page is made by `./heteroscale document_settings`.
"""


def settings_page() -> str:
    """Return docs/configuration.md."""
    groups = dict.fromkeys(setting.group for setting in declared())
    return HEAD + "".join(_section(group) for group in groups)


def _section(group: str) -> str:
    rows = [_row(setting) for setting in declared() if setting.group == group]
    head = [
        "",
        f"## {group}",
        "",
        "| Name | What it is | Default | Meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def _row(setting: Setting) -> str:
    kind = f"{setting.kind}, secret" if setting.secret else setting.kind
    meaning = setting.help.replace("|", "\\|")
    return f"| `{setting.name}` | {kind} | {setting.shown_default} | {meaning} |"
