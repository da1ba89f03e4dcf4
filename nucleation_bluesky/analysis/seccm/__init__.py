"""Analysis of scanning electrochemical cell microscopy with interference reflection films."""
