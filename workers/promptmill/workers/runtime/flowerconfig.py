"""Flower's options, as ``promptmill flower`` starts it; FLOWER_… variables and options of the command win.

Flower runs this file and takes the names that it knows.
"""

import os

tasks_columns = "name,uuid,state,args,received,started,runtime,worker,retries,eta"
natural_time = True
max_tasks = 20_000  # Flower keeps them in memory, 100,000 when left alone
purge_offline_workers = 300  # seconds; left alone, every worker that ever was stays on the page
state_save_interval = (
    60_000  # milliseconds; left alone, --db is written only at the end, so a crash forgets it all
)

for _variable in [name for name in os.environ if name.startswith("FLOWER_")]:
    globals().pop(
        _variable.removeprefix("FLOWER_").lower(), None
    )  # to Flower a file counts for more than a variable
