# ./dev sim [--seeds N] [--seed FIRST] [--trace]: the whole broker under random clients and faults (tests/sim), then the data
# folder alone (tests/crash) with as many histories.

cmd_sim() {
    local seeds='' first='' trace=''
    while [ $# -gt 0 ]; do
        case $1 in
        --seeds) seeds=${2:?./dev sim --seeds N}; shift 2 ;;
        --seed) first=${2:?./dev sim --seed FIRST}; shift 2 ;;
        --trace) trace=--trace; shift ;;
        *) die "sim: unknown option $1 (--seeds N, --seed FIRST, --trace)" ;;
        esac
    done
    need $PKGS_BUILD
    mkdir -p build
    build release
    # One seed named: that one alone, as it failed.
    [ -n "$seeds" ] || { [ -n "$first" ] && seeds=1 || seeds=1000; }
    build/release/tests/sim/sim --seeds "$seeds" --seed "${first:-1}" --jobs "$(nproc)" $trace
    [ -n "$first" ] || SEEDS=$seeds meson test -C build/release --no-rebuild --print-errorlogs --suite crash --timeout-multiplier 0
}
