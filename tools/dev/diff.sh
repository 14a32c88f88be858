# ./dev test diff [--seed N] [--seeds N] [--full] [--script NAME] [--trace]: the same requests to a real Apache Kafka 3.8.1 and to
# millrace, scripted and random; what they answer compared (tests/diff/run.py). A seed repeats one random sequence.

cmd_diff() {
    build release
    kafka381
    if KAFKA381_DIR=${KAFKA381_DIR:-$PWD/build/kafka381} MILLRACE_BIN=${MILLRACE_BIN:-$PWD/build/millrace} /usr/bin/python3 tests/diff/run.py "$@"; then
        PASSED=$((PASSED + 1))
    else
        FAILED=$((FAILED + 1))
    fi
}
