"""Tag videos of a bucket: each row of a DataFrame holds a URI."""

import polars

from promptmill.producers import Promptmill

videos = polars.DataFrame(
    {
        "video": ["gs://cloud-samples-data/generative-ai/video/pixel8.mp4", "gs://acme/raw/0017"],
        "language": ["English", "Spanish"],
    }
)

run = Promptmill().submit_rows(
    videos,
    template="Five tags for this video, in {{ language }}, separated by commas.",
    key="{{ video.split('/') | last }}",
    media=[{"uri": "{{ video }}", "mime_type": "video/mp4"}],  # one name has no extension
    metadata=["language"],
    # Thinking counts against the limit, so little thinking and room for it keep the answers whole.
    generation_config={"maxOutputTokens": 1024, "thinkingConfig": {"thinkingLevel": "LOW"}},
    model="gemini-3.8-flash",
    name="tags",
)
print(run.wait().state)
for result in sorted(run.results(), key=lambda result: result.row):
    print(result.key, result.metadata, result.text)
