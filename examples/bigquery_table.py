"""Run the requests of one BigQuery table into another, by jobs of Vertex AI that read and write tables themselves."""

import sys

from promptmill.producers import Promptmill

requests, answers = sys.argv[
    1:
]  # bq://acme.shop.requests bq://acme.shop.answers, the first with columns request and id

run = Promptmill().submit_table(requests, output=answers, key="id", model="gemini-3.8-flash", name="from a table")
status = run.wait()
print(f"{status.state}: {status.succeeded} of {status.requests} are in {answers}")
