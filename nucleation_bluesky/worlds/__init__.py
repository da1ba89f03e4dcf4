"""Virtual samples and instruments with a known ground truth."""
