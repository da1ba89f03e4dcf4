"""Parsers of other people's formats, which raise whatever damaged bytes lead them to."""

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

LONGEST = 200  # characters of a parser's own words


@contextmanager
def one_sentence(what: str, error: type[ValueError]) -> Iterator[None]:
    """Turn whatever a parser raises into ``error``, in one line.

    Parameters
    ----------
    what : str
        What cannot be read.
    error : type of ValueError
        To raise; one that is raised already passes.
    """
    try:
        yield
    except error:
        raise
    except Exception as exc:  # noqa: BLE001 - a parser that meets damaged bytes can raise anything
        said = textwrap.shorten(str(exc), LONGEST, placeholder=" ...") or type(exc).__name__
        raise error(f"{what} ({said})") from None
