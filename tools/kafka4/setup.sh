#!/usr/bin/env bash
# setup.sh DIR: Apache Kafka 4.1.0's command line tools under DIR, from Maven Central: DIR/libs (jars), DIR/bin (wrappers).
# No broker: these are the clients that speak the newer group protocol.          SPDX-License-Identifier: Apache-2.0
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
DIR=${1:?usage: setup.sh DIR}
mkdir -p "$DIR/libs" "$DIR/bin" "$DIR/build"
DIR=$(cd "$DIR" && pwd)      # Maven takes relative folders from the pom, not from here
if [ ! -e "$DIR/libs/kafka_2.13-4.1.0.jar" ]; then
  cp "$HERE/pom.xml" "$DIR/build/pom.xml"       # maven writes beside the pom: keep this folder clean
  mvn -q -B -f "$DIR/build/pom.xml" dependency:copy-dependencies -DoutputDirectory="$DIR/libs" -DincludeScope=runtime
fi
w() { # w NAME CLASS: one wrapper
  printf '#!/bin/sh\nexec java ${JAVA_OPTS:--Xmx256m} -cp "%s/libs/*" %s "$@"\n' "$DIR" "$2" > "$DIR/bin/$1"
  chmod +x "$DIR/bin/$1"
}
w kafka-topics            org.apache.kafka.tools.TopicCommand
w kafka-console-consumer  org.apache.kafka.tools.consumer.ConsoleConsumer
w kafka-consumer-groups   org.apache.kafka.tools.consumer.group.ConsumerGroupCommand
w kafka-features          org.apache.kafka.tools.FeatureCommand
w kafka-configs           kafka.admin.ConfigCommand
w kafka-verifiable-consumer org.apache.kafka.tools.VerifiableConsumer
