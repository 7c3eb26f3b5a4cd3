"""Questions asked of many networks, one file per study; `registry.py` says how to add one."""
