cmd_fmt() {
    need clang-format
    git ls-files 'src/*.c' 'tests/*.c' 'bench/*.c' | xargs -r clang-format -i
}
