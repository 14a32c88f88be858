// SPDX-License-Identifier: Apache-2.0
'use strict';
// Scenarios for kafkajs. The lines are those of ../python/scenarios.py.

const assert = require('assert');
const crypto = require('crypto');
const readline = require('readline');
const {
  CompressionTypes, CompressionCodecs, Kafka, logLevel, Partitioners, AssignerProtocol, ConfigResourceTypes,
} = require('kafkajs');
const SnappyCodec = require('kafkajs-snappy');

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec;
const [, , address, ...names] = process.argv;
const LIMIT_MS = 90000;
const fresh = (name) => `${name}-${crypto.randomBytes(5).toString('hex')}`;
const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const kafka = new Kafka({
  clientId: 'compat', brokers: [address], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 100, retries: 12, maxRetryTime: 1000 },
});
const once = new Kafka({ clientId: 'compat', brokers: [address], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const open = []; // clients of the running scenario

async function restartBroker() {
  console.log('restart');
  assert.strictEqual((await lines.next()).value, 'restarted');
}

async function waitFor(what, condition, seconds = 60) {
  const deadline = Date.now() + seconds * 1000;
  while (!await condition()) {
    assert(Date.now() < deadline, `never: ${what}`);
    await sleep(20);
  }
}

async function connected(client) {
  await client.connect();
  open.push(client);
  return client;
}

const admin = (of = kafka) => connected(of.admin());
const producer = (options = {}) => connected(kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, ...options }));

async function create(name, numPartitions = 1, config = {}) {
  const topic = fresh(name);
  const configEntries = Object.entries(config).map(([key, value]) => ({ name: key, value: String(value) }));
  await (await admin()).createTopics({ topics: [{ topic, numPartitions, configEntries }] });
  return topic;
}

async function refused(promise, type) {
  const error = await promise.then(() => null, (e) => e);
  assert(error, `was taken, wanted ${type}`);
  const found = [error, ...(error.errors || []), error.cause].filter(Boolean).map((e) => e.type || e.name);
  assert(found.includes(type), `wanted ${type}, got ${found} ${error.message}`);
}

async function join(topic, groupId, options = {}, onStart = null) {
  const member = { seen: [], messages: [], has: [], joins: 0, fetches: 0 };
  member.consumer = await connected(kafka.consumer({
    groupId, heartbeatInterval: 300, sessionTimeout: 20000, rebalanceTimeout: 20000, maxWaitTimeInMs: 200, ...options,
  }));
  member.consumer.on(member.consumer.events.GROUP_JOIN, ({ payload }) => {
    member.has = payload.memberAssignment[topic] || [];
    member.joins += 1;
  });
  member.consumer.on(member.consumer.events.FETCH, () => { member.fetches += 1; });
  await member.consumer.subscribe({ topic, fromBeginning: true });
  if (onStart) onStart(member.consumer);
  await member.consumer.run({
    autoCommitInterval: 100,
    eachMessage: async ({ partition, message }) => {
      member.seen.push(message.value === null ? null : message.value.toString());
      member.messages.push({ partition, ...message });
    },
  });
  return member;
}

// Reads n records of a topic; no more may come. Fetches follow one another: the second one to end after the n-th record began when all that
// the first brought had been handed out.
async function read(topic, n, options = {}) {
  const member = await join(topic, fresh('reader'), options);
  await waitFor(`${n} records of ${topic}`, () => member.seen.length >= n && member.joins);
  const enough = member.fetches + 2;
  await waitFor('two more fetches', () => member.fetches >= enough);
  assert.strictEqual(member.seen.length, n, `more than ${n} records`);
  await member.consumer.disconnect();
  return member.messages;
}

const values = (n, prefix = '') => Array.from({ length: n }, (_, i) => ({ value: `${prefix}${i}` }));
const shared = (counts, members) => waitFor(`partitions shared as ${counts}`, () => members.every((m, i) => m.has.length === counts[i])
  && new Set(members.flatMap((m) => m.has)).size === 4);

const scenarios = {
  async codecs_keys_headers() {
    for (const codec of ['None', 'GZIP', 'Snappy']) {
      const topic = await create(codec);
      const messages = Array.from({ length: 300 }, (_, i) => ({ key: `k${i}`, value: i % 7 ? `a value ${i} `.repeat(10) : null, headers: { h: ['1', '2'], x: 'y' } }));
      await (await producer()).send({ topic, messages, compression: CompressionTypes[codec] });
      const got = await read(topic, 300);
      got.forEach((m, i) => {
        assert.strictEqual(m.key.toString(), `k${i}`);
        assert.strictEqual(m.value === null, i % 7 === 0);
        assert.deepStrictEqual([m.headers.h.map(String), String(m.headers.x)], [['1', '2'], 'y']);
      });
    }
  },
  async idempotent() {
    const topic = await create('idempotent', 2);
    const p = await producer({ idempotent: true, maxInFlightRequests: 1 });
    for (let n = 0; n < 20; n += 1) {
      await p.send({ topic, messages: [0, 1].flatMap((partition) => values(20, `${n}-`).map((m) => ({ ...m, partition }))) });
    }
    const got = await read(topic, 800);
    const wanted = Array.from({ length: 20 }, (_, n) => values(20, `${n}-`).map((m) => m.value)).flat();
    for (const partition of [0, 1]) assert.deepStrictEqual(got.filter((m) => m.partition === partition).map((m) => String(m.value)), wanted);
  },
  async group_rebalance_eager() {
    const topic = await create('rebalance', 4);
    const group = fresh('group');
    const one = await join(topic, group);
    await shared([4], [one]);
    const two = await join(topic, group);
    await shared([2, 2], [one, two]);
    await (await producer()).send({ topic, messages: Array.from({ length: 100 }, (_, i) => ({ value: String(i), partition: i % 4 })) });
    await waitFor('100 records', () => new Set([...one.seen, ...two.seen]).size === 100);
    await two.consumer.disconnect();
    await shared([4], [one]);
  },
  async offsets_commit_reset() {
    const topic = await create('offsets');
    const group = fresh('group');
    await (await producer()).send({ topic, messages: values(20) });
    const a = await admin();
    for (const [offset, wanted] of [['7', 13], ['18', 2]]) {
      await a.setOffsets({ groupId: group, topic, partitions: [{ partition: 0, offset }] });
      assert.strictEqual((await a.fetchOffsets({ groupId: group, topics: [topic] }))[0].partitions[0].offset, offset);
      const member = await join(topic, group);
      await waitFor(`${wanted} records`, () => member.seen.length === wanted);
      await member.consumer.disconnect();
    }
    await a.resetOffsets({ groupId: group, topic, earliest: true });
    const member = await join(topic, group);
    await waitFor('all records', () => member.seen.length === 20);
  },
  async transactions() {
    const topic = await create('outcome');
    const source = await create('source');
    const group = fresh('group');
    const p = await producer({ transactionalId: fresh('tx'), idempotent: true, maxInFlightRequests: 1 });
    const wanted = [];
    for (let n = 0; n < 6; n += 1) {
      const t = await p.transaction();
      await t.send({ topic, messages: values(5, `${n}-`) });
      if (n < 2) await t.sendOffsets({ consumerGroupId: group, topics: [{ topic: source, partitions: [{ partition: 0, offset: String(4 + n) }] }] });
      if (n % 2) await t.abort();
      else {
        await t.commit();
        wanted.push(...values(5, `${n}-`).map((m) => m.value));
      }
    }
    assert.deepStrictEqual((await read(topic, 15)).map((m) => String(m.value)), wanted);
    await read(topic, 30, { readUncommitted: true });
    const a = await admin();
    await waitFor('the committed offset', async () => (await a.fetchOffsets({ groupId: group, topics: [source] }))[0].partitions[0].offset === '4');
  },
  async admin_topics_configs_partitions() {
    const a = await admin();
    const o = await admin(once);
    const topic = await create('admin', 2, { 'retention.ms': 123456789 });
    assert.strictEqual(await a.createTopics({ topics: [{ topic, numPartitions: 2 }] }), false);
    await refused(o.createTopics({ topics: [{ topic: 'no/such name' }] }), 'INVALID_TOPIC_EXCEPTION');
    const config = async () => (await a.describeConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })).resources[0].configEntries.find((e) => e.configName === 'retention.ms').configValue;
    assert.strictEqual(await config(), '123456789');
    await a.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '987654321' }] }] });
    await waitFor('the altered config', async () => await config() === '987654321');
    await a.createPartitions({ topicPartitions: [{ topic, count: 5 }] });
    await waitFor('5 partitions', async () => (await a.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 5);
    await refused(o.createPartitions({ topicPartitions: [{ topic, count: 3 }] }), 'INVALID_PARTITIONS');
    const cluster = await a.describeCluster();
    assert.strictEqual(cluster.brokers.length, 1);
    await a.deleteTopics({ topics: [topic] });
    await waitFor('no topic', async () => !(await a.listTopics()).includes(topic));
    await refused(o.deleteTopics({ topics: [topic] }), 'UNKNOWN_TOPIC_OR_PARTITION');
  },
  async admin_groups() {
    const topic = await create('groups', 4);
    const group = fresh('group');
    const a = await admin();
    const member = await join(topic, group);
    await shared([4], [member]);
    assert((await a.listGroups()).groups.some((g) => g.groupId === group && g.protocolType === 'consumer'));
    const described = (await a.describeGroups([group])).groups[0];
    assert.strictEqual(described.state, 'Stable');
    assert.deepStrictEqual(AssignerProtocol.MemberAssignment.decode(described.members[0].memberAssignment).assignment[topic].length, 4);
    await refused((await admin(once)).deleteGroups([group]).catch((e) => { throw Object.assign(e, { errors: (e.groups || []).map((g) => g.error) }); }), 'NON_EMPTY_GROUP');
    await member.consumer.disconnect();
    await a.deleteGroups([group]);
    assert(!(await a.listGroups()).groups.some((g) => g.groupId === group));
  },
  async delete_records() {
    const topic = await create('records');
    await (await producer()).send({ topic, messages: values(20) });
    const a = await admin();
    await a.fetchTopicOffsets(topic); // kafkajs deletes only where it has the metadata already
    await a.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '12' }] });
    assert.strictEqual((await a.fetchTopicOffsets(topic))[0].low, '12');
    assert.strictEqual(String((await read(topic, 8))[0].value), '12');
  },
  async timestamps() {
    const topic = await create('times');
    const from = Date.now() - 100000;
    await (await producer()).send({ topic, messages: values(10).map((m, i) => ({ ...m, timestamp: String(from + i * 1000) })) });
    const a = await admin();
    for (const [after, wanted] of [[-5, '0'], [1, '1'], [4000, '4'], [9001, '10']]) {
      assert.strictEqual((await a.fetchTopicOffsetsByTimestamp(topic, from + after))[0].offset, wanted);
    }
    assert.deepStrictEqual((await read(topic, 10)).map((m) => Number(m.timestamp)), values(10).map((_, i) => from + i * 1000));
  },
  async large_messages() {
    const topic = await create('large', 1, { 'max.message.bytes': 9000000 });
    const value = Buffer.alloc(8000000, 'x');
    const p = await producer();
    await p.send({ topic, messages: [{ value }] });
    await p.send({ topic, messages: [{ value: 'small' }] });
    assert.deepStrictEqual((await read(topic, 2)).map((m) => m.value.length), [8000000, 5]);
    const small = await create('small', 1, { 'max.message.bytes': 1000 });
    await refused(p.send({ topic: small, messages: [{ value: value.subarray(0, 5000) }] }), 'MESSAGE_TOO_LARGE');
  },
  async restart() {
    const topic = await create('restart', 4);
    const member = await join(topic, fresh('group'));
    await shared([4], [member]);
    const p = await producer();
    await p.send({ topic, messages: values(50, 'a') });
    await waitFor('50 records', () => member.seen.length >= 50);
    await restartBroker();
    await p.send({ topic, messages: values(50, 'b') });
    await waitFor('100 records', () => new Set(member.seen).size === 100);
  },
};

async function main() {
  let failed = 0;
  for (const [name, run] of Object.entries(scenarios)) {
    if (names.length && !names.includes(name)) continue;
    let timer;
    const limit = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error(`took longer than ${LIMIT_MS} ms`)), LIMIT_MS); });
    try {
      await Promise.race([run(), limit]);
      console.log(`ok ${name}`);
    } catch (e) {
      failed += 1;
      const at = (e.stack || '').split('\n').find((l) => l.includes('suite.js')) || '';
      console.log(`failed ${name}: ${`${e.message} ${at.trim()}`.replace(/\s+/g, ' ').slice(0, 400)}`);
    }
    clearTimeout(timer);
    await Promise.race([Promise.allSettled(open.splice(0).map((c) => c.disconnect())), sleep(5000)]);
  }
  process.exit(failed ? 1 : 0);
}

main();
