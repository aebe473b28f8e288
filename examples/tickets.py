"""Pool single prompts of many web requests into one run, and stream a feed into another."""

import time

from promptmill.producers import Promptmill, RunNotFound

mill = Promptmill()


def on_ticket(number: int, text: str) -> None:
    """Send one prompt, as a web request would. It takes about a millisecond."""
    mill.enqueue(
        f"Classify this ticket: {text}",
        key=f"ticket-{number}",
        pool="tickets",
        model="gemini-3.8-flash",
    )


for number, text in enumerate(["It does not start.", "Where is my parcel?", "Thank you!"]):
    on_ticket(number, text)

while True:  # a run starts PROMPTMILL_POOL_SECONDS after the first prompt
    try:
        run = mill.find_pooled("tickets", "ticket-2")
        break
    except RunNotFound:
        time.sleep(0.5)
print(f"{run.wait().succeeded} tickets answered")

with mill.stream(model="gemini-3.8-flash", name="feed") as stream:  # the run ends with the block
    for number, text in enumerate(["Delivered.", "Broken on arrival."]):
        stream.add(f"Classify this review: {text}", key=f"review-{number}")
print(f"{stream.run.wait().succeeded} reviews answered")
