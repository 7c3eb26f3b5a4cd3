"""The command line: one file per subcommand.

tyro reads its experimental settings from the environment when it is imported: they would change
`--help`, or end in a traceback. So they are removed before.
"""

import os

for _name in [name for name in os.environ if name.startswith("PYTHON_TYRO_")]:
    del os.environ[_name]
