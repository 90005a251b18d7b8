"""[about]: the name of the model, its licence and its data."""

from typing import Annotated

from transformer.config.section import HARMLESS, FreeText, Section


class About(Section):
    """Free text about the model: kept in its config.json and in exports, never interpreted."""

    name: Annotated[FreeText, HARMLESS] = ""
    """name of the model"""
    licence: Annotated[FreeText, HARMLESS] = ""
    """terms under which the model may be used"""
    data: Annotated[FreeText, HARMLESS] = ""
    """what the model was trained on, and the terms of that data"""

    def lines(self) -> list[str]:
        """Returns the texts that are not empty, each as one line with a label, such as `Licence: ...`."""
        labelled = {"Name": self.name, "Licence": self.licence, "Data": self.data}
        plain = {label: "".join(c if c.isprintable() else " " for c in text) for label, text in labelled.items()}
        return [f"{label}: {' '.join(text.split())}" for label, text in plain.items() if text.strip()]
