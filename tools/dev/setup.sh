cmd_setup() {
    if [ "${1:-}" = all ]; then need $PKGS_CI; else need $PKGS_BUILD; fi
    say "packages are there"
}
