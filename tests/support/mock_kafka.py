"""Kafka without a Kafka: the mock cluster of librdkafka, which confluent-kafka brings, as a program of its own.

It speaks Kafka's protocol on loopback, and keeps everything in memory. It tells its port; then it does what the lines
of its standard input say, each the name of a method of `Cluster` and what that takes.
"""

import ctypes
import sys
from pathlib import Path

import confluent_kafka

NO_ERROR, FORBIDDEN, GROUP_FORBIDDEN = 0, 29, 30  # as Kafka's protocol counts them
OPTIONS = {b"test.mock.num.brokers": b"1", b"log_level": b"0"}
BROKER = 1
FIND_COORDINATOR, JOIN_GROUP = 10, 11


class Cluster:
    """One broker. It makes topics that somebody asks for, but not by the request that is meant for it."""

    def __init__(self) -> None:
        (path,) = Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
        self._calls = calls = ctypes.CDLL(str(path))
        for pointer in (calls.rd_kafka_conf_new, calls.rd_kafka_new, calls.rd_kafka_handle_mock_cluster):
            pointer.restype = ctypes.c_void_p
        calls.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        options = ctypes.c_void_p(calls.rd_kafka_conf_new())
        for name, value in OPTIONS.items():
            _check(calls.rd_kafka_conf_set(options, name, value, None, 0))
        client = ctypes.c_void_p(calls.rd_kafka_new(0, options, None, 0))
        self._cluster = ctypes.c_void_p(calls.rd_kafka_handle_mock_cluster(client))
        calls.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 100)  # 3 s else
        # Unlike Kafka it takes no answer of a follower after the leader's. Where a second worker joins the group, the
        # third request is that of the first, which leads: it hears of the second later than that one itself.
        answers = [0, 0, 0, 0, 0, 300]  # each an error and milliseconds
        _check(calls.rd_kafka_mock_broker_push_request_error_rtts(self._cluster, BROKER, JOIN_GROUP, 3, *answers))

    @property
    def port(self) -> str:
        return self._calls.rd_kafka_mock_cluster_bootstraps(self._cluster).decode().rpartition(":")[2]

    def make(self, topic: str, partitions: str) -> None:
        _check(self._calls.rd_kafka_mock_topic_create(self._cluster, topic.encode(), int(partitions), 1))

    def remove(self, topic: str) -> None:
        _check(self._calls.rd_kafka_mock_topic_delete(self._cluster, topic.encode()))

    def block(self, topic: str) -> None:
        self._calls.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), FORBIDDEN)

    def unblock(self, topic: str) -> None:
        self._calls.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), NO_ERROR)

    def refuse(self, times: str) -> None:
        """Let nobody into a group."""
        answers = (ctypes.c_int * int(times))(*[GROUP_FORBIDDEN] * int(times))
        self._calls.rd_kafka_mock_push_request_errors_array(self._cluster, FIND_COORDINATOR, len(answers), answers)

    def down(self) -> None:
        """Close each connection, and take no other."""
        _check(self._calls.rd_kafka_mock_broker_set_down(self._cluster, BROKER))

    def up(self) -> None:
        _check(self._calls.rd_kafka_mock_broker_set_up(self._cluster, BROKER))


def _check(error: int) -> None:
    assert error == NO_ERROR, f"librdkafka says {error}"


def main() -> None:
    """Serve until standard input ends."""
    cluster = Cluster()
    print(cluster.port, flush=True)
    for line in sys.stdin:
        name, *told = line.split()
        getattr(cluster, name)(*told)
        print("done", flush=True)


if __name__ == "__main__":
    main()
