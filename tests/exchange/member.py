"""One consumer of a labels topic on a real Kafka: `python -m tests.exchange.member STORE_URL BOOTSTRAP TOPIC GROUP`."""

from __future__ import annotations

import sys
import threading

from monitor.exchange import labels_topic
from monitor.exchange.labels_topic import LabelsWorker
from monitor.store.engine import open_store
from tests.exchange.label_stream import config


def main() -> None:
    url, bootstrap, topic, group = sys.argv[1:]
    labels_topic.BATCH = 20  # type: ignore[misc]  # more transactions to be killed in
    settings = config(bootstrap=bootstrap, labels_topic=topic, group=group, session_timeout="6s")
    print("started", flush=True)
    LabelsWorker(settings, open_store(url)).run(threading.Event())


if __name__ == "__main__":
    main()
