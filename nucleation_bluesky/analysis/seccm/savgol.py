"""Savitzky-Golay filters on irregular times as one sparse matrix."""

import numpy as np
from scipy import sparse


def savgol_operator(
    time: np.ndarray,
    window: int,
    order: int,
    *,
    derivative: int = 1,
) -> sparse.csr_array:
    """Matrix that differentiates records sampled at ``time`` by local polynomial fits.

    Row i fits a polynomial to the ``window`` samples around sample i and takes its derivative at
    ``time[i]``. At even times this is `scipy.signal.savgol_filter` with ``mode="interp"``.

    Parameters
    ----------
    time : ndarray, shape (n,)
        s, strictly increasing.
    window : int
        Samples, odd.
    order : int
        Of the polynomial.
    derivative : int
        0 smooths, 1 gives the slope (per s), 2 the curvature.

    Returns
    -------
    scipy.sparse.csr_array, shape (n, n)

    Raises
    ------
    ValueError
        If the window is even, not larger than the order, or longer than the record, or the
        times do not increase.
    """
    time = np.asarray(time, dtype=float)
    n = len(time)
    if window % 2 == 0 or window < 3:
        raise ValueError(f"a Savitzky-Golay window is an odd number of frames >= 3, not {window}")
    if not derivative <= order < window:
        raise ValueError(
            f"order {order} does not suit a window of {window} frames and derivative {derivative}: "
            "it must be at least the derivative and less than the window"
        )
    if window > n:
        raise ValueError(
            f"the film is too short: {n} frames for a Savitzky-Golay window of {window}; "
            "record faster or choose a shorter window"
        )
    if not (np.diff(time) > 0).all():
        raise ValueError("times must increase from frame to frame")
    half = window // 2
    first = np.clip(np.arange(n) - half, 0, n - window)
    column = first[:, None] + np.arange(window)
    lag = time[column] - time[:, None]
    scale = np.abs(lag).max(axis=1, keepdims=True)
    design = (lag / scale)[:, :, None] ** np.arange(order + 1)
    weights = np.linalg.pinv(design)[:, derivative, :]
    factor = float(np.prod(np.arange(1, derivative + 1))) / scale**derivative
    rows = np.repeat(np.arange(n + 1) * window, 1)
    return sparse.csr_array(((weights * factor).ravel(), column.ravel(), rows), shape=(n, n))


def interpolation_operator(time: np.ndarray, at: np.ndarray) -> sparse.csr_array:
    """Matrix of linear interpolation from ``time`` to ``at`` (`numpy.interp`)."""
    time, at = np.asarray(time, dtype=float), np.asarray(at, dtype=float)
    left = np.clip(np.searchsorted(time, at, side="right") - 1, 0, len(time) - 2)
    share = np.clip((at - time[left]) / (time[left + 1] - time[left]), 0.0, 1.0)
    row = np.repeat(np.arange(len(at)), 2)
    column = np.column_stack([left, left + 1]).ravel()
    value = np.column_stack([1 - share, share]).ravel()
    return sparse.csr_array((value, (row, column)), shape=(len(at), len(time)))


def peak_time(
    time: np.ndarray, before: np.ndarray, at: np.ndarray, after: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Vertex of the parabola through three neighbouring values at irregular times.

    Parameters
    ----------
    time : ndarray, shape (n,)
    before, at, after : ndarray, shape (...)
        Values at ``index - 1``, ``index`` and ``index + 1``.
    index : ndarray of int, shape (...)
        1 to n - 2.

    Returns
    -------
    ndarray, ndarray
        Time of the vertex (s) and second derivative (per s2); NaN where there is no maximum.
    """
    left = (time[index] - time[index - 1]).astype(at.dtype)
    right = (time[index + 1] - time[index]).astype(at.dtype)
    rise, fall = (at - before) / left, (after - at) / right
    curvature = 2 * (fall - rise) / (left + right)
    slope = (rise * right + fall * left) / (left + right)
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(curvature < 0, -slope / curvature, np.nan)
    return time[index] + np.clip(shift, -left, right), np.where(curvature < 0, curvature, np.nan)
