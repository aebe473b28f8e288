"""Search product descriptions by meaning: embed them, store the vectors in a file, compare.

The workers write the Parquet file. That needs a disk which they share with this program, as
in `promptmill up`. Otherwise, deliver to a bucket or to PostgreSQL with pgvector.
"""

import math
import tempfile
from pathlib import Path

from pyarrow import parquet

from promptmill.producers import Promptmill, sinks

PRODUCTS = [
    {"sku": "sku-1", "text": "A waterproof jacket for hiking in heavy rain"},
    {"sku": "sku-2", "text": "Ceramic mug for coffee, holds its heat for hours"},
    {"sku": "sku-3", "text": "Light running shoes for summer trails"},
    {"sku": "sku-4", "text": "Umbrella that withstands storms and heavy rain"},
]
QUESTIONS = ["heavy rain while hiking", "a mug for hot coffee"]
MODEL = "gemini-embedding-2"
CONFIG = {"output_dimensionality": 768}

Vector = list[float]
mill = Promptmill()


def embed_products(path: Path) -> dict[str, Vector]:
    """Embed all descriptions in one run, and return the vectors of its file by key."""
    prompts = [{"key": product["sku"], "prompt": product["text"]} for product in PRODUCTS]
    run = mill.submit(
        prompts, model=MODEL, embedding_config=CONFIG, name="catalogue", sinks=[sinks.parquet(path)]
    )
    print(run.wait().state)
    rows = parquet.read_table(path, columns=["key", "embedding"]).to_pylist()
    return {row["key"]: row["embedding"] for row in rows if row["embedding"]}


def embed_questions() -> dict[str, Vector]:
    """Embed the questions in a second run, and return their vectors."""
    run = mill.submit(QUESTIONS, model=MODEL, embedding_config=CONFIG, name="questions")
    run.wait()
    return {QUESTIONS[result.row - 1]: result.embedding or [] for result in run.results()}


def cosine(left: Vector, right: Vector) -> float:
    """Return the cosine of two vectors. A shortened vector does not have the length 1."""
    product = sum(x * y for x, y in zip(left, right, strict=True))
    return product / (math.hypot(*left) * math.hypot(*right))


with tempfile.TemporaryDirectory() as folder:
    products = embed_products(Path(folder) / "catalogue.parquet")
for question, vector in sorted(embed_questions().items()):
    similarity = {sku: cosine(vector, product) for sku, product in products.items()}
    best = sorted(similarity, key=lambda sku: similarity[sku], reverse=True)[:2]
    print(f"{question}: {', '.join(best)}")
