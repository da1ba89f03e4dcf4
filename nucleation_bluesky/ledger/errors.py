"""What the ledger refuses, each with one sentence that says what to do."""


class LedgerError(RuntimeError):
    """Base of everything the ledger refuses."""


class LedgerCorruptError(LedgerError):
    """The file is no ledger, is damaged, or has another schema version."""


class LedgerBusyError(LedgerError):
    """Another process held the ledger's write lock for too long."""


class NetworkFileSystemError(LedgerError):
    """The file lies on a network file system, where locks and fsync cannot be trusted."""


class IllegalTransitionError(LedgerError):
    """An exposure was to go back, or to skip a state."""


class UnknownSampleError(LedgerError):
    """The sample, or its mount, is not in the ledger."""


class UnregisteredMountError(LedgerError):
    """Earlier exposures cannot be located in the frame of the present mount."""


class SiteRefusedError(LedgerError):
    """A site must not be exposed."""


class SiteUsedError(SiteRefusedError):
    """The site has had all the exposures it is allowed."""


class SiteTooCloseError(SiteRefusedError):
    """The site is nearer to an earlier exposure than the minimum distance."""


class BadPositionError(SiteRefusedError, ValueError):
    """A position or uncertainty is not a finite number."""
