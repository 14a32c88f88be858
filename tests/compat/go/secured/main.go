// SPDX-License-Identifier: Apache-2.0

// secured ADDRESS TOPIC GROUP COUNT: franz-go writes so many records to a topic and reads them back in a group, one value a line.
// How it logs in is in the environment: CA, CERTIFICATE and KEY (files), MECHANISM with USERNAME and PASSWORD, or TOKEN.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
	. "millrace.compat/scenario"
)

func encrypted(ca string) kgo.Opt {
	text, err := os.ReadFile(ca)
	OK(err, "the authority's certificate")
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(text)
	if file := os.Getenv("CERTIFICATE"); file != "" {
		pair, err := tls.LoadX509KeyPair(file, os.Getenv("KEY"))
		OK(err, "the client's certificate")
		config.Certificates = []tls.Certificate{pair}
	}
	return kgo.DialTLSConfig(config)
}

func login(name string) sasl.Mechanism {
	user, password := os.Getenv("USERNAME"), os.Getenv("PASSWORD")
	switch name {
	case "PLAIN":
		return plain.Auth{User: user, Pass: password}.AsMechanism()
	case "SCRAM-SHA-256":
		return scram.Auth{User: user, Pass: password}.AsSha256Mechanism()
	case "SCRAM-SHA-512":
		return scram.Auth{User: user, Pass: password}.AsSha512Mechanism()
	case "OAUTHBEARER":
		return oauth.Auth{Token: os.Getenv("TOKEN")}.AsMechanism()
	}
	panic("no such mechanism: " + name)
}

func main() {
	address, topic, group := os.Args[1], os.Args[2], os.Args[3]
	count, err := strconv.Atoi(os.Args[4])
	OK(err, "count")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	options := []kgo.Opt{kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DefaultProduceTopic(topic)}
	if ca := os.Getenv("CA"); ca != "" {
		options = append(options, encrypted(ca))
	}
	if mechanism := os.Getenv("MECHANISM"); mechanism != "" {
		options = append(options, kgo.SASL(login(mechanism)))
	}
	client, err := kgo.NewClient(options...)
	OK(err, "client")
	defer client.Close()
	for i := range count {
		OK(client.ProduceSync(ctx, kgo.StringRecord(fmt.Sprintf("franz-go %d", i))).FirstErr(), "produce")
	}
	for seen := 0; seen < count; {
		fetches := client.PollFetches(ctx)
		OK(fetches.Err(), "fetch")
		fetches.EachRecord(func(r *kgo.Record) {
			fmt.Println(string(r.Value))
			seen++
		})
	}
	OK(client.CommitUncommittedOffsets(ctx), "commit")
}
