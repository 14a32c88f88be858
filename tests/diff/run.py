#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The same requests to Apache Kafka 3.8.1 and to millrace; what they answer, and what is in their logs at the end, compared.

Usage: run.py [--seed N] [--seeds N] [--script NAME] [--only random|scripts] [--seconds N] [--trace] [--all] [--full]
Ids, times, ports and folders are named or left out (compare.py). What may differ is in differences.txt, each line with its
reason. A random sequence that differs counts only when it differs again on brokers of its own, started for it, by itself or
after the sequences that came before it; there it is shrunk before it is printed. --all goes on.
"""
import argparse
import json
import os
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools'))
sys.dont_write_bytecode = True
import compare  # noqa: E402
import generate  # noqa: E402
import peers  # noqa: E402
import play  # noqa: E402
import scripts  # noqa: E402
from genmsg import camel  # noqa: E402
from msgcodec import Codec  # noqa: E402

NOT_COMPARED = {'ConsumerGroupHeartbeat', 'ConsumerGroupDescribe', 'PushTelemetry', 'LeaderAndIsr'}


def ranges_of(codec, kafka):
    """What both the schema and Kafka 3.8.1 know."""
    names = {m.key: m for (kind, _), m in codec.messages.items() if kind == 'request'}
    out = {}
    for row in kafka.ask('ApiVersions', 0, {})['api_keys']:
        m = names.get(row['api_key'])
        if m and camel(m.name) not in NOT_COMPARED:
            out[camel(m.name)] = max(m.lo, row['min_version']), min(m.hi, row['max_version'])
    return out


def tell(sequence, found):
    print(f'--- {sequence["name"]}: request {found.n}: {found.step["api"]} v{found.step["v"]} {found.step.get("note", "")}')
    print(f'    {json.dumps({k: v for k, v in found.step.items() if k not in ("api", "v", "note")})[:1200]}')
    for path, want, have in found.rows[:8]:
        print(f'    {path}: Kafka {json.dumps(want)[:400]}, ours {json.dumps(have)[:400]}')
    sys.stdout.flush()


# What cannot be had from a broker without security and on its own, or is no answer of the API: 'success' or 'error', and why.
CANNOT = {
    ('AlterReplicaLogDirs', 'success'): 'one folder, and it has a name of its own on each broker',
    ('ApiVersions', 'error'): 'an unknown version is answered in version 0; only the names of clients are refused, from version 3 on',
    ('CreateDelegationToken', 'success'): 'no secret key is set', ('DescribeDelegationToken', 'success'): 'no secret key is set',
    ('ExpireDelegationToken', 'success'): 'no secret key is set', ('RenewDelegationToken', 'success'): 'no secret key is set',
    ('DescribeAcls', 'success'): 'no authorizer is set', ('DeleteAcls', 'success'): 'no authorizer is set', ('CreateAcls', 'success'): 'no authorizer is set',
    ('DescribeCluster', 'error'): 'version 0 has nothing to refuse', ('DescribeGroups', 'error'): 'a group that is not is Dead, without an error, up to version 5',
    ('DescribeLogDirs', 'error'): 'only a disk that fails', ('ListClientMetricsResources', 'error'): 'nothing to refuse', ('ListGroups', 'error'): 'unknown states match nothing',
    ('ListPartitionReassignments', 'error'): 'what is not there is left out', ('ListTransactions', 'error'): 'unknown states are told apart from errors',
    ('OffsetFetch', 'error'): 'what is not committed is -1, without an error', ('SaslAuthenticate', 'success'): 'no SASL on this listener',
    ('SaslHandshake', 'success'): 'no SASL on this listener', ('UnregisterBroker', 'success'): 'there is one broker',
}

def span(versions):
    return ','.join(str(v) for v in sorted(versions)) or '-'


def lacking(coverage, ranges):
    """Prints which versions of each API were answered without an error and with one; what was not asked, is returned."""
    out = []
    for api, (lo, hi) in sorted(ranges.items()):
        counts = {v: coverage.get((api, v), [0, 0]) for v in range(lo, hi + 1)}
        good, bad = [[v for v in counts if not counts[v][i]] for i in (0, 1)]
        out += [f'{api} v{span(vs)}: no {what}' for vs, what in ((good, 'success'), (bad, 'error')) if vs and (api, what) not in CANNOT]
        print(f'  {api} v{lo}-{hi}: {sum(c[0] for c in counts.values())} without an error, {sum(c[1] for c in counts.values())} with one')
    return out


class Run:
    def __init__(self, codec, pair, options):
        self.player = play.Player(*pair, compare.Allowed(), options.trace, options.all)
        self.options, self.wrong, self.number = options, 0, (os.getpid() * 100000 + int(time.time()) % 100000) * 1000

    def prefix(self):
        self.number += 1
        return f's{self.number}x'

    def renamed(self, sequence):
        prefix = self.prefix()
        return json.loads(json.dumps(sequence).replace(sequence['prefix'], prefix))

    def differs(self, sequence):
        try:
            found = self.player.run(sequence)
            return found[0] if found else None
        except play.Found as e:
            return e

    def script(self, make, ranges):
        s = scripts.Script(make.__name__, self.prefix(), ranges, self.options.full)
        make(s)
        sequence = s.sequence()
        collect, self.player.collect = self.player.collect, True
        rows = {}                                # what differs, with the versions of the API in which it does
        for found in self.player.run(sequence):
            self.wrong += 1
            for path, want, have in found.rows:
                key = [found.step['api'], found.step.get('note', ''), path, json.dumps(want)[:200], json.dumps(have)[:200]]
                rows.setdefault(json.dumps(key).replace(sequence['prefix'], ''), []).append((found.n, found.step['v']))
        for key, places in rows.items():
            api, note, path, want, have = json.loads(key)
            print(f'{make.__name__}: {api} v{",".join(str(v) for v in dict.fromkeys(v for _, v in places))}: {note}: {path}: Kafka {want}, ours {have} (request {places[0][0]})')
        self.player.collect = collect
        print(f'{make.__name__}: {len(s.steps)} requests', flush=True)

    def shrink(self, sequence):
        """The fewest steps that still differ, by leaving out halves, quarters, single ones."""
        steps, size = sequence['steps'], len(sequence['steps']) // 2
        until = time.monotonic() + 60
        while size and time.monotonic() < until:
            at = 2                               # the first two make the topics
            while at < len(steps) and time.monotonic() < until:
                fewer = steps[:at] + steps[at + size:]
                candidate = self.renamed(dict(sequence, steps=fewer))
                if fewer and self.differs(candidate):
                    sequence, steps = candidate, candidate['steps']
                else:
                    at += size
            size //= 2
        return sequence

    def random(self, seed, ranges):
        """Its difference, or None."""
        found = self.differs(generate.sequence(seed, self.prefix(), ranges))
        if found:
            print(f'seed {seed} differs at request {found.n}, {found.step["api"]}; it is judged at the end', flush=True)
        return found

    def judge(self, seed, first, ranges):
        """On brokers that have seen nothing yet and have nothing else to do. Kafka, kept from the processor, may have been late."""
        whole = generate.sequence(seed, self.prefix(), ranges)
        found = self.differs(whole)
        if not found and seed > first:           # by itself it does not: what came before may be part of it
            for earlier in range(first, seed):
                self.differs(generate.sequence(earlier, self.prefix(), ranges))
            found = self.differs(self.renamed(whole))
        if not found:
            return None
        self.wrong += 1
        sequence = self.renamed(dict(whole, steps=whole['steps'][:found.n + 1]))
        if self.options.trace or not self.differs(sequence):
            print(f'seed {seed}:')
            tell(whole, found)
            return found
        least = self.renamed(self.shrink(sequence))
        print(f'seed {seed}: {len(least["steps"])} of {len(whole["steps"])} requests are enough:')
        for n, step in enumerate(least['steps']):
            print(f'  {n} {json.dumps(step)[:700]}')
        tell(least, self.differs(least) or found)
        return found


def judge_again(codec, options, suspects, first, ranges):
    """How many of the seeds that differed do so on brokers of their own. Three are enough to see what is wrong."""
    wrong = 0
    peers.SLOW = 30
    for n, (seed, found) in enumerate(suspects):
        if wrong == 3 and not options.all:
            print(f'{len(suspects) - n} more that differed are not judged')
            break
        with peers.both(codec) as pair:
            run = Run(codec, pair, options)
            if not run.judge(seed, first, ranges):
                print(f'seed {seed}: differed once, not again on brokers of its own', flush=True)
                tell({'name': f'seed {seed}'}, found)
            wrong += run.wrong
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--seed', type=int)
    parser.add_argument('--seeds', '--rounds', dest='rounds', type=int, default=0, help='how many random sequences, from --seed (or 1) on')
    parser.add_argument('--seconds', type=float, default=0, help='no further random sequence after this time')
    parser.add_argument('--script')
    parser.add_argument('--only', choices=['random', 'scripts'])
    parser.add_argument('--trace', action='store_true')
    parser.add_argument('--all', action='store_true', help='go on after a difference')
    parser.add_argument('--full', action='store_true', help='every script in every version')
    options = parser.parse_args()
    codec = Codec(ROOT / 'schema/kafka')
    with peers.both(codec) as pair:
        ranges = ranges_of(codec, pair[0])
        run = Run(codec, pair, options)
        begun = time.monotonic()
        if options.only != 'random' and (options.seed is None or options.script):
            for make in scripts.ALL:
                if options.script in (None, make.__name__):
                    run.script(make, ranges)
        rounds, random_begun, first, suspects = 0, time.monotonic(), options.seed if options.seed is not None else 1, []
        if options.only != 'scripts' and not options.script:
            wanted = options.rounds or (1 if options.seed is not None else 40)
            while rounds < wanted and not (options.seconds and time.monotonic() - random_begun > options.seconds):
                found = run.random(first + rounds, ranges)
                suspects += [(first + rounds, found)] if found else []
                rounds += 1
            print(f'random sequences of the seeds {first} to {first + rounds - 1}')
        p = run.player
        missing = lacking(p.coverage, ranges)
        for line in missing if options.full else ():
            print(f'not covered: {line}')
            run.wrong += 1
    run.wrong += judge_again(codec, options, suspects, first, ranges)
    print(f'{p.asked} requests, {len(p.coverage)} APIs and versions, {rounds} random sequences in {time.monotonic() - begun:.0f} s: {run.wrong} differ')
    return 1 if run.wrong else 0


sys.exit(main())
