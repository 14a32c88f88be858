# ./dev fuzz TARGET [--minutes N]: libFuzzer from the target's corpus; what it finds new is kept, minimised.
cmd_fuzz() {
    local target=${1:-} minutes=1
    need $PKGS_BUILD clang libclang-rt-14-dev
    mkdir -p build
    build fuzz fuzz-targets
    if [ -z "$target" ]; then
        say "targets:"; ls build/fuzz/tests/fuzz | grep '_fuzz$' | sed 's/_fuzz$//'
        exit 2
    fi
    [ "${2:-}" = --minutes ] && minutes=${3:?--minutes N}
    local exe=build/fuzz/tests/fuzz/${target}_fuzz corpus=tests/fuzz/corpus/$target found=build/fuzz/found/$target
    [ -x "$exe" ] || die "no such target: $target (./dev fuzz lists them)"
    mkdir -p "$found" "$corpus"
    "$exe" -max_total_time=$((minutes * 60)) -timeout=10 -rss_limit_mb=2048 "$found" "$corpus" || die "it found something: see above"
    "$exe" -merge=1 "$corpus" "$found" >/dev/null 2>&1
    say "$(ls "$corpus" | wc -l) files in $corpus"
}
