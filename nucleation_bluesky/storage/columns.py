"""Event values as typed columns: declared types decide, and no row is ever lost to a stray value.

An integer column that receives other numbers becomes a float column (`WidenColumn`); a value
that is no number at all becomes NaN, and a note says which one it was.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

_INT64 = (-(2**63), 2**63 - 1)


class WidenColumn(Exception):  # noqa: N818 (a request to the caller, not an error)
    """An integer column holds a number that is no 64-bit integer."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


def _kind(data_key: Mapping[str, Any]) -> str:
    numpy_type = data_key.get("dtype_numpy")
    if isinstance(numpy_type, str):
        kind = np.dtype(numpy_type).kind
        return {"f": "number", "i": "integer", "u": "integer", "b": "boolean"}.get(kind, "string")
    declared = data_key["dtype"]
    return "number" if declared == "array" else declared


def is_array_node(data_key: Mapping[str, Any]) -> bool:
    """Tell whether an internal data key is stored as an array of its own, not in the table.

    All arrays of a declared shape are (TiledWriter's ``max_array_size=0``): the stock client
    reads list columns of a table as strings.
    """
    return data_key["dtype"] == "array" and None not in data_key.get("shape", (None,))


def table_schema(data_keys: Mapping[str, Mapping[str, Any]], widened: set[str]) -> pa.Schema:
    """Return the schema of a stream's table from its descriptor."""
    types = {"integer": pa.int64(), "boolean": pa.bool_(), "string": pa.string()}
    fields = [pa.field("seq_num", pa.int64()), pa.field("time", pa.float64())]
    stamps = []
    for key, data_key in data_keys.items():
        if "external" in data_key or is_array_node(data_key):
            continue
        kind = "number" if key in widened else _kind(data_key)
        column = types.get(kind, pa.float64())
        if data_key["dtype"] == "array":
            for _ in data_key.get("shape") or (None,):
                column = pa.list_(column)
        fields.append(pa.field(key, column))
        stamps.append(pa.field(f"ts_{key}", pa.float64()))
    return pa.schema(fields + stamps)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


class _Coerce:
    """Fits the values of one column to its type."""

    def __init__(self, key: str, kind: pa.DataType) -> None:
        self.key = key
        self.kind = kind
        self.strays: list[tuple[int, Any]] = []

    def one(self, value: Any, seq_num: int, kind: pa.DataType) -> Any:  # noqa: PLR0911
        if value is None:
            return None
        if pa.types.is_list(kind):
            value = value.tolist() if isinstance(value, np.ndarray) else value
            items = value if isinstance(value, (list, tuple)) else [value]
            return [self.one(item, seq_num, kind.value_type) for item in items]
        if pa.types.is_string(kind):
            return value if isinstance(value, str) else str(value)
        if pa.types.is_boolean(kind) and isinstance(value, (bool, np.bool_)):
            return bool(value)
        number = _number(value)
        if pa.types.is_floating(kind):
            if number is None or isinstance(value, str):
                self.strays.append((seq_num, value))
                return math.nan
            return number
        whole = not isinstance(value, str) and number is not None and number.is_integer()
        if not whole or not _INT64[0] <= int(value) <= _INT64[1]:
            raise WidenColumn(self.key)
        return bool(value) if pa.types.is_boolean(kind) else int(value)


def to_table(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> tuple[pa.Table, list[str]]:
    """Return rows as a table of the given schema, and notes about values that did not fit.

    Raises
    ------
    WidenColumn
        If an integer or boolean column must become a float column.
    """
    notes: list[str] = []
    columns = []
    for field in schema:
        values = [row.get(field.name) for row in rows]
        coerce = _Coerce(field.name, field.type)
        fitted = [
            coerce.one(value, row["seq_num"], field.type)
            for value, row in zip(values, rows, strict=True)
        ]
        columns.append(pa.array(fitted, type=field.type))
        notes += [
            f"'{field.name}' of seq_num {seq_num} was {value!r}, which is not a number: NaN in "
            "the table, the original is in the journal"
            for seq_num, value in coerce.strays
        ]
    return pa.Table.from_arrays(columns, schema=schema), notes
