"""The tests of tests/e2e/slow/test_kafka_tools.py with the command line tools of Apache Kafka 4.1. Needs build/kafka4: ./dev ci --full."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "slow"))

from test_kafka_tools import *  # noqa: E402,F403

VERSION = "4.1.0"
