"""Parameters of the virtual instruments: each says its unit and where its value is from."""

from typing import Any

from pydantic import Field


def parameter(default: Any, unit: str, source: str, doc: str, **limits: Any) -> Any:
    """Return a field of a model with its unit and source.

    Parameters
    ----------
    default : object
        Value.
    unit : str
        SI; "" where there is none.
    source : str
        Paper, figure or choice it comes from.
    doc : str
        What it is.
    limits : object
        As `pydantic.Field` takes them.
    """
    return Field(
        default=default,
        description=f"{doc} [{unit or '1'}]",
        json_schema_extra={"unit": unit, "source": source},
        **limits,
    )
