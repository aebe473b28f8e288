"""Classify reviews: each row of a CSV file becomes a prompt."""

from pathlib import Path

from promptmill.producers import Promptmill

TEMPLATE = "Is this review of our {{ product | lower }} positive, neutral or negative? {{ text }}"

mill = Promptmill()
rows = {
    "template": TEMPLATE,
    "key": "review_id",
    "metadata": ["shop"],
    "generation_config": {"thinkingConfig": {"thinkingLevel": "LOW"}},  # an easy question
}
reviews = Path(__file__).with_name("reviews.csv")

report = mill.validate(reviews, **rows)  # renders every row and sends nothing
print(f"{report.rows} rows, {report.problem_count} of them invalid")

run = mill.submit_rows(reviews, **rows, model="gemini-3.8-flash", name="reviews", deadline="36h")
print(run.wait().state)
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.metadata, result.text)
