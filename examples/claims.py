"""Extract claims from letters: answers are objects of a pydantic model."""

from typing import Literal

from pydantic import BaseModel, Field

from promptmill.producers import Promptmill


class Item(BaseModel):
    name: str
    euros: float = Field(ge=0)


class Claim(BaseModel):
    """What a letter claims."""

    cause: Literal["fire", "water", "theft", "other"]
    urgency: int = Field(ge=1, le=5, description="1: can wait, 5: act today")
    items: list[Item] = Field(min_length=1)


letters = {
    "letter-1": "A pipe burst on Sunday. The carpet (800 euros) and a lamp (45 euros) are ruined.",
    "letter-2": "My bicycle was stolen from the yard. It cost 1,200 euros, and I need it for work.",
}

run = Promptmill().submit(
    (
        {"key": key, "prompt": f"What does this letter claim?\n\n{letter}"}
        for key, letter in letters.items()
    ),
    model="gemini-3.8-flash",
    name="claims",
    response_schema=Claim,
    retry_schema_invalid=True,
)
run.wait()
for result in sorted(run.results(as_=Claim), key=lambda result: result.row):
    if result.error:
        print(result.key, result.error.reason, result.error.message)
    else:
        claim = result.parsed  # a Claim
        print(result.key, claim.cause, claim.urgency, sum(item.euros for item in claim.items))
