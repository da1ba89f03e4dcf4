"""Reading journals, also while they are being written."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nucleation_bluesky.callbacks.journal import CLOSED_SUFFIX, FORMAT, OPEN_SUFFIX, VERSION
from nucleation_bluesky.callbacks.journal_codec import DamagedLineError, decode
from nucleation_bluesky.callbacks.journal_owner import Owner

Document = tuple[str, dict[str, Any]]


class JournalDamagedError(ValueError):
    """A journal is damaged before its end, or is not a journal."""


def journals(directory: Path | str) -> list[Path]:
    """Journals of a directory, open ones included, oldest first."""
    found = Path(directory).glob(f"*{CLOSED_SUFFIX}")
    return sorted((p for p in found if not p.name.startswith(".")), key=lambda p: p.name)


def is_open(path: Path) -> bool:
    """Tell whether a journal was not closed, by its name."""
    return path.name.endswith(OPEN_SUFFIX)


def stem(path: Path) -> str:
    """Name of a journal without its suffix, the same before and after closing."""
    return path.name.removesuffix(OPEN_SUFFIX).removesuffix(CLOSED_SUFFIX)


class JournalReader:
    """Reads a journal step by step.

    A last line without its newline is one that is being written, or was torn by a crash: it is
    not returned (its document was never acknowledged).

    Parameters
    ----------
    path : Path
        The journal, open or closed.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.header: dict[str, Any] | None = None
        self.stopped = False
        self.offset = 0  # end of the last complete line
        self._file = self.path.open("rb", buffering=0)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "JournalReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rewind(self) -> None:
        """Start again at the first document."""
        self.offset = 0
        self.stopped = False

    @property
    def owner(self) -> Owner:
        """The process that writes, or wrote, the journal (JournalDamagedError if unknown)."""
        if self.header is None:
            raise JournalDamagedError(f"{self.path.name} has no header")
        try:
            return Owner.from_dict(self.header["owner"])
        except (KeyError, ValueError) as error:
            raise JournalDamagedError(f"{self.path.name} does not name its owner") from error

    def read(self, limit: int = 8_000_000) -> list[Document]:
        """Return the documents that were completed since the last call.

        Parameters
        ----------
        limit : int
            Bytes to read at most, unless a single line is longer.

        Raises
        ------
        JournalDamagedError
            If a complete line does not match its checksum.
        """
        block = self._block(limit)
        documents: list[Document] = []
        for line in block.splitlines(keepends=True):
            try:
                name, doc = decode(line)
            except DamagedLineError as error:
                raise JournalDamagedError(
                    f"{self.path.name} is damaged at byte {self.offset}: {error}"
                ) from error
            self.offset += len(line)
            if name == "header":
                self._check_header(doc)
                continue
            self.stopped = self.stopped or name == "stop"
            documents.append((name, doc))
        return documents

    def _block(self, limit: int) -> bytes:
        self._file.seek(self.offset)
        block = self._file.read(limit)
        while (end := block.rfind(b"\n")) < 0 and len(block) == limit:
            more = self._file.read(limit)
            block, limit = block + more, limit + len(more)
            if not more:
                break
        return block[: end + 1]

    def _check_header(self, doc: dict[str, Any]) -> None:
        if doc.get("format") != FORMAT or doc.get("version", 0) > VERSION:
            raise JournalDamagedError(
                f"{self.path.name} is not a journal this version can read "
                f"({doc.get('format')} version {doc.get('version')})"
            )
        self.header = doc


def read_journal(path: Path | str) -> Iterator[Document]:
    """Yield every document of a journal, a torn last line left out.

    Raises
    ------
    JournalDamagedError
        If a line before the end is damaged.
    """
    with JournalReader(path) as reader:
        while documents := reader.read():
            yield from documents
