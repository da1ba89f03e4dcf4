"""Layout of waveform and topography files (HDF5), whoever writes them."""

WAVEFORM_CHANNELS: dict[str, str] = {"bias": "V", "current": "A", "height": "m"}
SECCM_CHANNELS: dict[str, str] = {"potential": "V", "current": "A", "z": "m", "step": ""}
FAMILY_CHANNELS: dict[str, dict[str, str]] = {"afm": WAVEFORM_CHANNELS, "seccm": SECCM_CHANNELS}
WAVEFORM_GROUP = "/entry/data"
ROW_DATASETS: dict[str, str] = {
    "n_samples": "int64",
    "n_post": "int64",
    "termination": "int64",
    "seq": "int64",
    "start_ticks": "float64",
    "sample_rate": "float64",
}
TOPOGRAPHY_DATASET = "/entry/data/topography"
FILE_FORMAT = "nucleation-bluesky-waveforms"
FILE_VERSION = 1


def waveform_path(channel: str) -> str:
    """Path of a channel's dataset, shape (rows, max_samples), float32, SI, NaN beyond the end."""
    return f"{WAVEFORM_GROUP}/{channel}"


def segment_name(prefix: str, segment: int) -> str:
    """File name of waveform segment number ``segment``."""
    return f"{prefix}_{segment:05d}.h5"
