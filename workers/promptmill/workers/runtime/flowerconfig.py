"""Flower's options for ``promptmill flower``. FLOWER_… variables and command options win.

Flower executes this file and reads the names that it knows.
"""

import os

tasks_columns = "name,uuid,state,args,received,started,runtime,worker,retries,eta"
natural_time = True
max_tasks = 20_000  # kept in memory; the default is 100,000
purge_offline_workers = 300  # seconds; by default the page shows every worker since the start
state_save_interval = 60_000  # milliseconds; by default --db is only written at exit

for _variable in [name for name in os.environ if name.startswith("FLOWER_")]:
    # For Flower, this file has precedence over variables.
    globals().pop(_variable.removeprefix("FLOWER_").lower(), None)
