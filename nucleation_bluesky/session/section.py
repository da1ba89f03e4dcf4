"""What every section of the configuration file shares."""

from typing import get_args

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """Entries with defaults; an unknown entry is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def section_class(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that an entry stands for, None for a plain value."""
    for option in (field.annotation, *get_args(field.annotation)):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
