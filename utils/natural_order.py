"""Natural sort order of names with numbers: `resnet18` before `resnet110`."""

import re


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key to sort names by, in which a run of digits counts as the number that it spells."""
    parts = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(0, int(part), part) if part[0] in "0123456789" else (1, 0, part) for part in parts]
