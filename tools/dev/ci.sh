# ./dev ci [--full]: what .ci/run adds to ./dev test. --full: everything, with more rounds and seeds.

# Builds the program of OLD (MILLRACE_OLD, or fifty commits ago); false without history.
older() {
    OLD=$(git rev-parse --verify -q "${MILLRACE_OLD:-HEAD~50}^{commit}") || { say "there is no history here: no older millrace is tried"; return 1; }
    rm -rf build/older
    mkdir -p build/older
    git archive "$OLD" | tar -x -C build/older
    meson setup build/older/release build/older --buildtype=release >build/older/meson.log 2>&1 && ninja -C build/older/release millrace >build/older/ninja.log 2>&1 ||
        { say "an older millrace ($OLD) does not build"; FAILED=$((FAILED + 1)); return 1; }
}

cmd_ci() {
    local full=0 modes=kraft
    case ${1:-} in --full) full=1 modes=kraft,zk ;; '') ;; *) die "ci: unknown option $1 (--full)" ;; esac
    need $PKGS_CI
    mkdir -p build
    build release
    say "tidy"
    if /usr/bin/python3 tools/tidy.py; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
    say "the SPDX document, and what spdx-tools says of it"
    . tools/dev/sbom.sh
    venv venv-sbom tests/support/requirements-sbom.txt
    if cmd_sbom && build/venv-sbom/bin/pyspdxtools -i build/millrace.spdx.json; then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
    say "address and undefined behaviour sanitizers"
    build asan
    meson_suite build/asan --timeout-multiplier 5
    say "thread sanitizer: loops and mailboxes"
    build tsan
    meson_suite build/tsan --timeout-multiplier 5 --suite threads
    venv venv tests/e2e/requirements.txt
    venv venv-mlserver tests/e2e/requirements-mlserver.txt
    venv venv-go tests/e2e/requirements-go.txt
    kafka381
    command -v npm >/dev/null || need nodejs npm
    say "Java tools, a real Apache Kafka 3.8.1 ($modes), a real MLServer, a schema registry, an OpenID provider"
    pytest_suite venv tests/e2e/slow
    pytest_suite venv tests/e2e/test_040_pipelines.py tests/e2e/test_045_bus.py tests/e2e/test_046_replicas.py tests/e2e/test_072_users_and_acls.py tests/e2e/test_078_five_errors.py \
        tests/e2e/test_049_keys_on_replicas.py tests/e2e/test_051_two_versions.py --kafka "$modes" -k "kraft or zk"
    pytest_suite venv tests/e2e/test_074_remote_security_kafka.py --kafka kraft
    say "the broker killed 200 times under real clients"
    KILLS=200 pytest_suite venv tests/e2e/test_031_kill_loop.py
    if [ $full = 1 ] && older; then
        say "an older millrace ($(git log -1 --format='%h, %cs' "$OLD")) beside this one"
        MILLRACE_OLD_BIN=$PWD/build/older/release/millrace pytest_suite venv tests/e2e/test_051_two_versions.py --kafka kraft -k older
    fi
    say "faults under several data planes"
    if [ $full = 1 ]; then pytest_suite venv tests/e2e/test_047_replica_faults.py --kafka "$modes"
    else pytest_suite venv tests/e2e/test_047_replica_faults.py --kafka kraft -k "embedded or sleeps"; fi
    say "data planes killed at random moments"
    FLOW_KILLS=${FLOW_KILLS:-$([ $full = 1 ] && echo 300 || echo 100)} pytest_suite venv tests/e2e/test_048_crash_rounds.py --kafka kraft
    say "Kafka's clients"
    . tools/dev/compat.sh
    if [ $full = 1 ]; then
        compat
        TARGET=kafka compat
    else
        compat --short
    fi
    say "the same requests to Apache Kafka 3.8.1 and to millrace"
    . tools/dev/diff.sh
    if [ $full = 1 ]; then cmd_diff --full --seeds 100; else cmd_diff --seeds 40 --seconds 50; fi
    if [ $full = 1 ]; then
        say "clients of Kafka 4: Java 4.1, franz-go"
        tools/kafka4/setup.sh build/kafka4 >build/kafka4.log 2>&1 || { tail -20 build/kafka4.log >&2; die "could not assemble Apache Kafka 4.1's tools"; }
        pytest_suite venv-go tests/e2e/full
        CRASH_ROUNDS=200 pytest_suite venv tests/e2e/test_030_crash.py
        KILLS=2000 pytest_suite venv tests/e2e/test_031_kill_loop.py
        pytest_suite venv tests/e2e/test_093_beside_the_original.py --kafka "$modes" -k "kraft or zk"
        . tools/dev/sim.sh
        cmd_sim --seeds 2000 && PASSED=$((PASSED + 1)) || FAILED=$((FAILED + 1))
    fi
    verdict
}
