# SPDX-License-Identifier: Apache-2.0
"""Plays one sequence of requests to both brokers and compares what they answer.

A sequence: {'name', 'prefix' (begins its topics', groups' and transactions' names), 'steps'}. A step: {'api', 'v', 'body',
'conn' (a label), 'save' (names what the answer makes up), 'note'}; instead of a plain body it may have 'cut' (bytes less at
the end), 'tail' (hex more), 'silent' (Kafka is known not to answer), 'asked_version' (written into the header), 'hex' (the whole frame). In bodies {'$ref': NAME,
'or': VALUE, 'add': N} is what this broker made up under a name, {'$batches': […]} record batches (batches.py).
"""
import json
import time

import compare
import peers
from msgcodec import Short

SETTLE = {'CreateTopics', 'DeleteTopics', 'CreatePartitions', 'AlterConfigs', 'IncrementalAlterConfigs', 'AlterClientQuotas', 'CreateAcls', 'DeleteAcls',
          'AlterUserScramCredentials', 'UpdateFeatures', 'AlterPartitionReassignments', 'ElectLeaders'}
READS = {'Metadata', 'DescribeConfigs', 'DescribeCluster', 'DescribeTopicPartitions', 'ListOffsets', 'OffsetFetch', 'DescribeGroups', 'ListGroups', 'DescribeTransactions',
         'ListTransactions', 'DescribeProducers', 'DescribeLogDirs', 'OffsetForLeaderEpoch', 'DescribeClientQuotas', 'DescribeAcls', 'DescribeUserScramCredentials',
         'ListPartitionReassignments', 'DescribeQuorum', 'FindCoordinator'}
MAY_WAIT = {'JoinGroup', 'SyncGroup', 'Fetch'}    # requests that are parked until others come
LATER = {51, 6, 15, 14, 16}                      # errors that say: ask again, I am not yet done


class Found(Exception):
    """A difference: the step and what differs."""

    def __init__(self, n, step, rows, answers):
        self.n, self.step, self.rows, self.answers = n, step, rows, answers
        super().__init__(f'{n}')


def errors_of(x):
    if isinstance(x, dict):
        for k, v in x.items():
            if k.endswith('error_code'):
                yield v
            else:
                yield from errors_of(v)
    elif isinstance(x, list):
        for v in x:
            yield from errors_of(v)


def topic_ids(x):
    if isinstance(x, dict):
        name = x.get('name') or x.get('topic')
        if name and x.get('topic_id', '').strip('0'):
            yield name, x['topic_id']
        for v in x.values():
            yield from topic_ids(v)
    elif isinstance(x, list):
        for v in x:
            yield from topic_ids(v)


class Player:
    def __init__(self, kafka, ours, allowed, trace=False, collect=False):
        self.pair, self.allowed, self.trace, self.collect = (kafka, ours), allowed, trace, collect
        self.asked = self.differing = 0
        self.coverage = {}
        self.found = []

    def run(self, sequence):
        """Raises Found at the first difference that is not allowed."""
        self.start_ms = int(time.time() * 1000) - 3600000
        for p in self.pair:
            p.begin(self.start_ms)
        self.views = [compare.View(p, sequence) for p in self.pair]
        self.parked, self.found = {}, []
        steps = sequence['steps']
        for n, step in enumerate(steps):
            label = step.get('conn', 'a')
            if label in self.parked and not self.finish(label, 1):
                del self.parked[label]           # both still wait; who asks next, does it on another connection
                for p in self.pair:
                    p.conns.pop(label).close()
            if not self.step(n, step, label):
                break
            for other in list(self.parked):
                self.finish(other, 0)
        for label in list(self.parked):
            self.finish(label, 0.05)
        for p in self.pair:
            for c in p.conns.values():
                c.close()
        return self.found

    def exchange(self, conns, step):
        for p, c in zip(self.pair, conns):
            c.send(p.frame(step))
        silent = step['api'] == 'Produce' and (step['body'] or {}).get('acks') == 0
        if not peers.wait(conns, peers.QUIET if step['api'] in MAY_WAIT or silent else peers.SLOW, 1):
            return False
        peers.wait(conns, 1 if step.get('silent') else peers.SLOW, 2)
        return True

    def step(self, n, step, label):
        conns = [p.conn(label) for p in self.pair]
        self.asked += 1
        if not self.exchange(conns, step):
            if step['api'] in MAY_WAIT:
                self.parked[label] = n, step
            return True
        return self.judge(n, step, conns)

    def finish(self, label, seconds):
        """Takes the answers to a parked request, if one has come. True when the connection is free again."""
        n, step = self.parked[label]
        conns = [p.conn(label) for p in self.pair]
        if not peers.wait(conns, seconds, 1):
            return False
        peers.wait(conns, peers.SLOW, 2)
        del self.parked[label]
        self.judge(n, step, conns)
        return True

    def decode(self, step, conns):
        out = []
        for p, c in zip(self.pair, conns):
            data = c.pop()
            if data is None:
                out.append('closed' if c.closed else 'silent')
                continue
            try:
                out.append(p.codec.answer(p.codec.key_of(step['api']), step.get('asked_version', step['v']), data))
            except (Short, KeyError) as e:
                out.append(f'not readable: {e!r} {data.hex()[:200]}')
        if 'silent' in out:                      # what comes next must not be taken for its answer
            for c in conns:
                c.close()
        return out

    def judge(self, n, step, conns):
        answers = self.decode(step, conns)
        self.count(step, answers[0])
        rows = self.compare(step, answers)
        until, wait = time.monotonic() + 5, 0.02
        while self.unexplained(step, rows) and isinstance(answers[0], dict) and time.monotonic() < until:
            # Kafka may be a moment behind itself: it is asked again what it has not done, or only reads.
            busy = set(errors_of(answers[0])) & LATER and isinstance(answers[1], dict) and not set(errors_of(answers[1])) & LATER
            if not (busy or step['api'] in READS and wait < 0.2) or step.get('once'):
                break
            time.sleep(wait)
            wait *= 2
            conns[0].send(self.pair[0].frame(step))
            if not peers.wait(conns[:1], peers.SLOW, 1):
                break
            answers[0] = self.decode(step, conns[:1])[0]
            rows = self.compare(step, answers)
        if self.trace:
            print(f'{n} {step["api"]} v{step["v"]} {step.get("note", "")} {json.dumps(step.get("body"))[:1500]}')
            for who, a in zip(('kafka', 'ours '), answers):
                print(f'    {who} {json.dumps(a)[:3000]}')
        go_on, whole, bad = True, False, []
        for path, want, have in rows:
            reason = self.allowed.reason(self.title(step), path, want, have)
            if reason is None:
                bad.append((path, want, have))
            else:
                go_on = go_on and not reason.startswith('(ends)')
                whole = whole or reason.startswith(('(ends)', '(whole)'))
        if whole:
            bad = []
        if bad:
            self.differing += 1
            found = Found(n, step, bad, answers)
            if not self.collect:
                raise found
            self.found.append(found)
        self.after(step, answers)
        return go_on

    def unexplained(self, step, rows):
        reasons = [self.allowed.reason(self.title(step), *row) for row in rows]
        return None in reasons and not any(r.startswith(('(ends)', '(whole)')) for r in reasons if r)

    def count(self, step, answer):
        """How often Kafka answered an API in a version without an error, and with one."""
        if 'asked_version' not in step and 'hex' not in step:
            row = self.coverage.setdefault((step['api'], step['v']), [0, 0])
            row[not isinstance(answer, dict) or any(errors_of(answer))] += 1

    def title(self, step):
        note = f': {step["note"]}' if step.get('note') else ''
        return f'{step["api"]} v{step["v"]}{note}'

    def compare(self, step, answers):
        self.learn(step, answers)
        both = [v.canonical(a) for v, a in zip(self.views, answers)]
        return list(compare.differences(both[0], both[1]))

    def learn(self, step, answers):
        save = step.get('save')
        for p, a in zip(self.pair, answers):
            if not isinstance(a, dict):
                continue
            for name, value in topic_ids(a):
                p.learn(f'topic.{name}', value)
            if step['api'] == 'InitProducerId' and save and a['error_code'] == 0:
                p.learn(f'pid.{save}', a['producer_id'])
                p.names[f'epoch.{save}'] = a['producer_epoch']
            if step['api'] == 'JoinGroup' and save and a['member_id'] and (a['error_code'] in (0, 79)):
                p.learn(f'member.{save}', a['member_id'])
                if a['error_code'] == 0:
                    p.names[f'gen.{step["body"]["group_id"]}'] = a['generation_id']
            if step['api'] == 'Fetch' and a.get('session_id'):
                p.learn(f'session.{step.get("conn", "a")}', a['session_id'])

    def after(self, step, answers):
        """Waits until Kafka has done what it said: its log of metadata is read, its markers are written."""
        kafka, ours = self.pair
        body = step.get('body') or {}
        if step['api'] in SETTLE and isinstance(answers[0], dict):
            kafka.settle()
        if step['api'] in ('CreateTopics', 'Metadata') and isinstance(answers[0], dict):
            names = sorted({t.get('name') for t in body.get('topics') or [] if t.get('name')})
            for p in self.pair if names else ():
                for name, value in topic_ids(p.ask('Metadata', 12, {'topics': [{'name': n} for n in names], 'allow_auto_topic_creation': False})):
                    p.learn(f'topic.{name}', value)
        if step['api'] in ('EndTxn', 'InitProducerId') and body.get('transactional_id') and isinstance(answers[0], dict):
            until = time.monotonic() + 5
            while time.monotonic() < until:
                a = kafka.ask('DescribeTransactions', 0, {'transactional_ids': [body['transactional_id']]})
                if not a['transaction_states'][0]['transaction_state'].startswith('Prepare'):
                    break
                time.sleep(0.01)
