"""One ingest worker of a group on a real Kafka: `python -m tests.ingest.member STORE_URL BOOTSTRAP TOPIC GROUP`.

Works until it is killed; the parent decides when all is read.
"""

from __future__ import annotations

import sys
import threading

from monitor.ingest.kafka_source import KafkaSource
from monitor.ingest.worker import IngestWorker
from monitor.store.engine import open_store
from tests.ingest import streams


def main() -> None:
    url, bootstrap, topic, group = sys.argv[1:]
    config = streams.config(
        bootstrap=bootstrap,
        topics=[topic],
        group=group,
        session_timeout="6s",
        commit_every="50ms",
        commit_records=200,
    )
    print("started", flush=True)
    worker = IngestWorker(config, open_store(url), version="v", document="{}", source=KafkaSource(config.kafka))
    worker.run(threading.Event())


if __name__ == "__main__":
    main()
