"""The ledger's tables: append-only, and kept so by the database itself."""

from enum import StrEnum

APPLICATION_ID = 0x4E424C47  # "NBLG"
SCHEMA_VERSION = 1


class ExposureState(StrEnum):
    """State of an exposure: CLAIMED -> ENERGISED -> DONE, or BURNED from either; never back."""

    CLAIMED = "CLAIMED"
    ENERGISED = "ENERGISED"
    DONE = "DONE"
    BURNED = "BURNED"


class MountKind(StrEnum):
    """How a mount's frame relates to what was exposed before."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    NEW_AREA = "new_area"


_FOREVER = "ABORT, 'the ledger is append-only'"

_TABLES = """
CREATE TABLE samples (
    sample TEXT PRIMARY KEY,
    added REAL NOT NULL,
    note TEXT NOT NULL
) STRICT;

CREATE TABLE mounts (
    sample TEXT NOT NULL REFERENCES samples (sample),
    epoch INTEGER NOT NULL,
    time REAL NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('unregistered', 'registered', 'new_area')),
    area INTEGER NOT NULL,
    dx REAL NOT NULL,
    dy REAL NOT NULL,
    angle REAL NOT NULL,
    uncertainty REAL NOT NULL CHECK (uncertainty >= 0),
    PRIMARY KEY (sample, epoch)
) STRICT;

-- u, v: position in the area's own frame (that of its first mount), where distances are compared
CREATE TABLE exposures (
    id INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE CHECK (length(token) = 24),
    sample TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    area INTEGER NOT NULL,
    frame TEXT NOT NULL,
    x REAL NOT NULL,
    y REAL NOT NULL,
    position_uncertainty REAL NOT NULL CHECK (position_uncertainty >= 0),
    u REAL NOT NULL,
    v REAL NOT NULL,
    uncertainty REAL NOT NULL,
    technique TEXT NOT NULL,
    owner TEXT NOT NULL,
    time REAL NOT NULL,
    FOREIGN KEY (sample, epoch) REFERENCES mounts (sample, epoch)
) STRICT;
CREATE INDEX exposures_epoch ON exposures (sample, epoch);
CREATE INDEX exposures_u ON exposures (sample, area, u);
CREATE INDEX exposures_uncertainty ON exposures (sample, area, uncertainty);

CREATE TABLE transitions (
    id INTEGER PRIMARY KEY,
    exposure INTEGER NOT NULL REFERENCES exposures (id),
    state TEXT NOT NULL CHECK (state IN ('CLAIMED', 'ENERGISED', 'DONE', 'BURNED')),
    time REAL NOT NULL,
    detail TEXT NOT NULL,
    UNIQUE (exposure, state)
) STRICT;

CREATE TABLE leases (
    owner TEXT PRIMARY KEY,
    pid INTEGER NOT NULL,
    host TEXT NOT NULL,
    boot TEXT NOT NULL,
    process_start TEXT NOT NULL,
    expiry REAL NOT NULL,
    released INTEGER NOT NULL DEFAULT 0
) STRICT;
"""

_LEGAL = """
CREATE TRIGGER transitions_legal BEFORE INSERT ON transitions
WHEN EXISTS (SELECT 1 FROM transitions WHERE id = NEW.id) OR NOT CASE NEW.state
    WHEN 'CLAIMED' THEN NOT EXISTS (SELECT 1 FROM transitions WHERE exposure = NEW.exposure)
    WHEN 'ENERGISED' THEN (
        SELECT group_concat(state) FROM transitions WHERE exposure = NEW.exposure) IS 'CLAIMED'
    WHEN 'DONE' THEN EXISTS (
        SELECT 1 FROM transitions WHERE exposure = NEW.exposure AND state = 'ENERGISED')
        AND NOT EXISTS (
        SELECT 1 FROM transitions WHERE exposure = NEW.exposure AND state IN ('DONE', 'BURNED'))
    ELSE EXISTS (SELECT 1 FROM transitions WHERE exposure = NEW.exposure)
        AND NOT EXISTS (
        SELECT 1 FROM transitions WHERE exposure = NEW.exposure AND state IN ('DONE', 'BURNED'))
END
BEGIN SELECT RAISE(ABORT, 'illegal transition'); END;

-- INSERT OR REPLACE deletes without firing delete triggers; this closes that way around
CREATE TRIGGER exposures_once BEFORE INSERT ON exposures
WHEN EXISTS (SELECT 1 FROM exposures WHERE id = NEW.id OR token = NEW.token)
BEGIN SELECT RAISE(ABORT, 'token or id used before'); END;
CREATE TRIGGER mounts_once BEFORE INSERT ON mounts
WHEN EXISTS (SELECT 1 FROM mounts WHERE sample = NEW.sample AND epoch >= NEW.epoch)
BEGIN SELECT RAISE(ABORT, 'mount epochs only increase'); END;
CREATE TRIGGER samples_once BEFORE INSERT ON samples
WHEN EXISTS (SELECT 1 FROM samples WHERE sample = NEW.sample)
BEGIN SELECT RAISE(ABORT, 'sample exists'); END;
"""

APPEND_ONLY = ("samples", "mounts", "exposures", "transitions")


def create_script() -> str:
    """Return the SQL that creates an empty ledger."""
    guards = "".join(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE({_FOREVER}); END;\n"
        for table in APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    )
    return (
        f"BEGIN IMMEDIATE;{_TABLES}{_LEGAL}{guards}"
        f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {SCHEMA_VERSION};COMMIT;"
    )
