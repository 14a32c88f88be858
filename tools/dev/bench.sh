# ./dev bench [NAME…]: reports go to build/bench/*.md; docs/benchmarks.md quotes them with the command.
cmd_bench() {
    need $PKGS_TEST $PKGS_KAFKA
    mkdir -p build/bench
    build release all bench/kafka_load bench/wire_load bench/infer_load bench/acl_bench
    venv venv tests/e2e/requirements.txt
    . tools/dev/ci.sh
    kafka381
    MILLRACE_BIN=$PWD/build/millrace build/venv/bin/python bench/run.py "$@"
}
