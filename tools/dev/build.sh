cmd_build() {
    need $PKGS_BUILD
    case ${1:-release} in fuzz) need clang libclang-rt-14-dev ;; esac
    mkdir -p build
    build "${1:-release}"
}
