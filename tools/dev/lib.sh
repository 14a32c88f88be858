# What the commands of ./dev share: packages, builds, Python environments. Sourced, never run.

PKGS_BUILD="gcc libc6-dev meson ninja-build pkg-config python3 ccache libnghttp2-dev libhttp-parser-dev libssl-dev
    libisal-dev libzstd-dev liblz4-dev libsnappy-dev libyaml-dev libjansson-dev libprotobuf-c-dev protobuf-c-compiler
    protobuf-compiler libcurl4-openssl-dev librdkafka-dev libxgboost-dev libpcre2-dev libcjose-dev libcmocka-dev"
PKGS_RUN="$PKGS_BUILD curl jq kcat"
PKGS_TEST="$PKGS_RUN openssl python3-venv groff-base python3-xgboost"
PKGS_KAFKA="openjdk-17-jdk-headless maven"
PKGS_CI="$PKGS_TEST $PKGS_KAFKA clang clang-format clang-tidy libclang-rt-14-dev"

# Bold only for eyes: not into files and pipes, and not against NO_COLOR.
if [ -t 2 ] && [ -z "${NO_COLOR:-}" ]; then say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
else say() { printf '%s\n' "$*" >&2; }; fi
die() { printf './dev: %s\n' "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then sudo "$@"
    else return 1; fi
}

# need PACKAGE…: installs those that are missing, silently if none is.
need() {
    local missing=() p
    for p in "$@"; do
        dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing+=("$p")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}"
    if ! as_root true; then
        die "needs these Debian packages, and is neither root nor may it use sudo without a password. As root, run: apt-get install ${missing[*]}"
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq >/dev/null || die "apt-get update failed; is this machine online?"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# build KIND [ninja target…]: configures once, builds in build/KIND.
build() {
    local kind=$1; shift
    local dir=build/$kind options=()
    case $kind in
        release) options=(--buildtype=release) ;;
        debug) options=(--buildtype=debug) ;;
        asan) options=(--buildtype=debugoptimized -Db_sanitize=address,undefined) ;;
        tsan) options=(--buildtype=debugoptimized -Db_sanitize=thread) ;;
        fuzz) options=(--buildtype=debugoptimized -Db_lundef=false -Dfuzz=true) ;;
        *) die "no such build: $kind (release, debug, asan, tsan, fuzz)" ;;
    esac
    export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
    [ "$kind" = fuzz ] && export CC=clang
    [ -f "$dir/build.ninja" ] || meson setup "$dir" "${options[@]}" >"build-$kind.log" 2>&1 ||
        { cat "build-$kind.log" >&2; rm -rf "$dir" "build-$kind.log"; die "meson setup failed"; }
    rm -f "build-$kind.log"
    ninja -C "$dir" "$@" >"$dir/ninja.log" 2>&1 || { tail -60 "$dir/ninja.log" >&2; die "the $kind build failed ($dir/ninja.log)"; }
    if [ "$kind" = release ] && [ -x "$dir/millrace" ]; then ln -sfn release/millrace build/millrace; fi
}

# venv NAME REQUIREMENTS: a Python environment in build/NAME, made again when the requirements change.
venv() {
    local dir=build/$1 requirements=$2
    if ! cmp -s "$requirements" "$dir/.requirements"; then
        say "installing Python packages for $1"
        rm -rf "$dir"
        /usr/bin/python3 -m venv "$dir"
        "$dir/bin/pip" install -q --disable-pip-version-check -r "$requirements" || die "pip could not install $requirements"
        cp "$requirements" "$dir/.requirements"
    fi
}

# Apache Kafka 3.8.1 in build/kafka381, put together from Maven Central once.
kafka381() {
    need $PKGS_KAFKA
    [ -e build/kafka381/libs/kafka_2.13-3.8.1.jar ] && [ -e build/kafka381/bin/kafka-topics ] && return
    say "assembling Apache Kafka 3.8.1"
    tools/kafka381/setup.sh build/kafka381 >build/kafka381.log 2>&1 || { tail -20 build/kafka381.log >&2; die "could not assemble Apache Kafka 3.8.1"; }
    [ -e build/kafka381/libs/kafka_2.13-3.8.1.jar ] || die "Apache Kafka 3.8.1 was assembled somewhere else (build/kafka381.log)"
}

# Counts of several suites, added up for the closing line.
PASSED=0 FAILED=0
# suite NAME: runs the meson tests of a build with the given arguments and counts them.
meson_suite() {
    local dir=$1; shift
    local status=0 log
    log=$dir/meson-logs/summary.txt
    mkdir -p "$dir/meson-logs"
    meson test -C "$dir" --no-rebuild --print-errorlogs "$@" 2>&1 | tee "$log" | grep -vE '^(ninja|Full log|$)' || status=1
    count_meson "$log"
    return 0
}
count_meson() {
    local ok fail timeout
    ok=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$1"); fail=$(sed -n 's/^Fail: *\([0-9]*\).*/\1/p' "$1")
    timeout=$(sed -n 's/^Timeout: *\([0-9]*\).*/\1/p' "$1")
    [ -n "$ok" ] || { FAILED=$((FAILED + 1)); return; }
    PASSED=$((PASSED + ok)) FAILED=$((FAILED + ${fail:-0} + ${timeout:-0}))
}
# pytest_suite VENV ARG…: runs pytest and counts from its JUnit file.
pytest_suite() {
    local env=$1; shift
    local xml=build/pytest-$RANDOM.xml
    MILLRACE_BIN=${MILLRACE_BIN:-$PWD/build/millrace} "build/$env/bin/python" -m pytest -q --no-header -p no:cacheprovider \
        --junitxml="$xml" "$@" || true
    if [ -f "$xml" ]; then
        read -r passed failed < <(/usr/bin/python3 tools/dev/junit.py "$xml")
        PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
        rm -f "$xml"
    else
        FAILED=$((FAILED + 1))
    fi
}
verdict() {
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
}
