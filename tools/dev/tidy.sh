cmd_tidy() {
    need $PKGS_BUILD
    mkdir -p build
    /usr/bin/python3 tools/tidy.py
}
