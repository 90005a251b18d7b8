"""Messages about invalid settings: `key = value: what is wrong and how to fix it`."""

from pydantic_core import ErrorDetails

from transformer.config.loading import sections, settings
from transformer.errors import nearest


def explain(error: ErrorDetails) -> str:
    """Turns an error of pydantic into `key = value: what is wrong and how to fix it`."""
    key = ".".join(str(part) for part in error["loc"] if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        known = [*(setting.key for setting in settings()), *sections()]
        same_name = [other for other in known if other.rpartition(".")[2] == key.rpartition(".")[2]]
        return f"unknown key {key}{nearest(key, same_name) or nearest(key, known)}"
    if error["type"] == "value_error":
        fault = error["msg"].removeprefix("Value error, ")
        return f"{key} = {fault}" if key in (setting.key for setting in settings()) else fault
    if error["type"] == "model_type":
        return f"{key} = {error['input']!r}: must be a section; write [{key}]"
    if error["type"] == "tuple_type":
        return f"{key} = {error['input']!r}: should be a list"
    return f"{key} = {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"
