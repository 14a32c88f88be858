cmd_sim() {
    local seeds=200
    case ${1:-} in --seeds) seeds=${2:?./dev sim --seeds N} ;; '') ;; *) die "sim: unknown option $1 (--seeds N)" ;; esac
    need $PKGS_BUILD
    mkdir -p build
    build release
    SEEDS=$seeds meson test -C build/release --no-rebuild --print-errorlogs --suite crash --timeout-multiplier 0
}
