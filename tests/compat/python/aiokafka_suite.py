# SPDX-License-Identifier: Apache-2.0
"""aiokafka."""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata
from scenarios import fresh, main, restart_broker, scenario


async def admin_of(address):
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    return admin


async def create(address, name, partitions=1, **config):
    topic, admin = fresh(name), await admin_of(address)
    made = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs={k.replace("_", "."): str(v) for k, v in config.items()})])
    assert made.topic_errors[0][1] == 0, made
    await admin.close()
    return topic


async def send(address, topic, records, partition=None, **config):
    async with AIOKafkaProducer(bootstrap_servers=address, linger_ms=5, **config) as producer:
        sent = [await producer.send(topic, r[1], r[0], partition, headers=r[2] if len(r) > 2 else None) for r in records]
        return [(await s).offset for s in sent]


def consumer_of(address, *topics, group=None, **config):
    return AIOKafkaConsumer(*topics, bootstrap_servers=address, group_id=group, auto_offset_reset="earliest", enable_auto_commit=False,
                            heartbeat_interval_ms=500, metadata_max_age_ms=5000, **config)


async def read(address, topic, partitions=1, isolation="read_committed"):
    messages, all_of = [], [TopicPartition(topic, p) for p in range(partitions)]
    async with consumer_of(address, isolation_level=isolation, max_partition_fetch_bytes=20000000) as consumer:
        consumer.assign(all_of)
        ends = await consumer.end_offsets(all_of)
        await consumer.seek_to_beginning(*all_of)

        async def read_all():
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                messages.extend(batch)
            return all([await consumer.position(tp) >= ends[tp] for tp in all_of])
        await wait_for(read_all, f"the end {ends}")
    return messages


async def wait_for(condition, what, seconds=40, period=0.01):
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        result = await result if asyncio.iscoroutine(result) else result
        if result:
            return result
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(period)


async def refused(error, awaitable, name=None):
    try:
        await awaitable
    except error as e:
        assert name is None or name in repr(e), f"wanted {name}, got {e!r}"
        return e
    raise AssertionError(f"was taken, wanted {name or error}")


class Member:
    @classmethod
    async def join(cls, address, group, topic, **config):
        self = cls()
        self.consumer, self.seen = consumer_of(address, group=group, **config), []
        self.consumer.subscribe([topic])
        await self.consumer.start()
        self.task = asyncio.create_task(self.run())
        return self

    async def run(self):
        async for message in self.consumer:
            self.seen.append(message.value)

    def has(self):
        return sorted(tp.partition for tp in self.consumer.assignment())

    async def close(self):
        self.task.cancel()
        await self.consumer.stop()


async def share(members, counts):
    await wait_for(lambda: [len(m.has()) for m in members] == counts and len({p for m in members for p in m.has()}) == sum(counts),
                   f"{counts} partitions", 60)


@scenario
async def codecs_keys_headers(address):
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        topic = await create(address, str(codec))
        records = [(b"k%d" % n if n % 3 else None, b"v%d " % n * 40 if n % 5 or not n % 3 else None, [("h", b"%d" % n), ("h", b"again")]) for n in range(300)]
        await send(address, topic, records, compression_type=codec)
        got = [(m.key, m.value, list(m.headers)) for m in await read(address, topic)]
        assert got == records, f"{codec}: {len(got)} records"


@scenario
async def idempotent(address):
    topic = await create(address, "idempotent", 3)
    for p in range(3):
        await send(address, topic, [(None, b"%d" % n) for n in range(500)], p, enable_idempotence=True)
    messages = await read(address, topic, 3)
    for p in range(3):
        assert [int(m.value) for m in messages if m.partition == p] == list(range(500))


async def rebalance(address, strategy):
    topic, group = await create(address, "rebalance", 4), fresh("group")
    one = await Member.join(address, group, topic, partition_assignment_strategy=[strategy])
    await share([one], [4])
    two = await Member.join(address, group, topic, partition_assignment_strategy=[strategy])
    await share([one, two], [2, 2])
    await send(address, topic, [(b"%d" % n, b"%d" % n) for n in range(100)])
    await wait_for(lambda: len(one.seen) + len(two.seen) >= 100, "100 records")
    assert sorted(one.seen + two.seen) == sorted(b"%d" % n for n in range(100))
    await one.consumer.commit()
    await two.consumer.commit()
    await two.close()
    await share([one], [4])
    await send(address, topic, [(b"%d" % n, b"last") for n in range(10)])
    await wait_for(lambda: one.seen.count(b"last") == 10, "what came after the leave")
    await one.close()


@scenario
async def group_rebalance_eager(address):
    await rebalance(address, RoundRobinPartitionAssignor)


@scenario
async def group_rebalance_sticky(address):
    await rebalance(address, StickyPartitionAssignor)


@scenario
async def static_members(address):
    topic, group = await create(address, "static", 4), fresh("group")
    one = await Member.join(address, group, topic, group_instance_id="one", session_timeout_ms=20000)
    two = await Member.join(address, group, topic, group_instance_id="two", session_timeout_ms=20000)
    await share([one, two], [2, 2])
    had = two.has()
    await two.close()
    two = await Member.join(address, group, topic, group_instance_id="two", session_timeout_ms=20000)
    await share([one, two], [2, 2])
    assert two.has() == had, f"{had} became {two.has()}"
    await one.close()
    await two.close()


@scenario
async def offsets_commit_reset(address):
    topic, group = await create(address, "offsets"), fresh("group")
    await send(address, topic, [(None, b"%d" % n) for n in range(20)])
    tp = TopicPartition(topic, 0)
    async with consumer_of(address, group=group) as consumer:
        consumer.assign([tp])
        assert await consumer.committed(tp) is None
        await consumer.commit({tp: OffsetAndMetadata(7, "some words")})
        assert await consumer.committed(tp) == 7
    admin = await admin_of(address)
    assert (await admin.list_consumer_group_offsets(group))[tp] == OffsetAndMetadata(7, "some words")
    await admin.close()
    for at, wanted in ((7, 13), (18, 2), (9999, 20)):
        async with consumer_of(address, group=group) as consumer:
            consumer.assign([tp])
            await consumer.commit({tp: at})
        member = await Member.join(address, group, topic)
        await wait_for(lambda: len(member.seen) == wanted, f"{wanted} records after {at}")
        await member.close()


@scenario
async def transactions(address):
    source, topic, group = await create(address, "source"), await create(address, "outcome", 2), fresh("group")
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id=fresh("tx")) as producer:
        for n in range(6):
            await producer.begin_transaction()
            for p in range(2):
                await asyncio.gather(*[await producer.send(topic, b"%d-%d" % (n, i), partition=p) for i in range(5)])
            await (producer.commit_transaction() if n % 2 == 0 else producer.abort_transaction())
        wanted = sorted(b"%d-%d" % (n, i) for n in (0, 2, 4) for i in range(5) for _ in range(2))
        assert sorted(m.value for m in await read(address, topic, 2)) == wanted
        assert len(await read(address, topic, 2, "read_uncommitted")) == 60
        tp = TopicPartition(source, 0)
        for commit, offset, value in ((True, 4, 4), (False, 9, 4)):
            await producer.begin_transaction()
            await producer.send_and_wait(topic, b"with offsets", partition=0)
            await producer.send_offsets_to_transaction({tp: offset}, group)
            await (producer.commit_transaction() if commit else producer.abort_transaction())
            async with consumer_of(address, group=group) as consumer:
                consumer.assign([tp])
                assert await consumer.committed(tp) == value
    assert sum(m.value == b"with offsets" for m in await read(address, topic, 2)) == 1


@scenario
async def transactions_fencing_and_lso(address):
    topic, name = await create(address, "fencing"), fresh("tx")
    first = AIOKafkaProducer(bootstrap_servers=address, transactional_id=name)
    await first.start()
    await first.begin_transaction()
    await first.send_and_wait(topic, b"of a dead one")
    await send(address, topic, [(None, b"plain")])
    async with consumer_of(address, topic, isolation_level="read_committed") as consumer:
        assert await consumer.getmany(timeout_ms=1000) == {}, "read_committed went past an open transaction"
    async with AIOKafkaProducer(bootstrap_servers=address, transactional_id=name) as second:
        await second.begin_transaction()
        await second.send_and_wait(topic, b"of the living")
        await second.commit_transaction()
    await refused((ProducerFenced, KafkaError), first.commit_transaction())
    assert [m.value for m in await read(address, topic)] == [b"plain", b"of the living"]


@scenario
async def admin_topics_configs_partitions(address):
    admin, topic = await admin_of(address), fresh("admin")

    async def code(request):
        return [row[1] for row in (await request).topic_errors]
    assert await code(admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "123456789"})])) == [0]
    assert await code(admin.create_topics([NewTopic(topic, 2, 1)])) == [36]
    assert await code(admin.create_topics([NewTopic("no/such name", 2, 1)])) == [17]
    resource = ConfigResource(ConfigResourceType.TOPIC, topic)
    assert "123456789" in str(await admin.describe_configs([resource]))
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {"retention.ms": "987654321"})])

    async def altered():
        return "987654321" in str(await admin.describe_configs([resource]))
    await wait_for(altered, "the altered config")
    await admin.create_partitions({topic: NewPartitions(5)})

    async def grown():
        return len((await admin.describe_topics([topic]))[0]["partitions"]) == 5
    await wait_for(grown, "5 partitions")
    assert topic in await admin.list_topics() and (await admin.describe_cluster())["cluster_id"]
    await admin.delete_topics([topic])

    async def gone():
        return topic not in await admin.list_topics()
    await wait_for(gone, "the topic is gone")
    await admin.close()


@scenario
async def admin_replication_factor(address):
    admin = await admin_of(address)
    made = await admin.create_topics([NewTopic(fresh("of-three"), 1, 3)])
    assert made.topic_errors[0][1] == 38, made
    await admin.close()


@scenario
async def admin_groups(address):
    admin, topic, group = await admin_of(address), await create(address, "groups", 2), fresh("group")
    member = await Member.join(address, group, topic, client_id="the-client")
    await share([member], [2])
    await member.consumer.commit({TopicPartition(topic, 0): 3})
    assert group in str(await admin.list_consumer_groups())
    assert "the-client" in str(await admin.describe_consumer_groups([group]))
    await member.close()
    assert (await admin.list_consumer_group_offsets(group))[TopicPartition(topic, 0)].offset == 3
    await admin.close()


@scenario
async def delete_records(address):
    admin, topic = await admin_of(address), await create(address, "records")
    await send(address, topic, [(None, b"%d" % n) for n in range(20)])
    tp = TopicPartition(topic, 0)
    assert (await admin.delete_records({tp: RecordsToDelete(12)}))[tp] == 12
    assert [int(m.value) for m in await read(address, topic)] == list(range(12, 20))
    await admin.close()


@scenario
async def timestamps(address):
    topic, now, tp = await create(address, "times"), int(time.time() * 1000) - 100000, None
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        for n in range(10):
            await producer.send(topic, b"%d" % n, timestamp_ms=now + n * 1000)
    assert [m.timestamp for m in await read(address, topic)] == [now + n * 1000 for n in range(10)]
    tp = TopicPartition(topic, 0)
    async with consumer_of(address) as consumer:
        for at, wanted in ((now - 5, 0), (now + 1, 1), (now + 4000, 4)):
            assert (await consumer.offsets_for_times({tp: at}))[tp].offset == wanted
        assert (await consumer.offsets_for_times({tp: now + 9001}))[tp] is None


@scenario
async def large_messages(address):
    topic, value = await create(address, "large", max_message_bytes=9000000), bytes(range(256)) * 4 * 8000
    await send(address, topic, [(b"k", value), (b"k", b"small")], max_request_size=9500000)
    assert [len(m.value) for m in await read(address, topic)] == [len(value), 5]
    small = await create(address, "small", max_message_bytes=1000)
    await refused(MessageSizeTooLargeError, send(address, small, [(None, b"y" * 5000)]))


@scenario
async def compaction(address):
    topic = await create(address, "compacted", cleanup_policy="compact", segment_ms=200, min_cleanable_dirty_ratio="0.01", delete_retention_ms=100, max_compaction_lag_ms=500)
    for n in range(5):
        await send(address, topic, [(b"k%d" % k, b"%d" % n) for k in range(5)])

    async def compacted():
        await send(address, topic, [(b"tick", b"rolls the segment")])
        return [(m.key, m.value) for m in await read(address, topic) if m.key != b"tick"] == [(b"k%d" % k, b"4") for k in range(5)]
    await wait_for(compacted, "the last value of each key", 70, period=0.5)


@scenario
async def restart(address):
    topic, group = await create(address, "restart", 2), fresh("group")
    member = await Member.join(address, group, topic)
    async with AIOKafkaProducer(bootstrap_servers=address, enable_idempotence=True) as producer:
        for n in range(50):
            await producer.send_and_wait(topic, b"a%d" % n, b"%d" % n)
        await wait_for(lambda: len(member.seen) == 50, "50 records")
        await member.consumer.commit()
        await asyncio.to_thread(restart_broker)
        for n in range(50):
            await producer.send_and_wait(topic, b"b%d" % n, b"%d" % n)
        await wait_for(lambda: len(member.seen) >= 100, "100 records", 60)
    assert sorted(member.seen) == sorted(b"%c%d" % (c, n) for c in b"ab" for n in range(50))
    await member.consumer.commit()
    await member.close()


main(lambda function, address: asyncio.run(function(address)))
