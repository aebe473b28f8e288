"""Translate a few sentences: prompts are strings, results come from the bucket."""

from promptmill.producers import Promptmill

sentences = ["Good morning.", "See you soon.", "Where is the station?"]

run = Promptmill().submit(
    (f"Translate to Spanish: {sentence}" for sentence in sentences),
    model="gemini-3.8-flash",
    name="greetings",
)
status = run.wait()
print(f"{status.state}: {status.succeeded} of {status.requests}")
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.text)
