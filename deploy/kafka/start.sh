#!/usr/bin/env bash
# One Apache Kafka node (KRaft) on loopback, for a laptop and for tests.
#
#   start.sh check                               says in one line what to install, if anything
#   start.sh resolve                             fetches the jars once, prints their folder
#   start.sh run FOLDER [PORT [CONTROLLER_PORT]] runs in the foreground, data in FOLDER
#
# The jars come from Maven into ${XDG_CACHE_HOME:-~/.cache}/streamrec/kafka-VERSION.
# KAFKA_HEAP_OPTS and KAFKA_JVM_PERFORMANCE_OPTS are Kafka's own names for what they say.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n '/<artifactId>kafka_2.13</{n;s/.*<version>\(.*\)<.*/\1/p}' "$here/pom.xml")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/streamrec/kafka-$version

fail() {
    echo "$*" >&2
    exit 3
}

java_major() { # 17 of 'openjdk version "17.0.15"'; nothing without Java
    java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1
}

check() {
    local major missing=""
    major=$(java_major || true)
    [ "${major:-0}" -ge 17 ] || missing="Java 17 or newer"
    if [ ! -d "$cache" ] && ! command -v mvn >/dev/null; then
        missing="${missing:+$missing and }Maven"
    fi
    [ -z "$missing" ] || fail "Kafka needs $missing:" \
        "apt-get install -y openjdk-17-jre-headless maven"
}

resolve() {
    check
    if [ ! -d "$cache" ]; then
        mkdir -p "$(dirname "$cache")"
        local fresh
        fresh=$(mktemp -d "$cache.XXXXXX")
        # shellcheck disable=SC2064  # the folder of now, not of then
        trap "rm -rf '$fresh'" EXIT
        mvn --batch-mode --quiet -f "$here/pom.xml" dependency:copy-dependencies \
            -Djars="$fresh" >&2 || fail "Maven could not fetch the jars of Kafka $version"
        chmod 755 "$fresh"
        # Whoever renames first is right; the other's copy is thrown away.
        mv -T "$fresh" "$cache" 2>/dev/null || [ -d "$cache" ]
    fi
    echo "$cache"
}

properties() { # FOLDER PORT CONTROLLER_PORT
    cat <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$3
listeners=PLAINTEXT://127.0.0.1:$2,CONTROLLER://127.0.0.1:$3
advertised.listeners=PLAINTEXT://127.0.0.1:$2
controller.listener.names=CONTROLLER
log.dirs=$1/data
auto.create.topics.enable=false
num.partitions=6
message.max.bytes=10485760
# One node: every copy is the only one. Few partitions, so that it starts at once.
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
# A group of one worker need not wait for a second one, and a test may lose one quickly.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# What a killed worker left open ends soon after its transaction timeout, not 10 s later.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# The cleaner's default buffer (128 MiB) is a quarter of this heap.
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=5000
# A restart after a kill need not wait 9 s for the dead one's session.
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
controlled.shutdown.enable=false
EOF
}

run() { # FOLDER PORT CONTROLLER_PORT
    local folder jars class_path
    mkdir -p "$1/logs"
    folder=$(cd "$1" && pwd)
    jars=$(resolve)
    class_path="$jars/*"
    properties "$folder" "$2" "$3" >"$folder/server.properties"
    local logging=("-Dlog4j2.configurationFile=$here/log4j2.properties"
        "-Dstreamrec.kafka.logs=$folder/logs")
    if [ ! -f "$folder/data/meta.properties" ]; then
        local quick=(-Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto)
        java "${quick[@]}" "${logging[@]}" -cp "$class_path" kafka.tools.StorageTool format \
            --config "$folder/server.properties" \
            --cluster-id="$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 1-22)"
    fi
    # A node that lives for minutes beside its workers on two cores gains more from the first
    # compiler alone than it loses: transactions of 20 records take 8-11 ms instead of 23-32,
    # memory 290 MB instead of 330, and records produced per second stay the same.
    local heap=${KAFKA_HEAP_OPTS:--Xmx512m}
    local flags=${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1}
    # exec: the process id that our caller holds is the node's own.
    # shellcheck disable=SC2086  # both are lists
    exec java $heap $flags \
        "${logging[@]}" -Dstreamrec.kafka.folder="$folder" -cp "$class_path" kafka.Kafka \
        "$folder/server.properties"
}

case ${1:-} in
check) check ;;
resolve) resolve ;;
run) run "${2:?start.sh run FOLDER [PORT [CONTROLLER_PORT]]}" "${3:-9092}" "${4:-9093}" ;;
*) fail "usage: start.sh check | resolve | run FOLDER [PORT [CONTROLLER_PORT]]" ;;
esac
