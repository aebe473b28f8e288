"""Describe products by their images. Rows come from a database; the one without an image fails."""

import sqlite3

from promptmill.producers import Promptmill

PHOTOS = "gs://cloud-samples-data/generative-ai/image"

shop = sqlite3.connect(":memory:")
shop.execute("CREATE TABLE products (sku, name, photo)")
shop.executemany(
    "INSERT INTO products VALUES (?, ?, ?)",
    [
        ("sku-1", "Scones", f"{PHOTOS}/scones.jpg"),
        ("sku-2", "Cat", f"{PHOTOS}/cat.webp"),
        ("sku-3", "Ghost", None),
    ],
)

run = Promptmill().submit_rows(
    shop.execute("SELECT sku, name, photo FROM products"),
    template="Write two sentences that sell this: {{ name }}.",
    key="sku",
    media=["photo"],  # the name decides its MIME type
    system_instruction="You write for a mail-order catalogue. Never mention a price.",
    model="gemini-3.8-flash",
    name="descriptions",
    on_refused=lambda line: print("not sent:", line.key, "-", line.refusal),
)
print(run.wait().state)
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.text or result.error)
