# ./dev test [NAME…]: quick suites first. Without names: everything that fits in ten minutes on two cores.

cmd_test() {
    need $PKGS_TEST
    mkdir -p build
    if [ "${1:-}" = diff ]; then
        shift
        . tools/dev/diff.sh
        cmd_diff "$@"
        verdict
        return
    fi
    build release
    if [ "${1:-}" = compat ]; then
        shift
        . tools/dev/compat.sh
        compat "$@"
    elif [ $# -gt 0 ]; then
        local names=() files=() n
        for n in "$@"; do
            if compgen -G "tests/e2e/test_*$n*.py" >/dev/null; then files+=(tests/e2e/test_*"$n"*.py); else names+=("$n"); fi
        done
        [ ${#names[@]} = 0 ] || for n in "${names[@]}"; do meson_suite build/release --suite "$n"; done
        [ ${#files[@]} = 0 ] || { venv venv tests/e2e/requirements.txt; pytest_suite venv "${files[@]}"; }
    else
        meson_suite build/release
        venv venv tests/e2e/requirements.txt
        # Most of their time is waiting for something to be noticed: two files side by side.
        pytest_suite venv -n 2 --dist loadfile tests/e2e --ignore=tests/e2e/slow --ignore=tests/e2e/full
    fi
    verdict
}
