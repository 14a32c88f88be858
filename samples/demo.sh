#!/usr/bin/env bash
# The demonstration of `./dev run`: shows each command, runs it, and fails if a prediction call fails.
# usage: samples/demo.sh MILLRACE INFER_ADDRESS KAFKA_ADDRESS [SERVER_PID]; without it, the server ends after this
set -euo pipefail
cd "$(dirname "$0")/.."
millrace=$1 infer=$2 kafka=$3 pid=${4:-}
export MILLRACE_SERVER=$infer
rows=samples/tumour/rows.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Colours for eyes only; CLICOLOR_FORCE is for tools/termsvg.py, which makes a picture of this.
bold='' dim='' plain=''
if [ -n "${CLICOLOR_FORCE:-}" ] || { [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; }; then bold=$'\033[1m' dim=$'\033[2m' plain=$'\033[0m'; fi
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
command_line() { printf '%s$ %s%s\n' "$dim" "$*" "$plain"; }
shown() { command_line "$@"; "$@"; }
# infer FILE INTO ARG…: the answer as JSON in INTO; what is said beside it only when the call fails.
infer() {
    local file=$1 into=$2
    shift 2
    "$millrace" infer pipeline tumour "$@" -f "$file" --output json >"$into" 2>"$work/said" || { cat "$work/said" >&2; return 1; }
}
id=demo-$(date +%H%M%S)-$$

# request FROM TO: rows FROM…TO-1 of the test part as one V2 request with two tensors.
request() {
    jq -c ".[$1:$2] | {inputs: [
        {name: \"MEAN\",  datatype: \"FP32\", shape: [length, 10], data: [.[].mean]},
        {name: \"WORST\", datatype: \"FP32\", shape: [length, 10], data: [.[].worst]}]}" $rows
}
# table FROM TO ANSWER: what came back beside the true label of each row.
table() {
    jq -r --argjson from "$1" --slurpfile rows $rows '
        (.outputs | map({(.name): .data}) | add) as $o
        | ["row", "true label", "opinion (mean)", "opinion (worst)", "verdict: malignant"],
          (range(0; $o.malignant | length) as $i
           | [$from + $i, (if $rows[0][$from + $i].malignant then "malignant" else "benign" end),
              ($o.opinion_mean[$i], $o.opinion_worst[$i], $o.malignant[$i] | . * 1000 | round / 1000),
              (if ($o.malignant[$i] > 0.5) == $rows[0][$from + $i].malignant then "" else "<- wrong" end)])
        | @tsv' "$3" | column -t -s "$(printf '\t')"
}

title "Three models and a pipeline (samples/tumour): two opinions on a biopsy, and a verdict on both"
shown "$millrace" apply -f samples/tumour
shown "$millrace" get

title "Real rows by REST"
request 0 6 >"$work/rest.json"
command_line curl -H "'x-request-id: $id'" -d @rows "http://$infer/v2/pipelines/tumour/infer"
curl -sS --fail-with-body -H 'Content-Type: application/json' -H "x-request-id: $id" -d @"$work/rest.json" \
    "http://$infer/v2/pipelines/tumour/infer" >"$work/rest.out"
table 0 6 "$work/rest.out"

title "Other rows by gRPC, on the same port"
request 6 12 >"$work/grpc.json"
command_line millrace infer pipeline tumour --grpc -f rows
infer "$work/grpc.json" "$work/grpc.out" --grpc
table 6 12 "$work/grpc.out"

title "All rows of the test part, in one request"
request 0 "$(jq length $rows)" >"$work/all.json"
infer "$work/all.json" "$work/all.out"
jq -r --slurpfile rows $rows '(.outputs | map({(.name): .data}) | add).malignant as $m
    | [range(0; $m | length) | select(($m[.] > 0.5) == $rows[0][.].malignant)] | length as $right
    | "\($right) of \($m | length) verdicts agree with the true label"' "$work/all.out"

title "Every hop is a record in a Kafka topic"
shown "$millrace" topic list

title "One request's way, decoded"
shown "$millrace" trace "$id"

title "What to try next"
try() { printf '  %-52s  %s\n' "$1" "$2"; }
[ -n "$pid" ] || try "./dev run" "does this and keeps serving; then, beside it:"
try "build/millrace inspect tumour.tumour-verdict.inputs" "what the third model was given"
try "kcat -b $kafka -L" "any Kafka client can read these topics"
try "kcat -b $kafka -C -e -t seldon.default.pipeline.tumour.outputs -f '%o %k\\n'" ""
[ -z "$pid" ] || try "kill -9 $pid" "and ./dev run again: nothing that was answered is lost"
try "curl http://$infer/metrics" "Prometheus metrics"
[ "$infer" = 127.0.0.1:9000 ] || echo "(export MILLRACE_SERVER=$infer tells millrace where the server is)"
