# ./dev sbom [FILE]: the SPDX document of the built program (build/millrace.spdx.json).

cmd_sbom() {
    need $PKGS_BUILD binutils
    mkdir -p build
    build release millrace
    /usr/bin/python3 tools/sbom.py build/millrace "${1:-build/millrace.spdx.json}"
}
