"""Formats of other programs, in and out: Gwyddion, ImageJ, NeXus, Igor, CSV, raw documents."""
