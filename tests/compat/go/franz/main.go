// SPDX-License-Identifier: Apache-2.0

// Scenarios for franz-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	. "millrace.compat/scenario"
)

func client(address string, options ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(address)}, options...)...)
	OK(err, "client")
	return cl
}

func admin(address string) *kadm.Client { return kadm.NewClient(client(address)) }

func create(ctx context.Context, address, name string, partitions int32, config ...string) string {
	topic, adm := Fresh(name), admin(address)
	defer adm.Close()
	configs := map[string]*string{}
	for i := 0; i < len(config); i += 2 {
		configs[config[i]] = &config[i+1]
	}
	_, err := adm.CreateTopic(ctx, partitions, 1, configs, topic)
	OK(err, "create "+topic)
	return topic
}

func send(ctx context.Context, cl *kgo.Client, records ...*kgo.Record) {
	OK(cl.ProduceSync(ctx, records...).FirstErr(), "produce")
}

func values(topic string, partition int32, n int, prefix string) (records []*kgo.Record) {
	for i := range n {
		records = append(records, &kgo.Record{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, "%s%d", prefix, i)})
	}
	return records
}

// read returns what lies between the start and the end of a partition, or its last stable offset.
func read(ctx context.Context, address, topic string, partition int32, committed bool) (records []*kgo.Record) {
	adm := admin(address)
	defer adm.Close()
	list := adm.ListEndOffsets
	isolation := kgo.ReadUncommitted()
	if committed {
		list, isolation = adm.ListCommittedOffsets, kgo.ReadCommitted()
	}
	ends, err := list(ctx, topic)
	OK(err, "end offsets")
	end, _ := ends.Lookup(topic, partition)
	cl := client(address, kgo.FetchIsolationLevel(isolation), kgo.FetchMaxPartitionBytes(64<<20), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxWait(200*time.Millisecond), kgo.KeepControlRecords(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().AtStart()}}))
	defer cl.Close()
	starts, err := adm.ListStartOffsets(ctx, topic)
	OK(err, "start offsets")
	start, _ := starts.Lookup(topic, partition)
	for at := start.Offset; at < end.Offset; {
		fetches := cl.PollFetches(ctx)
		OK(fetches.Err(), fmt.Sprintf("fetch at %d of %d", at, end.Offset))
		fetches.EachRecord(func(r *kgo.Record) {
			at = r.Offset + 1
			if !r.Attrs.IsControl() {
				records = append(records, r)
			}
		})
	}
	return records
}

func texts(records []*kgo.Record) (all []string) {
	for _, r := range records {
		all = append(all, string(r.Value))
	}
	return all
}

func codecs(ctx context.Context, address string) {
	for name, codec := range map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(),
		"snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()} {
		topic := create(ctx, address, name, 1)
		cl := client(address, kgo.ProducerBatchCompression(codec))
		records := values(topic, 0, 300, "a value with a number ")
		for i, r := range records {
			r.Key, r.Headers = fmt.Appendf(nil, "k%d", i), []kgo.RecordHeader{{Key: "h", Value: []byte("1")}, {Key: "h"}}
			if i%7 == 0 {
				r.Value = nil
			}
		}
		send(ctx, cl, records...)
		cl.Close()
		got := read(ctx, address, topic, 0, true)
		Check(len(got) == 300, "%s: %d records", name, len(got))
		for i, r := range got {
			Check(string(r.Key) == fmt.Sprintf("k%d", i) && (r.Value == nil) == (i%7 == 0) && len(r.Headers) == 2 && r.Headers[1].Value == nil, "%s: record %d is %+v", name, i, r)
		}
	}
}

func idempotent(ctx context.Context, address string) {
	topic := create(ctx, address, "idempotent", 3)
	cl := client(address, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.MaxBufferedRecords(10000))
	defer cl.Close()
	for p := range int32(3) {
		records := values(topic, p, 2000, "")
		send(ctx, cl, records...)
		Check(slices.Equal(texts(read(ctx, address, topic, p, true)), texts(records)), "partition %d differs", p)
	}
}

type member struct {
	cl     *kgo.Client
	mutex  sync.Mutex
	has    map[int32]bool
	seen   []string
	events int
}

func join(ctx context.Context, address, group, topic string, options ...kgo.Opt) *member {
	m := &member{has: map[int32]bool{}}
	note := func(owned bool) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, parts map[string][]int32) {
			m.mutex.Lock()
			defer m.mutex.Unlock()
			m.events++
			for _, p := range parts[topic] {
				if owned {
					m.has[p] = true
				} else {
					delete(m.has, p)
				}
			}
		}
	}
	m.cl = client(address, append([]kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(300 * time.Millisecond), kgo.DisableAutoCommit(), kgo.FetchMaxWait(300 * time.Millisecond),
		kgo.OnPartitionsAssigned(note(true)), kgo.OnPartitionsRevoked(note(false)), kgo.OnPartitionsLost(note(false))}, options...)...)
	go func() {
		for ctx.Err() == nil {
			fetches := m.cl.PollFetches(ctx)
			if fetches.IsClientClosed() {
				return
			}
			m.mutex.Lock()
			m.seen = append(m.seen, texts(fetches.Records())...)
			m.mutex.Unlock()
		}
	}()
	return m
}

func (m *member) count() (partitions, records, events int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return len(m.has), len(m.seen), m.events
}

func share(ctx context.Context, counts []int, members ...*member) {
	WaitFor(ctx, fmt.Sprintf("partitions shared as %v", counts), func() bool {
		all := map[int32]bool{}
		for i, m := range members {
			m.mutex.Lock()
			n := len(m.has)
			for p := range m.has {
				all[p] = true
			}
			m.mutex.Unlock()
			if n != counts[i] {
				return false
			}
		}
		return len(all) == 4
	})
}

func rebalance(options ...kgo.Opt) func(context.Context, string) {
	return func(ctx context.Context, address string) {
		topic, group := create(ctx, address, "rebalance", 4), Fresh("group")
		one := join(ctx, address, group, topic, options...)
		share(ctx, []int{4}, one)
		two := join(ctx, address, group, topic, options...)
		share(ctx, []int{2, 2}, one, two)
		cl := client(address, kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))
		defer cl.Close()
		records := values(topic, 0, 100, "")
		send(ctx, cl, records...)
		WaitFor(ctx, "100 records", func() bool {
			_, a, _ := one.count()
			_, b, _ := two.count()
			return a+b >= 100
		})
		all := append(slices.Clone(one.seen), two.seen...)
		wanted := texts(records)
		slices.Sort(all)
		slices.Sort(wanted)
		Check(slices.Equal(all, wanted), "%d records, or others", len(all))
		OK(two.cl.CommitUncommittedOffsets(ctx), "commit")
		two.cl.Close()
		share(ctx, []int{4}, one)
		one.cl.Close()
	}
}

func static(ctx context.Context, address string) {
	topic, group := create(ctx, address, "static", 4), Fresh("group")
	option := func(id string) []kgo.Opt { return []kgo.Opt{kgo.InstanceID(id), kgo.SessionTimeout(20 * time.Second)} }
	one := join(ctx, address, group, topic, option("one")...)
	share(ctx, []int{4}, one)
	two := join(ctx, address, group, topic, option("two")...)
	share(ctx, []int{2, 2}, one, two)
	_, _, before := one.count()
	two.cl.Close() // a static member of franz-go leaves without a word
	two = join(ctx, address, group, topic, option("two")...)
	share(ctx, []int{2, 2}, one, two)
	_, _, after := one.count()
	Check(before == after, "the other member saw %d events", after-before)
	adm := admin(address)
	defer adm.Close()
	two.cl.Close()
	left, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("two"))
	OK(err, "leave by instance id")
	OK(left.Error(), "leave by instance id")
	share(ctx, []int{4}, one)
	one.cl.Close()
}

func offsets(ctx context.Context, address string) {
	topic, group, adm := create(ctx, address, "offsets", 1), Fresh("group"), admin(address)
	defer adm.Close()
	cl := client(address)
	defer cl.Close()
	send(ctx, cl, values(topic, 0, 20, "")...)
	for _, at := range []struct{ offset, wanted int }{{7, 13}, {18, 2}, {9999, 20}} {
		_, err := adm.CommitOffsets(ctx, group, kadm.OffsetsFromRecords(kgo.Record{Topic: topic, Offset: int64(at.offset) - 1, LeaderEpoch: -1}))
		OK(err, "commit")
		got, err := adm.FetchOffsets(ctx, group)
		OK(err, "fetch offsets")
		o, found := got.Lookup(topic, 0)
		Check(found && o.At == int64(at.offset), "committed %d, fetched %d", at.offset, o.At)
		m := join(ctx, address, group, topic)
		WaitFor(ctx, fmt.Sprintf("%d records after %d", at.wanted, at.offset), func() bool { _, n, _ := m.count(); return n == at.wanted })
		m.cl.Close()
	}
}

func transactions(ctx context.Context, address string) {
	topic := create(ctx, address, "outcome", 1)
	cl := client(address, kgo.TransactionalID(Fresh("tx")))
	var wanted []string
	for n := range 6 {
		OK(cl.BeginTransaction(), "begin")
		records := values(topic, 0, 5, fmt.Sprintf("%d-", n))
		send(ctx, cl, records...)
		end := kgo.TryCommit
		if n%2 == 1 {
			end = kgo.TryAbort
		} else {
			wanted = append(wanted, texts(records)...)
		}
		OK(cl.EndTransaction(ctx, end), "end")
	}
	cl.Close()
	Check(slices.Equal(texts(read(ctx, address, topic, 0, true)), wanted), "read_committed differs")
	Check(len(read(ctx, address, topic, 0, false)) == 30, "read_uncommitted")
}

// exactlyOnce copies a topic in transactions with its offsets, one in three aborted, through a group session.
func exactlyOnce(ctx context.Context, address string) {
	source, topic, group := create(ctx, address, "source", 1), create(ctx, address, "copy", 1), Fresh("group")
	cl := client(address)
	wanted := values(source, 0, 200, "")
	send(ctx, cl, wanted...)
	cl.Close()
	session, err := kgo.NewGroupTransactSession(kgo.SeedBrokers(address), kgo.TransactionalID(Fresh("tx")), kgo.ConsumerGroup(group), kgo.ConsumeTopics(source),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.RequireStableFetchOffsets(), kgo.FetchMaxWait(300*time.Millisecond))
	OK(err, "session")
	defer session.Close()
	for n := 0; len(read(ctx, address, topic, 0, true)) < 200; n++ {
		fetches := session.PollRecords(ctx, 20)
		OK(fetches.Err0(), "poll")
		OK(session.Begin(), "begin")
		for _, r := range fetches.Records() {
			session.Produce(ctx, &kgo.Record{Topic: topic, Value: r.Value}, nil)
		}
		OK(session.Client().Flush(ctx), "flush")
		_, err := session.End(ctx, kgo.TransactionEndTry(n%3 != 1))
		OK(err, "end")
	}
	Check(slices.Equal(texts(read(ctx, address, topic, 0, true)), texts(wanted)), "the copy differs")
}

func fencing(ctx context.Context, address string) {
	topic, name := create(ctx, address, "fencing", 1), Fresh("tx")
	first := client(address, kgo.TransactionalID(name))
	OK(first.BeginTransaction(), "begin")
	send(ctx, first, values(topic, 0, 1, "dead")...)
	adm := admin(address)
	defer adm.Close()
	described, err := adm.DescribeTransactions(ctx, name)
	OK(err, "describe transactions")
	Check(described[name].State == "Ongoing" && described[name].Topics.Lookup(topic, 0), "described as %+v", described[name])
	listed, err := adm.ListTransactions(ctx, nil, []string{"Ongoing"})
	OK(err, "list transactions")
	_, found := listed[name]
	Check(found, "not listed")
	producers, err := adm.DescribeProducers(ctx, kadm.TopicsSet{topic: {0: {}}})
	OK(err, "describe producers")
	Check(len(producers.SortedProducers()) == 1 && producers.SortedProducers()[0].CurrentTxnStartOffset == 0, "producers are %+v", producers)
	cl := client(address)
	defer cl.Close()
	send(ctx, cl, values(topic, 0, 1, "plain")...)
	Check(len(read(ctx, address, topic, 0, true)) == 0, "read_committed went past an open transaction")
	second := client(address, kgo.TransactionalID(name))
	defer second.Close()
	OK(second.BeginTransaction(), "begin")
	send(ctx, second, values(topic, 0, 1, "living")...)
	OK(second.EndTransaction(ctx, kgo.TryCommit), "commit")
	err = first.ProduceSync(ctx, values(topic, 0, 1, "late")...).FirstErr()
	if err == nil {
		err = first.EndTransaction(ctx, kgo.TryCommit)
	}
	Check(errors.Is(err, kerr.InvalidProducerEpoch) || errors.Is(err, kerr.ProducerFenced), "a fenced producer got %v", err)
	Check(slices.Equal(texts(read(ctx, address, topic, 0, true)), []string{"plain0", "living0"}), "read_committed differs")
}

func adminTopics(ctx context.Context, address string) {
	adm, topic := admin(address), Fresh("admin")
	defer adm.Close()
	retention := "123456789"
	_, err := adm.CreateTopic(ctx, 2, 1, map[string]*string{"retention.ms": &retention}, topic)
	OK(err, "create")
	_, err = adm.CreateTopic(ctx, 2, 1, nil, topic)
	Check(errors.Is(err, kerr.TopicAlreadyExists), "a second create got %v", err)
	_, err = adm.CreateTopic(ctx, 2, 1, nil, "no/such name")
	Check(errors.Is(err, kerr.InvalidTopicException), "a bad name got %v", err)
	configOf := func(name string) string {
		configs, err := adm.DescribeTopicConfigs(ctx, topic)
		OK(err, "describe configs")
		for _, c := range configs[0].Configs {
			if c.Key == name {
				return c.MaybeValue()
			}
		}
		return "(none)"
	}
	Check(configOf("retention.ms") == retention, "retention.ms is %s", configOf("retention.ms"))
	compact := "compact"
	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: &compact}, {Op: kadm.DeleteConfig, Name: "retention.ms"}}, topic)
	OK(err, "alter configs")
	OK(altered[0].Err, "alter configs")
	WaitFor(ctx, "the altered configs", func() bool { return configOf("cleanup.policy") == "delete,compact" && configOf("retention.ms") == "604800000" })
	grown, err := adm.CreatePartitions(ctx, 3, topic)
	OK(err, "create partitions")
	OK(grown.Error(), "create partitions")
	WaitFor(ctx, "5 partitions", func() bool {
		list, err := adm.ListTopics(ctx, topic)
		OK(err, "list topics")
		return len(list[topic].Partitions) == 5
	})
	dirs, err := adm.DescribeAllLogDirs(ctx, nil)
	OK(err, "log dirs")
	Check(len(dirs) == 1, "%d brokers have log dirs", len(dirs))
	deleted, err := adm.DeleteTopics(ctx, topic)
	OK(err, "delete")
	OK(deleted.Error(), "delete")
	WaitFor(ctx, "no topic", func() bool {
		list, err := adm.ListTopics(ctx, topic)
		OK(err, "list topics")
		return errors.Is(list[topic].Err, kerr.UnknownTopicOrPartition)
	})
}

func assigned(group kadm.DescribedGroup, topic string) int { return len(group.AssignedPartitions()[topic]) }

func adminGroups(ctx context.Context, address string) {
	topic, group, adm := create(ctx, address, "groups", 4), Fresh("group"), admin(address)
	defer adm.Close()
	m := join(ctx, address, group, topic)
	share(ctx, []int{4}, m)
	listed, err := adm.ListGroups(ctx)
	OK(err, "list")
	Check(listed[group].State == "Stable" && listed[group].ProtocolType == "consumer", "listed as %+v", listed[group])
	described, err := adm.DescribeGroups(ctx, group)
	OK(err, "describe")
	Check(len(described[group].Members) == 1 && assigned(described[group], topic) == 4, "described as %+v", described[group])
	deleted, err := adm.DeleteGroups(ctx, group)
	OK(err, "delete")
	Check(errors.Is(deleted.Error(), kerr.NonEmptyGroup), "deleting a group in use got %v", deleted.Error())
	commit := kadm.OffsetsFromRecords(kgo.Record{Topic: topic, Partition: 1, Offset: 2, LeaderEpoch: -1})
	m.cl.Close()
	OK(adm.CommitAllOffsets(ctx, group, commit), "commit")
	lags, err := adm.Lag(ctx, group)
	OK(err, "lag")
	Check(lags[group].State == "Empty", "state %s", lags[group].State)
	dropped, err := adm.DeleteOffsets(ctx, group, kadm.TopicsSet{topic: {1: {}}})
	OK(err, "delete offsets")
	OK(dropped.Error(), "delete offsets")
	_, err = adm.DeleteGroup(ctx, group)
	if err != nil { // a group without members and offsets may be gone already
		Check(errors.Is(err, kerr.GroupIDNotFound), "delete got %v", err)
	}
}

func deleteRecords(ctx context.Context, address string) {
	topic, adm, cl := create(ctx, address, "records", 1), admin(address), client(address)
	defer adm.Close()
	defer cl.Close()
	send(ctx, cl, values(topic, 0, 20, "")...)
	var to kadm.Offsets
	to.Add(kadm.Offset{Topic: topic, At: 12})
	deleted, err := adm.DeleteRecords(ctx, to)
	OK(err, "delete records")
	OK(deleted.Error(), "delete records")
	got := texts(read(ctx, address, topic, 0, true))
	Check(len(got) == 8 && got[0] == "12", "left are %v", got)
}

func timestamps(ctx context.Context, address string) {
	topic, adm, cl := create(ctx, address, "times", 1), admin(address), client(address)
	defer adm.Close()
	defer cl.Close()
	from := time.UnixMilli(time.Now().UnixMilli() - 100000)
	records := values(topic, 0, 10, "")
	for i, r := range records {
		r.Timestamp = from.Add(time.Duration(i) * time.Second)
	}
	send(ctx, cl, records...)
	for _, at := range []struct{ after, wanted int64 }{{-5, 0}, {1, 1}, {4000, 4}, {9001, 10}} {
		listed, err := adm.ListOffsetsAfterMilli(ctx, from.UnixMilli()+at.after, topic)
		OK(err, "list offsets")
		o, _ := listed.Lookup(topic, 0)
		Check(o.Offset == at.wanted, "%d ms on: offset %d", at.after, o.Offset)
	}
	newest, err := adm.ListMaxTimestampOffsets(ctx, topic)
	OK(err, "max timestamp")
	o, _ := newest.Lookup(topic, 0)
	Check(o.Offset == 9 && o.Timestamp == from.UnixMilli()+9000, "the newest is %+v", o)
}

func large(ctx context.Context, address string) {
	topic := create(ctx, address, "large", 1, "max.message.bytes", "9000000")
	cl := client(address, kgo.ProducerBatchMaxBytes(8900000), kgo.ProducerBatchCompression(kgo.NoCompression()))
	defer cl.Close()
	value := make([]byte, 8000000)
	send(ctx, cl, &kgo.Record{Topic: topic, Value: value}, &kgo.Record{Topic: topic, Value: []byte("small")})
	got := read(ctx, address, topic, 0, true)
	Check(len(got) == 2 && len(got[0].Value) == len(value) && len(got[1].Value) == 5, "%d records", len(got))
	small := create(ctx, address, "small", 1, "max.message.bytes", "1000")
	err := cl.ProduceSync(ctx, &kgo.Record{Topic: small, Value: value[:5000]}).FirstErr()
	Check(errors.Is(err, kerr.MessageTooLarge), "got %v", err)
}

func compaction(ctx context.Context, address string) {
	topic := create(ctx, address, "compacted", 1, "cleanup.policy", "compact", "segment.ms", "200", "min.cleanable.dirty.ratio", "0.01", "max.compaction.lag.ms", "500")
	cl := client(address)
	defer cl.Close()
	for n := range 5 {
		for k := range 5 {
			send(ctx, cl, &kgo.Record{Topic: topic, Key: fmt.Append(nil, k), Value: fmt.Append(nil, n)})
		}
	}
	WaitForEvery(ctx, 500*time.Millisecond, "the last value of each key", func() bool {
		send(ctx, cl, &kgo.Record{Topic: topic, Key: []byte("tick"), Value: []byte("tick")})
		left := slices.DeleteFunc(texts(read(ctx, address, topic, 0, true)), func(v string) bool { return v == "tick" })
		return slices.Equal(left, []string{"4", "4", "4", "4", "4"})
	})
}

func unknownTopic(ctx context.Context, address string) {
	cl := client(address, kgo.UnknownTopicRetries(1))
	defer cl.Close()
	err := cl.ProduceSync(ctx, values(Fresh("nowhere"), 0, 1, "")...).FirstErr() // franz-go asks for no automatic creation
	Check(errors.Is(err, kerr.UnknownTopicOrPartition), "got %v", err)
}

func restart(ctx context.Context, address string) {
	topic, group := create(ctx, address, "restart", 4), Fresh("group")
	m := join(ctx, address, group, topic)
	share(ctx, []int{4}, m)
	cl := client(address)
	defer cl.Close()
	send(ctx, cl, values(topic, 0, 50, "a")...)
	WaitFor(ctx, "50 records", func() bool { _, n, _ := m.count(); return n == 50 })
	OK(m.cl.CommitUncommittedOffsets(ctx), "commit")
	RestartBroker()
	send(ctx, cl, values(topic, 0, 50, "b")...)
	WaitFor(ctx, "100 records", func() bool { _, n, _ := m.count(); return n >= 100 })
	seen := slices.Clone(m.seen)
	slices.Sort(seen)
	Check(len(slices.Compact(seen)) == 100 && len(m.seen) == 100, "%d records", len(m.seen))
	OK(m.cl.CommitUncommittedOffsets(ctx), "commit")
	m.cl.Close()
}

func main() {
	Main(
		Scenario{"codecs_keys_headers", codecs},
		Scenario{"idempotent", idempotent},
		Scenario{"group_rebalance_eager", rebalance(kgo.Balancers(kgo.RoundRobinBalancer()))},
		Scenario{"group_rebalance_sticky", rebalance(kgo.Balancers(kgo.StickyBalancer()))},
		Scenario{"group_rebalance_cooperative", rebalance(kgo.Balancers(kgo.CooperativeStickyBalancer()))},
		Scenario{"static_members", static},
		Scenario{"offsets_commit_reset", offsets},
		Scenario{"transactions", transactions},
		Scenario{"transactions_exactly_once_copy", exactlyOnce},
		Scenario{"transactions_fencing_and_lso", fencing},
		Scenario{"admin_topics_configs_partitions", adminTopics},
		Scenario{"admin_groups", adminGroups},
		Scenario{"delete_records", deleteRecords},
		Scenario{"timestamps", timestamps},
		Scenario{"large_messages", large},
		Scenario{"compaction", compaction},
		Scenario{"unknown_topic", unknownTopic},
		Scenario{"restart", restart},
	)
}
