// SPDX-License-Identifier: Apache-2.0
//! Scenarios for the rdkafka crate. The lines are those of ../python/scenarios.py.

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::io::BufRead;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::time::{Duration, Instant, SystemTime};

const WAIT: Duration = Duration::from_secs(40);

fn fresh(name: &str) -> String {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_nanos();
    format!("{name}-{nanos:x}")
}

fn config(address: &str, settings: &[(&str, &str)]) -> ClientConfig {
    let mut c = ClientConfig::new();
    c.set("bootstrap.servers", address).set("reconnect.backoff.max.ms", "300");
    for (key, value) in settings {
        c.set(*key, *value);
    }
    c
}

fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    config(address, &[]).create().expect("admin")
}

fn create(address: &str, name: &str, partitions: i32) -> String {
    let topic = fresh(name);
    let new = NewTopic::new(&topic, partitions, TopicReplication::Fixed(1)).set("max.message.bytes", "9000000");
    let made = block_on(admin(address).create_topics(&[new], &AdminOptions::new())).expect("create");
    made[0].as_ref().expect("create");
    topic
}

fn producer(address: &str, settings: &[(&str, &str)]) -> BaseProducer {
    config(address, &[("message.max.bytes", "9000000"), ("linger.ms", "5")]).clone_with(settings).create().expect("producer")
}

trait With {
    fn clone_with(&self, settings: &[(&str, &str)]) -> ClientConfig;
}

impl With for ClientConfig {
    fn clone_with(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut c = self.clone();
        for (key, value) in settings {
            c.set(*key, *value);
        }
        c
    }
}

fn send(p: &BaseProducer, topic: &str, partition: i32, values: &[String]) {
    for value in values {
        let record = BaseRecord::<str, str>::to(topic).partition(partition).key("k").payload(value).headers(OwnedHeaders::new().insert(Header { key: "h", value: Some("1") }));
        p.send(record).map_err(|(e, _)| e).expect("send");
    }
    p.flush(WAIT).expect("flush");
}

fn values(n: usize, prefix: &str) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

fn consumer(address: &str, group: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    config(address, &[("group.id", group), ("auto.offset.reset", "earliest"), ("enable.auto.commit", "false"), ("heartbeat.interval.ms", "300")])
        .clone_with(settings).create().expect("consumer")
}

/// Reads n records of partition 0; no more may come within a moment.
fn read(address: &str, topic: &str, n: usize, settings: &[(&str, &str)]) -> Vec<OwnedMessage> {
    let c = consumer(address, "reader", settings);
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("list");
    c.assign(&list).expect("assign");
    let mut got = Vec::new();
    let end = Instant::now() + WAIT;
    while got.len() < n {
        assert!(Instant::now() < end, "{} of {n} records", got.len());
        if let Some(m) = c.poll(Duration::from_millis(200)) {
            got.push(m.expect("poll").detach());
        }
    }
    assert!(c.poll(Duration::from_millis(700)).is_none(), "more than {n} records");
    got
}

fn texts(messages: &[OwnedMessage]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8_lossy(m.payload().unwrap_or_default()).into_owned()).collect()
}

fn codecs(address: &str) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = create(address, codec, 1);
        let sent = values(300, "a value with a number ");
        send(&producer(address, &[("compression.type", codec)]), &topic, 0, &sent);
        let got = read(address, &topic, 300, &[]);
        assert_eq!(texts(&got), sent);
        assert!(got.iter().all(|m| m.key() == Some(b"k") && m.headers().map(|h| h.get(0).value == Some(b"1")) == Some(true)));
    }
}

fn idempotent(address: &str) {
    let topic = create(address, "idempotent", 1);
    let sent = values(2000, "");
    send(&producer(address, &[("enable.idempotence", "true")]), &topic, 0, &sent);
    assert_eq!(texts(&read(address, &topic, 2000, &[])), sent);
}

fn shared(members: &[&BaseConsumer], counts: &[usize], seen: &mut Vec<String>) {
    let end = Instant::now() + WAIT;
    loop {
        for m in members {
            if let Some(Ok(message)) = m.poll(Duration::from_millis(50)) {
                seen.push(String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned());
            }
        }
        let has: Vec<usize> = members.iter().map(|m| m.assignment().expect("assignment").count()).collect();
        if has == counts {
            return;
        }
        assert!(Instant::now() < end, "partitions shared as {has:?}, not {counts:?}");
    }
}

fn rebalance(address: &str, strategy: &str) {
    let (topic, group, mut seen) = (create(address, "rebalance", 4), fresh("group"), Vec::new());
    let settings = [("partition.assignment.strategy", strategy)];
    let one = consumer(address, &group, &settings);
    one.subscribe(&[&topic]).expect("subscribe");
    shared(&[&one], &[4], &mut seen);
    let two = consumer(address, &group, &settings);
    two.subscribe(&[&topic]).expect("subscribe");
    shared(&[&one, &two], &[2, 2], &mut seen);
    for p in 0..4 {
        send(&producer(address, &[]), &topic, p, &values(25, &format!("{p}-")));
    }
    let end = Instant::now() + WAIT;
    while seen.len() < 100 && Instant::now() < end {
        shared(&[&one, &two], &[2, 2], &mut seen);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 100);
    one.commit_consumer_state(CommitMode::Sync).expect("commit");
    drop(two);
    shared(&[&one], &[4], &mut seen);
}

fn transactions(address: &str) {
    let (topic, source, group) = (create(address, "outcome", 1), create(address, "source", 1), fresh("group"));
    let p = producer(address, &[("transactional.id", &fresh("tx"))]);
    p.init_transactions(WAIT).expect("init");
    let c = consumer(address, &group, &[]);
    c.subscribe(&[&source]).expect("subscribe");
    shared(&[&c], &[1], &mut Vec::new());
    for n in 0..4 {
        p.begin_transaction().expect("begin");
        send(&p, &topic, 0, &values(5, &format!("{n}-")));
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&source, 0, Offset::Offset(4 + n)).expect("list");
        p.send_offsets_to_transaction(&list, &c.group_metadata().expect("metadata"), WAIT).expect("offsets");
        if n % 2 == 0 {
            p.commit_transaction(WAIT).expect("commit");
        } else {
            p.abort_transaction(WAIT).expect("abort");
        }
    }
    let committed = [values(5, "0-"), values(5, "2-")].concat();
    assert_eq!(texts(&read(address, &topic, 10, &[("isolation.level", "read_committed")])), committed);
    read(address, &topic, 20, &[("isolation.level", "read_uncommitted")]);
    let mut list = TopicPartitionList::new();
    list.add_partition(&source, 0);
    let got = c.committed_offsets(list, WAIT).expect("committed");
    assert_eq!(got.elements()[0].offset(), Offset::Offset(6));
}

fn admin_topics(address: &str) {
    let (a, topic, o) = (admin(address), create(address, "admin", 2), AdminOptions::new());
    let again = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    let refused = block_on(a.create_topics(&[again], &o)).expect("create");
    assert_eq!(refused[0].as_ref().expect_err("was taken").1, RDKafkaErrorCode::TopicAlreadyExists);
    block_on(a.create_partitions(&[NewPartitions::new(&topic, 5)], &o)).expect("partitions")[0].as_ref().expect("partitions");
    let configs = block_on(a.describe_configs(&[ResourceSpecifier::Topic(&topic)], &o)).expect("describe");
    assert_eq!(configs[0].as_ref().expect("describe").get("max.message.bytes").expect("it").value.as_deref(), Some("9000000"));
    let c = consumer(address, "metadata", &[]);
    assert_eq!(c.fetch_metadata(Some(&topic), WAIT).expect("metadata").topics()[0].partitions().len(), 5);
    block_on(a.delete_topics(&[&topic], &o)).expect("delete")[0].as_ref().expect("delete");
}

fn large(address: &str) {
    let topic = create(address, "large", 1);
    send(&producer(address, &[]), &topic, 0, &["x".repeat(8_000_000), "small".into()]);
    let got: Vec<usize> = read(address, &topic, 2, &[]).iter().map(|m| m.payload().map_or(0, <[u8]>::len)).collect();
    assert_eq!(got, [8_000_000, 5]);
}

fn restart(address: &str) {
    let topic = create(address, "restart", 1);
    let p = producer(address, &[("enable.idempotence", "true")]);
    send(&p, &topic, 0, &values(50, "a"));
    println!("restart");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).expect("the runner's answer");
    assert_eq!(line.trim(), "restarted");
    send(&p, &topic, 0, &values(50, "b"));
    assert_eq!(texts(&read(address, &topic, 100, &[])), [values(50, "a"), values(50, "b")].concat());
}

fn reason(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
    text.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

type Scenario = (&'static str, fn(&str));

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let scenarios: [Scenario; 8] = [
        ("codecs_keys_headers", codecs),
        ("idempotent", idempotent),
        ("group_rebalance_eager", |a| rebalance(a, "roundrobin")),
        ("group_rebalance_cooperative", |a| rebalance(a, "cooperative-sticky")),
        ("transactions", transactions),
        ("admin_topics_configs_partitions", admin_topics),
        ("large_messages", large),
        ("restart", restart),
    ];
    let mut failed = false;
    for (name, run) in scenarios {
        if arguments.len() > 2 && !arguments[2..].iter().any(|a| a == name) {
            continue;
        }
        match catch_unwind(AssertUnwindSafe(|| run(&arguments[1]))) {
            Ok(()) => println!("ok {name}"),
            Err(panic) => {
                failed = true;
                println!("failed {name}: {}", reason(panic));
            }
        }
    }
    std::process::exit(failed.into());
}
