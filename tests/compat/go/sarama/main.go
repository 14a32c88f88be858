// SPDX-License-Identifier: Apache-2.0

// Scenarios for IBM/sarama.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
	. "millrace.compat/scenario"
)

func config(change ...func(*sarama.Config)) *sarama.Config {
	c := sarama.NewConfig()
	c.Version = sarama.V3_6_0_0
	c.Producer.Return.Successes = true
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Enable = false
	c.Consumer.Group.Heartbeat.Interval = 300 * time.Millisecond
	c.Consumer.MaxWaitTime = 200 * time.Millisecond
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 20, 200*time.Millisecond
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 20, 200*time.Millisecond
	for _, f := range change {
		f(c)
	}
	return c
}

func admin(address string) sarama.ClusterAdmin {
	adm, err := sarama.NewClusterAdmin([]string{address}, config())
	OK(err, "admin")
	return adm
}

func create(address, name string, partitions int32, settings ...string) string {
	topic, adm := Fresh(name), admin(address)
	defer adm.Close()
	entries := map[string]*string{}
	for i := 0; i < len(settings); i += 2 {
		entries[settings[i]] = &settings[i+1]
	}
	OK(adm.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: entries}, false), "create")
	return topic
}

func values(topic string, partition int32, n int, prefix string) (messages []*sarama.ProducerMessage) {
	for i := range n {
		messages = append(messages, &sarama.ProducerMessage{Topic: topic, Partition: partition, Value: sarama.StringEncoder(fmt.Sprint(prefix, i))})
	}
	return messages
}

func producer(address string, change ...func(*sarama.Config)) sarama.SyncProducer {
	change = append([]func(*sarama.Config){func(c *sarama.Config) { c.Producer.Partitioner = sarama.NewManualPartitioner }}, change...)
	p, err := sarama.NewSyncProducer([]string{address}, config(change...))
	OK(err, "producer")
	return p
}

func send(address string, messages []*sarama.ProducerMessage, change ...func(*sarama.Config)) {
	p := producer(address, change...)
	OK(p.SendMessages(messages), "send")
	OK(p.Close(), "close")
}

func exactlyOnce(id string) func(*sarama.Config) {
	return func(c *sarama.Config) {
		c.Producer.Idempotent, c.Net.MaxOpenRequests = true, 1
		if c.Producer.Transaction.ID = id; id != "" {
			c.Producer.Transaction.Retry.Backoff = 50 * time.Millisecond
		}
	}
}

// read returns the first n records; none of more than n may follow within a moment.
func read(ctx context.Context, address, topic string, partition int32, n int, change ...func(*sarama.Config)) (messages []*sarama.ConsumerMessage) {
	consumer, err := sarama.NewConsumer([]string{address}, config(change...))
	OK(err, "consumer")
	defer consumer.Close()
	part, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
	OK(err, "consume")
	defer part.Close()
	moment := time.Minute
	for {
		if len(messages) >= n {
			moment = 700 * time.Millisecond
		}
		select {
		case m := <-part.Messages():
			messages = append(messages, m)
		case <-time.After(moment):
			Check(len(messages) == n, "%d records instead of %d", len(messages), n)
			return messages
		case <-ctx.Done():
			Check(false, "%d records instead of %d", len(messages), n)
		}
	}
}

func committed(c *sarama.Config) { c.Consumer.IsolationLevel = sarama.ReadCommitted }

func texts(messages []*sarama.ConsumerMessage) (all []string) {
	for _, m := range messages {
		all = append(all, string(m.Value))
	}
	return all
}

func codecs(ctx context.Context, address string) {
	for _, codec := range []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD} {
		topic := create(address, codec.String(), 1)
		messages := values(topic, 0, 300, "a value with a number ")
		for i, m := range messages {
			m.Key, m.Headers = sarama.StringEncoder(fmt.Sprint("k", i)), []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("1")}}
			if i%7 == 0 {
				m.Value = nil
			}
		}
		send(address, messages, func(c *sarama.Config) { c.Producer.Compression = codec })
		for i, m := range read(ctx, address, topic, 0, 300) {
			Check(string(m.Key) == fmt.Sprint("k", i) && (m.Value == nil) == (i%7 == 0) && len(m.Headers) == 1, "%v: record %d is %+v", codec, i, m)
		}
	}
}

func idempotent(ctx context.Context, address string) {
	topic := create(address, "idempotent", 2)
	for p := range int32(2) {
		send(address, values(topic, p, 500, ""), exactlyOnce(""))
		for i, v := range texts(read(ctx, address, topic, p, 500)) {
			Check(v == fmt.Sprint(i), "record %d of partition %d is %s", i, p, v)
		}
	}
}

type member struct {
	group  sarama.ConsumerGroup
	mutex  sync.Mutex
	has    []int32
	seen   []string
	leave  context.CancelFunc
	ended  chan struct{}
	topic  string
	rounds int
}

func (m *member) Setup(s sarama.ConsumerGroupSession) error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.has = slices.Clone(s.Claims()[m.topic])
	m.rounds++
	return nil
}

func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (m *member) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case r, open := <-claim.Messages():
			if !open {
				return nil
			}
			m.mutex.Lock()
			m.seen = append(m.seen, string(r.Value))
			m.mutex.Unlock()
			s.MarkMessage(r, "some words")
			s.Commit()
		case <-s.Context().Done():
			return nil
		}
	}
}

func join(ctx context.Context, address, group, topic string, change ...func(*sarama.Config)) *member {
	g, err := sarama.NewConsumerGroup([]string{address}, group, config(change...))
	OK(err, "group")
	ctx, cancel := context.WithCancel(ctx)
	m := &member{group: g, leave: cancel, ended: make(chan struct{}), topic: topic}
	go func() {
		defer close(m.ended)
		for ctx.Err() == nil {
			if g.Consume(ctx, []string{topic}, m) != nil {
				time.Sleep(50 * time.Millisecond)
			}
		}
	}()
	return m
}

func (m *member) close() {
	m.leave()
	<-m.ended
	OK(m.group.Close(), "close")
}

func (m *member) counts() (partitions, records int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.has), len(m.seen)
}

func share(ctx context.Context, counts []int, members ...*member) {
	WaitFor(ctx, fmt.Sprintf("partitions shared as %v", counts), func() bool {
		all := map[int32]bool{}
		for i, m := range members {
			m.mutex.Lock()
			has := slices.Clone(m.has)
			m.mutex.Unlock()
			if len(has) != counts[i] {
				return false
			}
			for _, p := range has {
				all[p] = true
			}
		}
		return len(all) == 4
	})
}

func rebalance(strategy func() sarama.BalanceStrategy) func(context.Context, string) {
	return func(ctx context.Context, address string) {
		topic, group := create(address, "rebalance", 4), Fresh("group")
		change := func(c *sarama.Config) {
			c.Consumer.Group.Rebalance.GroupStrategies = []sarama.BalanceStrategy{strategy()}
		}
		one := join(ctx, address, group, topic, change)
		share(ctx, []int{4}, one)
		two := join(ctx, address, group, topic, change)
		share(ctx, []int{2, 2}, one, two)
		for p := range int32(4) {
			send(address, values(topic, p, 25, fmt.Sprint(p, "-")))
		}
		WaitFor(ctx, "100 records", func() bool {
			_, a := one.counts()
			_, b := two.counts()
			return a+b >= 100
		})
		all := append(slices.Clone(one.seen), two.seen...)
		slices.Sort(all)
		Check(len(slices.Compact(all)) == 100, "%d records", len(all))
		two.close()
		share(ctx, []int{4}, one)
		one.close()
	}
}

func static(ctx context.Context, address string) {
	topic, group := create(address, "static", 4), Fresh("group")
	id := func(id string) func(*sarama.Config) {
		return func(c *sarama.Config) { c.Consumer.Group.InstanceId, c.Consumer.Group.Session.Timeout = id, 20*time.Second }
	}
	one, two := join(ctx, address, group, topic, id("one")), join(ctx, address, group, topic, id("two"))
	share(ctx, []int{2, 2}, one, two)
	had := slices.Clone(two.has)
	two.close()
	two = join(ctx, address, group, topic, id("two"))
	share(ctx, []int{2, 2}, one, two)
	Check(slices.Equal(two.has, had), "%v became %v", had, two.has)
	two.close()
	adm := admin(address)
	defer adm.Close()
	_, err := adm.RemoveMemberFromConsumerGroup(group, []string{"two"})
	OK(err, "remove the member")
	share(ctx, []int{4}, one)
	one.close()
}

func offsets(ctx context.Context, address string) {
	topic, group := create(address, "offsets", 1), Fresh("group")
	send(address, values(topic, 0, 20, ""))
	client, err := sarama.NewClient([]string{address}, config())
	OK(err, "client")
	defer client.Close()
	for _, at := range []struct{ offset, wanted int }{{7, 13}, {18, 2}} {
		manager, err := sarama.NewOffsetManagerFromClient(group, client)
		OK(err, "offset manager")
		part, err := manager.ManagePartition(topic, 0)
		OK(err, "manage")
		part.ResetOffset(int64(at.offset), "words")
		part.MarkOffset(int64(at.offset), "words")
		manager.Commit()
		part.AsyncClose() // a Close would wait for the loop of automatic commits
		OK(manager.Close(), "close")
		adm := admin(address)
		got, err := adm.ListConsumerGroupOffsets(group, map[string][]int32{topic: {0}})
		OK(err, "offsets")
		b := got.GetBlock(topic, 0)
		Check(b.Offset == int64(at.offset) && b.Metadata == "words", "committed is %+v", b)
		adm.Close()
		m := join(ctx, address, group, topic)
		WaitFor(ctx, fmt.Sprintf("%d records", at.wanted), func() bool { _, n := m.counts(); return n == at.wanted })
		m.close()
	}
}

func transactions(ctx context.Context, address string) {
	topic, source, group := create(address, "outcome", 1), create(address, "source", 1), Fresh("group")
	p := producer(address, exactlyOnce(Fresh("tx")))
	defer p.Close()
	var wanted []string
	for n := range 6 {
		OK(p.BeginTxn(), "begin")
		messages := values(topic, 0, 5, fmt.Sprint(n, "-"))
		OK(p.SendMessages(messages), "send")
		if n < 2 {
			OK(p.AddOffsetsToTxn(map[string][]*sarama.PartitionOffsetMetadata{source: {{Partition: 0, Offset: int64(4 + n)}}}, group), "offsets")
		}
		if n%2 == 1 {
			OK(p.AbortTxn(), "abort")
			continue
		}
		OK(p.CommitTxn(), "commit")
		for i := range 5 {
			wanted = append(wanted, fmt.Sprint(n, "-", i))
		}
	}
	Check(slices.Equal(texts(read(ctx, address, topic, 0, 15, committed)), wanted), "read_committed differs")
	read(ctx, address, topic, 0, 30)
	adm := admin(address)
	defer adm.Close()
	WaitFor(ctx, "the committed offset", func() bool {
		got, err := adm.ListConsumerGroupOffsets(group, map[string][]int32{source: {0}})
		OK(err, "offsets")
		return got.GetBlock(source, 0).Offset == 4
	})
}

func fencing(ctx context.Context, address string) {
	topic, name := create(address, "fencing", 1), Fresh("tx")
	first := producer(address, exactlyOnce(name))
	OK(first.BeginTxn(), "begin")
	OK(first.SendMessages(values(topic, 0, 1, "dead")), "send")
	send(address, values(topic, 0, 1, "plain"))
	read(ctx, address, topic, 0, 2)
	read(ctx, address, topic, 0, 0, committed) // not past an open transaction
	second := producer(address, exactlyOnce(name))
	OK(second.BeginTxn(), "begin")
	OK(second.SendMessages(values(topic, 0, 1, "living")), "send")
	OK(second.CommitTxn(), "commit")
	OK(second.Close(), "close")
	Check(first.SendMessages(values(topic, 0, 1, "late")) != nil || first.CommitTxn() != nil, "the first is not fenced")
	Check(slices.Equal(texts(read(ctx, address, topic, 0, 2, committed)), []string{"plain0", "living0"}), "read_committed differs")
}

func adminTopics(ctx context.Context, address string) {
	adm, topic, retention := admin(address), Fresh("admin"), "123456789"
	defer adm.Close()
	detail := &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}
	OK(adm.CreateTopic(topic, detail, false), "create")
	err := adm.CreateTopic(topic, detail, false)
	Check(errors.Is(err, sarama.ErrTopicAlreadyExists), "a second create got %v", err)
	configOf := func(name string) string {
		entries, err := adm.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{name}})
		OK(err, "describe")
		return entries[0].Value
	}
	Check(configOf("retention.ms") == retention, "retention.ms is %s", configOf("retention.ms"))
	compact := "compact"
	OK(adm.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"cleanup.policy": {Operation: sarama.IncrementalAlterConfigsOperationAppend, Value: &compact}}, false), "alter")
	WaitFor(ctx, "the altered config", func() bool { return configOf("cleanup.policy") == "delete,compact" })
	OK(adm.CreatePartitions(topic, 5, nil, false), "partitions")
	WaitFor(ctx, "5 partitions", func() bool {
		list, err := adm.DescribeTopics([]string{topic})
		OK(err, "describe")
		return len(list[0].Partitions) == 5
	})
	brokers, controller, err := adm.DescribeCluster()
	OK(err, "cluster")
	Check(len(brokers) == 1 && brokers[0].ID() == controller, "brokers %v, controller %d", brokers, controller)
	OK(adm.DeleteTopic(topic), "delete")
	WaitFor(ctx, "no topic", func() bool {
		list, err := adm.ListTopics()
		OK(err, "list")
		_, found := list[topic]
		return !found
	})
	err = adm.DeleteTopic(topic)
	Check(errors.Is(err, sarama.ErrUnknownTopicOrPartition), "a second delete got %v", err)
}

func adminGroups(ctx context.Context, address string) {
	topic, group, adm := create(address, "groups", 4), Fresh("group"), admin(address)
	defer adm.Close()
	m := join(ctx, address, group, topic)
	share(ctx, []int{4}, m)
	groups, err := adm.ListConsumerGroups()
	OK(err, "list")
	Check(groups[group] == "consumer", "listed as %q", groups[group])
	described, err := adm.DescribeConsumerGroups([]string{group})
	OK(err, "describe")
	Check(described[0].State == "Stable" && len(described[0].Members) == 1, "described as %+v", described[0])
	err = adm.DeleteConsumerGroup(group)
	Check(errors.Is(err, sarama.ErrNonEmptyGroup), "deleting a group in use got %v", err)
	send(address, values(topic, 0, 1, ""))
	WaitFor(ctx, "a record", func() bool { _, n := m.counts(); return n == 1 })
	m.close()
	OK(adm.DeleteConsumerGroup(group), "delete")
}

func deleteRecords(ctx context.Context, address string) {
	topic, adm := create(address, "records", 1), admin(address)
	defer adm.Close()
	send(address, values(topic, 0, 20, ""))
	OK(adm.DeleteRecords(topic, map[int32]int64{0: 12}), "delete records")
	Check(texts(read(ctx, address, topic, 0, 8))[0] == "12", "the first is another")
}

func timestamps(ctx context.Context, address string) {
	topic, from := create(address, "times", 1), time.UnixMilli(time.Now().UnixMilli()-100000)
	messages := values(topic, 0, 10, "")
	for i, m := range messages {
		m.Timestamp = from.Add(time.Duration(i) * time.Second)
	}
	send(address, messages)
	client, err := sarama.NewClient([]string{address}, config())
	OK(err, "client")
	defer client.Close()
	for _, at := range []struct{ after, wanted int64 }{{-5, 0}, {1, 1}, {4000, 4}, {9001, -1}} {
		offset, err := client.GetOffset(topic, 0, from.UnixMilli()+at.after)
		OK(err, "offset")
		Check(offset == at.wanted, "%d ms on: offset %d", at.after, offset)
	}
}

func large(ctx context.Context, address string) {
	topic := create(address, "large", 1, "max.message.bytes", "9000000")
	value := make([]byte, 8000000)
	send(address, []*sarama.ProducerMessage{{Topic: topic, Value: sarama.ByteEncoder(value)}, {Topic: topic, Value: sarama.StringEncoder("small")}},
		func(c *sarama.Config) { c.Producer.MaxMessageBytes = 9000000 })
	got := read(ctx, address, topic, 0, 2)
	Check(len(got[0].Value) == len(value) && len(got[1].Value) == 5, "other sizes")
	small := create(address, "small", 1, "max.message.bytes", "1000")
	p := producer(address)
	defer p.Close()
	_, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: small, Value: sarama.ByteEncoder(value[:5000])})
	Check(errors.Is(err, sarama.ErrMessageSizeTooLarge), "got %v", err)
}

func restart(ctx context.Context, address string) {
	topic, group := create(address, "restart", 4), Fresh("group")
	m := join(ctx, address, group, topic)
	share(ctx, []int{4}, m)
	p := producer(address)
	defer p.Close()
	OK(p.SendMessages(values(topic, 0, 50, "a")), "send")
	WaitFor(ctx, "50 records", func() bool { _, n := m.counts(); return n == 50 })
	RestartBroker()
	OK(p.SendMessages(values(topic, 0, 50, "b")), "send")
	WaitFor(ctx, "100 records", func() bool {
		m.mutex.Lock()
		defer m.mutex.Unlock()
		seen := slices.Clone(m.seen)
		slices.Sort(seen)
		return len(slices.Compact(seen)) == 100
	})
	m.close()
}

func main() {
	Main(
		Scenario{"codecs_keys_headers", codecs},
		Scenario{"idempotent", idempotent},
		Scenario{"group_rebalance_eager", rebalance(sarama.NewBalanceStrategyRoundRobin)},
		Scenario{"group_rebalance_sticky", rebalance(sarama.NewBalanceStrategySticky)},
		Scenario{"static_members", static},
		Scenario{"offsets_commit_reset", offsets},
		Scenario{"transactions", transactions},
		Scenario{"transactions_fencing_and_lso", fencing},
		Scenario{"admin_topics_configs_partitions", adminTopics},
		Scenario{"admin_groups", adminGroups},
		Scenario{"delete_records", deleteRecords},
		Scenario{"timestamps", timestamps},
		Scenario{"large_messages", large},
		Scenario{"restart", restart},
	)
}
