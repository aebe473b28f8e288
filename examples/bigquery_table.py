"""Run the requests of one BigQuery table into another, by jobs of Vertex AI that read and write tables themselves."""

import sys

from promptmill.producers import Promptmill

# bq://acme.shop.requests, with the columns request and id, and bq://acme.shop.answers
requests, answers = sys.argv[1:]

run = Promptmill().submit_table(
    requests, output=answers, key="id", model="gemini-3.8-flash", name="from a table"
)
status = run.wait()
print(f"{status.state}: {status.succeeded} of {status.requests} are in {answers}")
