"""The newer group protocol on the wire, as Apache Kafka 4.1.0 answers it: tests/golden/kafka410 holds what it said to the same requests.

Recorded with: python tests/e2e/test_027_as_kafka_4.py ADDRESS > tests/golden/kafka410/consumer_groups.txt (a fresh broker).
Left out: what 3.8.1 answers otherwise (a commit of an unknown group), what is Kafka's mistake (OffsetFetch with a null member id and an
epoch: -1), and regular expressions, which Kafka resolves in its own time.
"""

import pathlib
import sys

from harness import wait_for
from wire import Conn

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden/kafka410/consumer_groups.txt"
TOPIC = "wt"


class Scenario:
    def __init__(self, address):
        self.conn, self.lines, self.group = Conn(address), [], "g1"

    def say(self, label, what):
        self.lines.append(f"{label} | {what}")

    def beat(self, label, member, epoch, version=1, **more):
        q = {"group_id": self.group, "member_id": member, "member_epoch": epoch, "rebalance_timeout_ms": -1, **more}
        a = self.conn.ask("consumer_group_heartbeat", version, **q)
        owned = a["assignment"] and a["assignment"]["topic_partitions"]
        numbers = None if owned is None else sorted(p for t in owned for p in t["partitions"])
        who = a["member_id"] if a["member_id"] in (None, "a", "b", "c", "d") else "made"
        self.say(label, f"error {a['error_code']} why {bool(a['error_message'])} member {who} epoch {a['member_epoch']} "
                 f"interval {a['heartbeat_interval_ms']} assignment {numbers}")
        return owned

    def join(self, label, member, version=1, **more):
        return self.beat(label, member, 0, version,
                         **{"rebalance_timeout_ms": 60000, "subscribed_topic_names": [TOPIC], "topic_partitions": [], **more})

    def describe(self, label, version=1):
        g = self.conn.ask("consumer_group_describe", version, group_ids=[self.group])["groups"][0]
        self.say(label, f"error {g['error_code']} {g['group_state']} epochs {g['group_epoch']} {g['assignment_epoch']} {g['assignor_name']}")
        for m in sorted(g["members"], key=lambda m: m["member_id"]):
            owned, target = (sum(len(t["partitions"]) for t in m[x]["topic_partitions"]) for x in ("assignment", "target_assignment"))
            self.say(f"{label}: member", f"{m['member_id']} {m['instance_id']} {m['rack_id']} epoch {m['member_epoch']} {m['client_id']} {m['client_host']} "
                     f"{m['subscribed_topic_names']} '{m['subscribed_topic_regex']}' owns {owned} of {target} type {m.get('member_type')}")

    def commit(self, label, member, epoch, version=9):
        row = {"partition_index": 0, "committed_offset": 3, "committed_leader_epoch": -1, "committed_metadata": ""}
        a = self.conn.ask("offset_commit", version, group_id=self.group, generation_id_or_member_epoch=epoch, member_id=member,
                          group_instance_id=None, retention_time_ms=-1, topics=[{"name": TOPIC, "partitions": [row]}])
        self.say(label, a["topics"][0]["partitions"][0]["error_code"])

    def fetch(self, label, member, epoch):
        q = {"group_id": self.group, "member_id": member, "member_epoch": epoch, "topics": [{"name": TOPIC, "partition_indexes": [0]}]}
        g = self.conn.ask("offset_fetch", 9, groups=[q])["groups"][0]
        self.say(label, f"{g['error_code']} {[p['committed_offset'] for t in g['topics'] for p in t['partitions']]}")

    def listed(self, label, states, types):
        a = self.conn.ask("list_groups", 5, states_filter=states, types_filter=types)
        self.say(label, [(g["protocol_type"], g["group_state"], g["group_type"]) for g in a["groups"] if g["group_id"] == self.group])

    # ---- the scenes ----

    def topic(self):
        spec = {"name": TOPIC, "num_partitions": 4, "replication_factor": 1, "assignments": [], "configs": []}
        self.conn.ask("create_topics", 5, topics=[spec], timeout_ms=10000)
        wait_for(lambda: not self.conn.ask("find_coordinator", 3, key="x", key_type=0)["error_code"], 30, "there is no coordinator")
        wait_for(lambda: self.conn.ask("consumer_group_heartbeat", 1, group_id="nobody", member_id="a", member_epoch=5)["error_code"] == 69,
                 30, "the coordinator goes on loading")

    def refusals(self):
        self.join("no member id", "")
        self.beat("unknown group", "a", 5)
        self.beat("leaving an unknown group", "a", -1)
        self.group = ""
        self.join("no group id", "a")
        self.group = "g1"
        self.join("no rebalance timeout", "a", rebalance_timeout_ms=-1)
        self.join("owns something", "a", topic_partitions=[{"topic_id": "01" * 16, "partitions": [1]}])
        self.join("owned is null", "a", topic_partitions=None)
        self.join("topics are null", "a", subscribed_topic_names=None)
        self.join("empty instance id", "a", instance_id="")
        self.join("empty rack id", "a", rack_id="")
        self.beat("epoch -3", "a", -3)
        self.beat("epoch -2 without an instance id", "a", -2)
        self.join("no such assignor", "a", server_assignor="best")
        self.join("half a regular expression", "a", subscribed_topic_names=None, subscribed_topic_regex="a(")
        self.join("looking ahead", "a", subscribed_topic_names=None, subscribed_topic_regex="(?=a)b")

    def two_members(self):
        owned = self.join("a joins", "a")
        self.beat("a beats", "a", 1)
        self.beat("a says all", "a", 1, rebalance_timeout_ms=60000, subscribed_topic_names=[TOPIC], topic_partitions=owned)
        self.beat("a in a later epoch", "a", 7)
        self.beat("b is unknown", "b", 1)
        self.join("a joins again", "a")
        self.join("b joins", "b", rack_id="r")
        self.describe("b waits")
        kept = self.beat("a is told to let go", "a", 1)
        self.describe("a lets go")
        self.beat("b still waits", "b", 2)
        self.beat("a says nothing", "a", 1)
        for member, epoch in [("a", 1), ("a", 2), ("a", 0), ("a", -1), ("", -1), ("x", 1)]:
            self.commit(f"commit by '{member}' in {epoch}", member, epoch)
        self.commit("commit in version 8", "a", 1, 8)
        for member, epoch in [("a", 1), ("a", 5), ("x", 1), (None, -1), ("", -1)]:
            self.fetch(f"fetch by '{member}' in {epoch}", member, epoch)
        self.join("a joins while it lets go", "a", rebalance_timeout_ms=-1)
        self.beat("a has let go", "a", 1, topic_partitions=kept)
        self.beat("a in its old epoch, owning nothing said", "a", 1)
        self.beat("a in its old epoch", "a", 1, topic_partitions=kept)
        self.beat("b gets the rest", "b", 2)
        self.describe("all is well")
        self.describe("in version 0", 0)

    def other_requests(self):
        g = self.conn.ask("describe_groups", 5, groups=[self.group])["groups"][0]
        self.say("DescribeGroups", f"{g['error_code']} {g['group_state']}")
        for states, types in [([], []), (["stable"], []), (["Empty"], []), ([], ["Consumer"]), ([], ["classic"])]:
            self.listed(f"ListGroups {states} {types}", states, types)
        self.say("Heartbeat", self.conn.ask("heartbeat", 4, group_id=self.group, generation_id=2, member_id="a", group_instance_id=None)["error_code"])
        self.say("SyncGroup", self.conn.ask("sync_group", 5, group_id=self.group, generation_id=2, member_id="a", group_instance_id=None,
                                            protocol_type="consumer", protocol_name="range")["error_code"])
        a = self.conn.ask("leave_group", 5, group_id=self.group, members=[{"member_id": "x", "group_instance_id": None, "reason": None}])
        self.say("LeaveGroup", f"{a['error_code']} {[m['error_code'] for m in a['members']]}")
        self.say("JoinGroup of another type", self.conn.ask(
            "join_group", 9, group_id=self.group, session_timeout_ms=10000, rebalance_timeout_ms=10000, member_id="", group_instance_id=None,
            protocol_type="connect", protocols=[{"name": "x", "metadata": b""}], reason=None)["error_code"])
        self.say("DeleteGroups", self.conn.ask("delete_groups", 2, groups_names=[self.group])["results"][0]["error_code"])
        a = self.conn.ask("offset_delete", 0, group_id=self.group, topics=[{"name": TOPIC, "partitions": [{"partition_index": 0}]}])
        self.say("OffsetDelete", f"{a['error_code']} {[p['error_code'] for t in a['topics'] for p in t['partitions']]}")

    def static_members(self):
        self.join("c joins as i", "c", instance_id="i")
        self.join("d joins as i", "d", instance_id="i")
        self.beat("d beats as i", "d", 1, instance_id="i")
        self.beat("c beats as another", "c", 3, instance_id="j")
        self.beat("c leaves for now", "c", -2, instance_id="i")
        self.beat("c beats after that", "c", 3, instance_id="i")
        self.join("d takes its place", "d", instance_id="i")
        self.describe("d is i")
        self.beat("c is fenced", "c", 3, instance_id="i")
        self.beat("c cannot leave", "c", -1, instance_id="i")
        self.beat("d leaves", "d", -1, instance_id="i")

    def the_end(self):
        self.beat("a leaves", "a", -1)
        self.beat("a leaves twice", "a", -1)
        self.describe("nobody has beaten since")
        self.beat("b leaves", "b", -1)
        self.describe("empty")
        self.commit("commit by nobody", "", -1)
        self.commit("commit by who left", "a", 5)
        self.fetch("fetch by who left", "a", 5)
        self.group = "never"
        self.describe("unknown group")
        self.group = "g2"
        self.join("version 0 makes the id", "", 0)
        self.group = "g3"
        self.join("an empty list of topics", "a", subscribed_topic_names=[])
        self.join("a topic that does not exist", "b", subscribed_topic_names=["nowhere"])

    def play(self):
        for scene in (self.topic, self.refusals, self.two_members, self.other_requests, self.static_members, self.the_end):
            scene()
        self.conn.close()
        return self.lines


def test_every_answer_is_apache_kafkas(start):
    lines = Scenario(start("--broker-only").kafka).play()
    assert lines == GOLDEN.read_text(encoding="utf-8").splitlines()


def test_a_transaction_commits_in_the_members_epoch_only(start):
    conn = Conn(start("--broker-only").kafka)
    conn.ask("create_topics", 5, timeout_ms=10000,
             topics=[{"name": TOPIC, "num_partitions": 1, "replication_factor": 1, "assignments": [], "configs": []}])
    assert conn.ask("consumer_group_heartbeat", 1, group_id="g", member_id="a", member_epoch=0, rebalance_timeout_ms=60000,
                    subscribed_topic_names=[TOPIC], topic_partitions=[])["member_epoch"] == 1
    mine = {"transactional_id": "x"}
    made = conn.ask("init_producer_id", 3, **mine, transaction_timeout_ms=60000, producer_id=-1, producer_epoch=-1)
    mine |= {k: made[k] for k in ("producer_id", "producer_epoch")}
    assert conn.ask("add_offsets_to_txn", 3, **mine, group_id="g")["error_code"] == 0
    row = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}
    got = [conn.ask("txn_offset_commit", 3, **mine, group_id="g", generation_id=epoch, member_id=member, group_instance_id=None,
                    topics=[{"name": TOPIC, "partitions": [row]}])["topics"][0]["partitions"][0]["error_code"]
           for member, epoch in [("a", 1), ("a", 5), ("x", 1), ("", -1), ("a", -1)]]
    assert got == [0, 22, 25, 0, 22]         # asked of 4.1.0, too: 22 stands for a stale epoch here
    conn.close()


if __name__ == "__main__":
    print("\n".join(Scenario(sys.argv[1]).play()))
