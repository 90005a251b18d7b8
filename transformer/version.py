"""The version of this package, as manifests record it."""

import re
from collections.abc import Mapping
from importlib import metadata
from typing import Any

PACKAGE = "transformer-translation"


def package_version() -> str:
    """Returns the version of this package, or "unknown" if the package is not installed."""
    try:
        return metadata.version(PACKAGE)
    except metadata.PackageNotFoundError:
        return "unknown"


def which_version(manifest: Mapping[str, Any]) -> str:
    """Returns advice on which version to install, for a manifest with a format that this version does not read."""
    version = manifest.get("version")
    if isinstance(version, str) and re.fullmatch(r"\d[\w.+!-]{0,30}", version, re.ASCII):
        return f"it was written by {PACKAGE} {version}: install that version or a newer one"
    return f"install another version of {PACKAGE}"
