"""``python -m nucleation_bluesky``."""

from nucleation_bluesky.cli import main

if __name__ == "__main__":
    main()
