"""Kafka's Java tools in one JVM (ToolRunner.java): some 50 ms a tool instead of a second and more."""

import base64
import os
import pathlib
import subprocess

import harness

HERE = pathlib.Path(__file__).parent
TOOLS = "org.apache.kafka.tools."
CLASSES = {  # of 3.8.1, and where 4.x has it
    "topics": [TOOLS + "TopicCommand"],
    "configs": ["kafka.admin.ConfigCommand", TOOLS + "ConfigCommand"],
    "consumer-groups": [TOOLS + "consumer.group.ConsumerGroupCommand"],
    "console-producer": ["kafka.tools.ConsoleProducer", TOOLS + "ConsoleProducer"],
    "console-consumer": [TOOLS + "consumer.ConsoleConsumer"],
    "get-offsets": [TOOLS + "GetOffsetShell"],
    "delete-records": [TOOLS + "DeleteRecordsCommand"],
    "log-dirs": [TOOLS + "LogDirsCommand"],
    "leader-election": [TOOLS + "LeaderElectionCommand"],
    "reassign-partitions": [TOOLS + "reassign.ReassignPartitionsCommand"],
    "cluster": [TOOLS + "ClusterTool"],
    "features": [TOOLS + "FeatureCommand"],
    "metadata-quorum": [TOOLS + "MetadataQuorumCommand"],
    "client-metrics": [TOOLS + "ClientMetricsCommand"],
    "broker-api-versions": ["kafka.admin.BrokerApiVersionsCommand", TOOLS + "BrokerApiVersionsCommand"],
    "transactions": [TOOLS + "TransactionsCommand"],
    "producer-perf-test": [TOOLS + "ProducerPerformance"],
    "consumer-perf-test": [TOOLS + "ConsumerPerformance"],
    "e2e-latency": [TOOLS + "EndToEndLatency"],
    "verifiable-producer": [TOOLS + "VerifiableProducer"],
    "verifiable-consumer": [TOOLS + "VerifiableConsumer"],
    "streams-application-reset": [TOOLS + "StreamsResetter"],
    "delegation-tokens": [TOOLS + "DelegationTokenCommand"],
    "acls": ["kafka.admin.AclCommand", TOOLS + "AclCommand"],
    "groups": [TOOLS + "GroupsCommand"],
}


class ToolJvm:
    def __init__(self, libs, classes, limit_s=300):
        """libs: the folder of jars. classes: where ToolRunner is compiled to. limit_s: for all tools of one JVM."""
        self.libs, self.classes, self.limit_s = pathlib.Path(libs), pathlib.Path(classes), limit_s
        self.major = 4 if list(self.libs.glob("kafka-tools-4*.jar")) else 3
        self.child = None

    def start(self):
        self.classes.mkdir(parents=True, exist_ok=True)
        if not (self.classes / "ToolRunner.class").exists():
            subprocess.run(["javac", "-cp", f"{self.libs}/*", "-d", self.classes, HERE / "ToolRunner.java"], check=True)
        log4j = pathlib.Path(harness.KAFKA381).resolve() / "config/tools-log4j.properties"
        self.child = subprocess.Popen(
            ["timeout", str(self.limit_s), "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", f"-Dlog4j.configuration=file:{log4j}",
             "-cp", f"{self.classes}:{self.libs}/*", "ToolRunner"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(os.environ))

    def run(self, tool, *args, stdin=""):
        """Exit status, output, errors."""
        for name in CLASSES[tool]:
            done = self.ask(name, args, stdin)
            if "ClassNotFoundException" not in done[2]:
                return done
        raise AssertionError(f"there is no {tool} in {self.libs}")

    def alone(self, tool, *args):
        """In a JVM of its own: for tools whose end is the JVM's."""
        for name in CLASSES[tool]:
            done = subprocess.run(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{self.libs}/*", name, *map(str, args)],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
            if "ClassNotFoundException" not in done.stderr:
                return done.returncode, done.stdout, done.stderr
        raise AssertionError(f"there is no {tool} in {self.libs}")

    def ask(self, name, args, stdin):
        if not self.child:
            self.start()
        fields = [base64.b64encode(str(x).encode()).decode() for x in (name, stdin, *args)]
        self.child.stdin.write(" ".join(fields) + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().strip("\n").split(" ")
        if len(answer) != 3:  # some tools end the JVM by themselves
            status = self.child.wait()
            self.child = None
            assert status != 124, f"{name} {args} did not end within {self.limit_s} s"
            return status or 1, "", "the JVM ended"
        return int(answer[0]), *(base64.b64decode(x).decode() for x in answer[1:])

    def stop(self):
        if self.child:
            self.child.stdin.close()
            self.child.wait(30)
            self.child.stdout.close()
            self.child = None
