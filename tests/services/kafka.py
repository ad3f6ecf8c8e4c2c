"""Apache Kafka in one process (KRaft), its jars resolved by Maven once and kept in the cache folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.demo.broker import free_port, wait_for_port
from tests.services import Unavailable, cache_folder, running

VERSION = "4.1.0"
_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>driftline</groupId><artifactId>kafka-jars</artifactId><version>1</version><dependencies>
<dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{VERSION}</version></dependency>
<dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>"""


def jars() -> Path:
    """The folder with Kafka's jars, fetched by Maven if this machine has not got them yet."""
    folder = cache_folder() / f"kafka-{VERSION}"
    if (folder / "complete").exists():
        return folder / "lib"
    for tool, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(tool) is None:
            raise Unavailable(f"`{tool}` is missing, and Apache Kafka needs it: apt-get install -y {package}")
    # Test processes may come here at once: each fetches into a folder of its own, and the first to finish wins.
    fetched = Path(tempfile.mkdtemp(prefix="kafka-", dir=cache_folder()))
    (fetched / "pom.xml").write_text(_POM)
    result = subprocess.run(
        ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={fetched / 'lib'}"],
        cwd=fetched,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if result.returncode:
        shutil.rmtree(fetched)
        raise Unavailable(f"Maven could not fetch Apache Kafka {VERSION}: {(result.stdout + result.stderr)[-800:]}")
    (fetched / "complete").touch()
    try:
        fetched.rename(folder)
    except OSError:
        shutil.rmtree(fetched)
    return folder / "lib"


@contextmanager
def kafka(folder: Path, heap: str = "512m") -> Iterator[str]:
    """A fresh single-node Kafka; yields ``host:port``. Topics must be created with their partition count."""
    lib = jars()
    broker, controller = free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    properties = folder / "server.properties"
    properties.write_text(
        "\n".join(
            [
                "process.roles=broker,controller",
                "node.id=1",
                f"controller.quorum.voters=1@127.0.0.1:{controller}",
                f"listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
                f"advertised.listeners=PLAINTEXT://127.0.0.1:{broker}",
                "controller.listener.names=CONTROLLER",
                "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name=PLAINTEXT",
                f"log.dirs={folder / 'logs'}",
                "offsets.topic.replication.factor=1",
                "offsets.topic.num.partitions=4",
                "transaction.state.log.replication.factor=1",
                "transaction.state.log.min.isr=1",
                "share.coordinator.state.topic.replication.factor=1",
                "share.coordinator.state.topic.min.isr=1",
                "group.initial.rebalance.delay.ms=0",
                "group.min.session.timeout.ms=500",  # members that are killed on purpose are to be missed soon
                "auto.create.topics.enable=true",
                "num.partitions=4",
                "message.max.bytes=10485760",
                # History is replayed with old record timestamps too: nothing may be deleted by age.
                "log.retention.ms=-1",
                "log.message.timestamp.before.max.ms=9223372036854775807",
                "log.message.timestamp.after.max.ms=9223372036854775807",
            ]
        )
        + "\n"
    )
    classpath = f"{lib}/*"
    cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    subprocess.run(
        [
            "java",
            "-cp",
            classpath,
            "kafka.tools.StorageTool",
            "format",
            f"--cluster-id={cluster}",
            "-c",
            str(properties),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=120,
    )
    command = ["java", f"-Xmx{heap}", "-Xms256m", "-cp", classpath, "kafka.Kafka", str(properties)]
    with running(command, folder, "kafka") as process:
        wait_for_port(broker, process, 90, folder / "kafka.log")
        yield f"127.0.0.1:{broker}"
