# ruff: noqa: D100 - a startup file of IPython and of the queue server
from nucleation_bluesky.session.startup import start

# the instrument's and the plans' names come from the configuration
globals().update(start().names())
