"""Answer the requests of a BigQuery table. The jobs read it and write another table.

Set GOOGLE_CLOUD_LOCATION to us or eu, the multi-region of both datasets. Jobs in global
take no tables.
"""

import sys

from promptmill.producers import Promptmill

# bq://acme.shop.requests, with columns request and id, and bq://acme.shop.answers
requests, answers = sys.argv[1:]

run = Promptmill().submit_table(
    requests, output=answers, key="id", model="gemini-3.8-flash", name="from a table"
)
status = run.wait()
print(f"{status.state}: {status.succeeded} of {status.requests} are in {answers}")
