// Members of the newer group protocol (KIP-848) by franz-go: they share, one leaves, a regular expression takes a topic that
// comes later, commits are kept. Usage: kip848 ADDRESS PREFIX     SPDX-License-Identifier: Apache-2.0
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type member struct {
	client *kgo.Client
	mutex  sync.Mutex
	owned  map[string]map[int32]bool
}

func fail(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(1)
}

func (m *member) change(parts map[string][]int32, owned bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for topic, numbers := range parts {
		if m.owned[topic] == nil {
			m.owned[topic] = map[int32]bool{}
		}
		for _, n := range numbers {
			if owned {
				m.owned[topic][n] = true
			} else {
				delete(m.owned[topic], n)
			}
		}
	}
}

func (m *member) count() (n int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, numbers := range m.owned {
		n += len(numbers)
	}
	return n
}

func join(address, group string, more ...kgo.Opt) *member {
	m := &member{owned: map[string]map[int32]bool{}}
	opts := append([]kgo.Opt{
		kgo.SeedBrokers(address), kgo.ConsumerGroup(group), kgo.ServerSideBalancer(), kgo.Balancers(kgo.CooperativeStickyBalancer()), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(250 * time.Millisecond), kgo.MetadataMaxAge(time.Second),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.change(p, true) }),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { m.change(p, false) }),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, p map[string][]int32) { fail("%s: lost %v", group, p) }),
	}, more...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		fail("%v", err)
	}
	m.client = client
	return m
}

func (m *member) poll() []*kgo.Record {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	return m.client.PollFetches(ctx).Records()
}

// Polls all until the condition holds. What is read is committed and counted.
func until(what string, members []*member, condition func(read int) bool) {
	read := 0
	for deadline := time.Now().Add(30 * time.Second); ; {
		for _, m := range members {
			for _, r := range m.poll() {
				read++
				if err := m.client.CommitRecords(context.Background(), r); err != nil {
					fail("commit: %v", err)
				}
			}
		}
		if condition(read) {
			return
		}
		if time.Now().After(deadline) {
			fail("%s: never", what)
		}
	}
}

func main() {
	address, prefix := os.Args[1], os.Args[2]
	ctx := context.Background()
	plain, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		fail("%v", err)
	}
	admin := kadm.NewClient(plain)
	topic, group := prefix+"-1", prefix+"-g"
	if _, err := admin.CreateTopic(ctx, 6, 1, nil, topic); err != nil {
		fail("%v", err)
	}

	a := join(address, group, kgo.ConsumeTopics(topic))
	until("one member", []*member{a}, func(int) bool { return a.count() == 6 })
	b := join(address, group, kgo.ConsumeTopics(topic), kgo.InstanceID("b"))
	both := []*member{a, b}
	until("two members", both, func(int) bool { return a.count() == 3 && b.count() == 3 })
	for p := int32(0); p < 6; p++ {
		if err := plain.ProduceSync(ctx, &kgo.Record{Topic: topic, Partition: p, Value: []byte("x")}).FirstErr(); err != nil {
			fail("%v", err)
		}
	}
	until("every record", both, func(read int) bool { return read == 6 })
	described, err := admin.DescribeConsumerGroups(ctx, group)
	if err != nil || described[group].Err != nil || len(described[group].Members) != 2 {
		fail("describe: %v %+v", err, described[group])
	}
	a.client.Close()
	b.client.Close() // a static member: franz-go 1.22 leaves without its instance id, which Kafka refuses, too
	offsets, err := admin.FetchOffsets(ctx, group)
	if err != nil || len(offsets[topic]) != 6 || offsets[topic][0].At != 1 {
		fail("offsets: %v %v", err, offsets)
	}

	c := join(address, prefix+"-r", kgo.ConsumeTopics(prefix+"-[0-9]"), kgo.ConsumeRegex())
	until("a regular expression", []*member{c}, func(int) bool { return c.count() == 6 })
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, prefix+"-2"); err != nil {
		fail("%v", err)
	}
	until("a topic that comes later", []*member{c}, func(int) bool { return c.count() == 8 })
	c.client.Close()
	fmt.Println("ok")
}
