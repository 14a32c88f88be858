// SPDX-License-Identifier: Apache-2.0

// Scenarios for segmentio/kafka-go.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	. "millrace.compat/scenario"
)

func client(address string) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(address), Timeout: 30 * time.Second}
}

func create(ctx context.Context, address, name string, partitions int, settings ...string) string {
	topic := Fresh(name)
	config := kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}
	for i := 0; i < len(settings); i += 2 {
		config.ConfigEntries = append(config.ConfigEntries, kafka.ConfigEntry{ConfigName: settings[i], ConfigValue: settings[i+1]})
	}
	made, err := client(address).CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{config}})
	OK(err, "create")
	OK(made.Errors[topic], "create")
	return topic
}

func writer(address, topic string) *kafka.Writer {
	return &kafka.Writer{Addr: kafka.TCP(address), Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond, MaxAttempts: 50,
		WriteBackoffMin: 50 * time.Millisecond, WriteBackoffMax: 300 * time.Millisecond, Balancer: &kafka.RoundRobin{}}
}

func values(n int, prefix string) (messages []kafka.Message) {
	for i := range n {
		messages = append(messages, kafka.Message{Value: fmt.Append(nil, prefix, i)})
	}
	return messages
}

func send(ctx context.Context, w *kafka.Writer, messages ...kafka.Message) {
	OK(w.WriteMessages(ctx, messages...), "write")
	OK(w.Close(), "close")
}

func reader(address, topic, group string) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{address}, Topic: topic, GroupID: group, StartOffset: kafka.FirstOffset, MaxWait: 200 * time.Millisecond,
		MinBytes: 1, MaxBytes: 20 << 20, HeartbeatInterval: 300 * time.Millisecond, JoinGroupBackoff: 200 * time.Millisecond, RebalanceTimeout: 10 * time.Second})
}

func read(ctx context.Context, r *kafka.Reader, n int) (messages []kafka.Message) {
	for range n {
		m, err := r.ReadMessage(ctx)
		OK(err, fmt.Sprintf("after %d of %d records", len(messages), n))
		messages = append(messages, m)
	}
	return messages
}

func codecs(ctx context.Context, address string) {
	for _, codec := range []kafka.Compression{0, kafka.Gzip, kafka.Snappy, kafka.Lz4, kafka.Zstd} {
		topic := create(ctx, address, "codec", 1)
		messages := values(300, "a value with a number ")
		for i := range messages {
			messages[i].Key, messages[i].Headers = fmt.Append(nil, "k", i), []kafka.Header{{Key: "h", Value: []byte("1")}}
			if i%7 == 0 {
				messages[i].Value = nil
			}
		}
		w := writer(address, topic)
		w.Compression = codec
		send(ctx, w, messages...)
		r := reader(address, topic, "")
		for i, m := range read(ctx, r, 300) {
			Check(string(m.Key) == fmt.Sprint("k", i) && (m.Value == nil) == (i%7 == 0) && len(m.Headers) == 1, "%v: record %d is %+v", codec, i, m)
		}
		OK(r.Close(), "close")
	}
}

func groups(ctx context.Context, address string) {
	topic, group, c := create(ctx, address, "group", 4), Fresh("group"), client(address)
	one := reader(address, topic, group)
	two := reader(address, topic, group)
	shared := func(counts ...int) {
		WaitFor(ctx, fmt.Sprintf("partitions shared as %v", counts), func() bool {
			described, err := c.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
			if err != nil || described.Groups[0].GroupState != "Stable" {
				return false
			}
			var has []int
			for _, m := range described.Groups[0].Members {
				n := 0
				for _, t := range m.MemberAssignments.Topics {
					n += len(t.Partitions)
				}
				has = append(has, n)
			}
			return slices.Equal(has, counts)
		})
	}
	shared(2, 2)
	send(ctx, writer(address, topic), values(100, "")...)
	got := make(chan string, 300)
	follow := func(r *kafka.Reader) {
		for {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				return
			}
			got <- string(m.Value)
		}
	}
	go follow(one)
	go follow(two)
	seen := map[string]bool{}
	collect := func(n int) {
		for len(seen) < n {
			select {
			case v := <-got:
				seen[v] = true
			case <-ctx.Done():
				Check(false, "%d of %d records", len(seen), n)
			}
		}
	}
	collect(100)
	OK(two.Close(), "close")
	shared(4)
	send(ctx, writer(address, topic), values(20, "later ")...)
	collect(120)
	OK(one.Close(), "close")
	deleted, err := c.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	OK(err, "delete")
	OK(deleted.Errors[group], "delete")
}

func offsets(ctx context.Context, address string) {
	topic, group, c := create(ctx, address, "offsets", 1), Fresh("group"), client(address)
	send(ctx, writer(address, topic), values(20, "")...)
	committed, err := c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 7, Metadata: "words"}}}})
	OK(err, "commit")
	OK(committed.Topics[topic][0].Error, "commit")
	fetched, err := c.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: {0}}})
	OK(err, "fetch offsets")
	p := fetched.Topics[topic][0]
	Check(p.CommittedOffset == 7 && p.Metadata == "words", "committed is %+v", p)
	r := reader(address, topic, group)
	Check(string(read(ctx, r, 13)[0].Value) == "7", "the first is another")
	OK(r.Close(), "close")
}

func admin(ctx context.Context, address string) {
	c, topic := client(address), create(ctx, address, "admin", 2, "retention.ms", "123456789")
	again, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 2, ReplicationFactor: 1}}})
	OK(err, "create")
	Check(errors.Is(again.Errors[topic], kafka.TopicAlreadyExists), "a second create got %v", again.Errors[topic])
	described, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
		ConfigNames: []string{"retention.ms"}}}})
	OK(err, "describe")
	Check(described.Resources[0].ConfigEntries[0].ConfigValue == "123456789", "described as %+v", described.Resources[0])
	altered, err := c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{ResourceType: kafka.ResourceTypeTopic,
		ResourceName: topic, Configs: []kafka.IncrementalAlterConfigsRequestConfig{{Name: "cleanup.policy", Value: "compact", ConfigOperation: kafka.ConfigOperationSet}}}}})
	OK(err, "alter")
	OK(altered.Resources[0].Error, "alter")
	grown, err := c.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 5}}})
	OK(err, "partitions")
	OK(grown.Errors[topic], "partitions")
	partitions := func() int {
		metadata, err := c.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		OK(err, "metadata")
		return len(metadata.Topics[0].Partitions)
	}
	WaitFor(ctx, "5 partitions", func() bool { return partitions() == 5 })
	deleted, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	OK(err, "delete")
	OK(deleted.Errors[topic], "delete")
	WaitFor(ctx, "no topic", func() bool { return partitions() == 0 })
}

func timestamps(ctx context.Context, address string) {
	topic, from := create(ctx, address, "times", 1), time.UnixMilli(time.Now().UnixMilli()-100000)
	messages := values(10, "")
	for i := range messages {
		messages[i].Time = from.Add(time.Duration(i) * time.Second)
	}
	send(ctx, writer(address, topic), messages...)
	conn, err := kafka.DialLeader(ctx, "tcp", address, topic, 0)
	OK(err, "dial")
	defer conn.Close()
	for _, at := range []struct{ after, wanted int64 }{{-5, 0}, {1, 1}, {4000, 4}} {
		offset, err := conn.ReadOffset(from.Add(time.Duration(at.after) * time.Millisecond))
		OK(err, "offset")
		Check(offset == at.wanted, "%d ms on: offset %d", at.after, offset)
	}
	first, last, err := conn.ReadOffsets()
	OK(err, "offsets")
	Check(first == 0 && last == 10, "from %d to %d", first, last)
}

func large(ctx context.Context, address string) {
	topic := create(ctx, address, "large", 1, "max.message.bytes", "9000000")
	w := writer(address, topic)
	w.BatchBytes = 9000000
	send(ctx, w, kafka.Message{Value: make([]byte, 8000000)})
	send(ctx, writer(address, topic), kafka.Message{Value: []byte("small")})
	r := reader(address, topic, "")
	got := read(ctx, r, 2)
	Check(len(got[0].Value) == 8000000 && len(got[1].Value) == 5, "other sizes")
	OK(r.Close(), "close")
	small := create(ctx, address, "small", 1, "max.message.bytes", "1000")
	err := writer(address, small).WriteMessages(ctx, kafka.Message{Value: make([]byte, 5000)})
	Check(err != nil && errors.Is(err.(kafka.WriteErrors)[0], kafka.MessageSizeTooLarge), "got %v", err)
}

func restart(ctx context.Context, address string) {
	topic := create(ctx, address, "restart", 1)
	r, w := reader(address, topic, Fresh("group")), writer(address, topic)
	defer r.Close()
	OK(w.WriteMessages(ctx, values(50, "a")...), "write")
	read(ctx, r, 50)
	RestartBroker()
	OK(w.WriteMessages(ctx, values(50, "b")...), "write")
	Check(string(read(ctx, r, 50)[49].Value) == "b49", "the last is another")
}

func main() {
	Main(
		Scenario{"codecs_keys_headers", codecs},
		Scenario{"group_rebalance", groups},
		Scenario{"offsets_commit", offsets},
		Scenario{"admin_topics_configs_partitions", admin},
		Scenario{"timestamps", timestamps},
		Scenario{"large_messages", large},
		Scenario{"restart", restart},
	)
}
