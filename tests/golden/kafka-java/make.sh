#!/bin/sh
# Makes frames.bin.gz and layouts.txt.gz (and frames4.bin.gz and layouts4.txt.gz) anew with Apache Kafka's own classes. Needs Java 17 and Maven; a fixed seed makes
# the same bytes every time. Usage: tests/golden/kafka-java/make.sh [BUILD_DIR]      SPDX-License-Identifier: Apache-2.0
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=${1:-$here/../../../build/kafka-java}
mkdir -p "$build/jars" "$build/classes" "$build/jars4" "$build/classes4"
for a in org.apache.kafka:kafka-clients:3.8.1 org.apache.kafka:kafka-group-coordinator:3.8.1 org.apache.kafka:kafka_2.13:3.8.1 \
         org.slf4j:slf4j-api:1.7.36; do
    jar=$(echo "$a" | cut -d: -f2,3 | tr : -).jar
    [ -e "$build/jars/$jar" ] || (cd "$build" && mvn -q -B dependency:copy "-Dartifact=$a" "-DoutputDirectory=jars")
done
cp=$(echo "$build"/jars/*.jar | tr ' ' :)
javac -Xlint:all -d "$build/classes" -cp "$cp" "$here/Frames.java"
records=org.apache.kafka.coordinator.group.generated
java -cp "$build/classes:$cp" Frames 12 "$here/frames.bin.gz" "$here/layouts.txt.gz" \
    0 1 2 3 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 \
    47 48 49 50 51 55 57 60 61 64 65 66 68 69 71 72 74 75 -- \
    org.apache.kafka.common.message.ConsumerProtocolSubscription org.apache.kafka.common.message.ConsumerProtocolAssignment \
    $records.OffsetCommitKey $records.OffsetCommitValue $records.GroupMetadataKey $records.GroupMetadataValue \
    kafka.internals.generated.TransactionLogKey kafka.internals.generated.TransactionLogValue \
    $records.ConsumerGroupMetadataKey $records.ConsumerGroupMetadataValue \
    $records.ConsumerGroupPartitionMetadataKey $records.ConsumerGroupPartitionMetadataValue \
    $records.ConsumerGroupMemberMetadataKey $records.ConsumerGroupMemberMetadataValue \
    $records.ConsumerGroupTargetAssignmentMetadataKey $records.ConsumerGroupTargetAssignmentMetadataValue \
    $records.ConsumerGroupTargetAssignmentMemberKey $records.ConsumerGroupTargetAssignmentMemberValue \
    $records.ConsumerGroupCurrentMemberAssignmentKey $records.ConsumerGroupCurrentMemberAssignmentValue

# What came after 3.8: version 1 of the newer group protocol.
for a in org.apache.kafka:kafka-clients:4.1.0 org.slf4j:slf4j-api:1.7.36; do
    jar=$(echo "$a" | cut -d: -f2,3 | tr : -).jar
    [ -e "$build/jars4/$jar" ] || (cd "$build" && mvn -q -B dependency:copy "-Dartifact=$a" "-DoutputDirectory=jars4")
done
cp=$(echo "$build"/jars4/*.jar | tr ' ' :)
javac -Xlint:all -d "$build/classes4" -cp "$cp" "$here/Frames.java"
java -cp "$build/classes4:$cp" Frames 12 "$here/frames4.bin.gz" "$here/layouts4.txt.gz" 68:1 69:1 74:1
ls -l "$here"/*.gz
