# ./dev test compat [SUITE…]: the suites of tests/compat against millrace; TARGET=kafka runs them against Apache Kafka 3.8.1.

# compat [ARG…]: what tests/compat/run.py takes.
compat() {
    local log=build/compat-${TARGET:-millrace}.log line passed failed
    need python3-venv kcat
    case " $* " in *" --short "*) ;; *) compat_compilers ;; esac
    case "${TARGET:-millrace} $*" in kafka* | *librdkafka* | millrace\ ) kafka381 ;; esac
    MILLRACE_BIN=${MILLRACE_BIN:-$PWD/build/millrace} /usr/bin/python3 tests/compat/run.py --target "${TARGET:-millrace}" "$@" | tee "$log" || true
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -1)
    if [ -z "$line" ]; then FAILED=$((FAILED + 1)); return; fi
    read -r passed _ failed _ <<<"$line"
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
}

# Node and Cargo as the machine has them, else Debian's; Go comes from PyPI when the machine's is too old (run.py).
compat_compilers() {
    command -v npm >/dev/null || need nodejs npm
    command -v cargo >/dev/null || need cargo-web rustc-web
    need zlib1g-dev rapidjson-dev make g++ $PKGS_KAFKA
}
