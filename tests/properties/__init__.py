"""Properties that hold for anything a generator can think of.

`EXAMPLES` is small for every day; HYPOTHESIS_EXAMPLES in the environment asks for more.
"""

import os

EXAMPLES = int(os.environ.get("HYPOTHESIS_EXAMPLES", "40"))
