"""Labels and items in and out: JSON lines, CSV, Label Studio, Kafka topics. docs/review.md, "In and out".

`given`, `rows`, `spreadsheet`, `label_studio` and `splitting` are pure: bytes and values in, values out. `queued` reads
the queue, `intake` writes labels into it, `labels_topic` and `review_topic` are the two topics.
"""
