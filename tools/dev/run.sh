# ./dev run: the main job on real input, on this machine, nothing needed before it.

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Takes the port users expect if it is free, else any.
listen() {
    if port_is_free "$1"; then echo "127.0.0.1:$1"; else
        say "port $1 is taken: using a free one"
        echo 127.0.0.1:0
    fi
}

cmd_run() {
    local once=0 line kafka infer status=0
    case ${1:-} in --once) once=1 ;; '') ;; *) die "run: unknown option $1 (--once)" ;; esac
    need $PKGS_RUN bsdextrautils
    mkdir -p build/run
    build release
    say "starting millrace (data in build/run)"
    coproc SERVER { exec build/millrace serve --data build/run/data --kafka-listen "$(listen 9092)" \
        --infer-listen "$(listen 9000)" 2>>build/run/millrace.log; }
    trap 'kill "$SERVER_PID" 2>/dev/null; wait "$SERVER_PID" 2>/dev/null' EXIT
    read -r -t 30 line <&"${SERVER[0]}" || { tail -5 build/run/millrace.log >&2; die "millrace did not start (build/run/millrace.log)"; }
    echo "$line"
    kafka=$(sed -n 's/.*kafka=\([^ ]*\).*/\1/p' <<<"$line") infer=$(sed -n 's/.*infer=\([^ ]*\).*/\1/p' <<<"$line")
    samples/demo.sh build/millrace "$infer" "$kafka" $([ $once = 1 ] || echo "${line##*pid=}") || status=$?
    [ $status = 0 ] || say "the demonstration failed (build/run/millrace.log)"
    if [ $once = 0 ] && [ $status = 0 ]; then
        say "serving until Ctrl-C"
        trap 'kill "$SERVER_PID" 2>/dev/null' INT TERM
        while kill -0 "$SERVER_PID" 2>/dev/null; do wait "$SERVER_PID" || true; done
    fi
    kill "$SERVER_PID" 2>/dev/null || true
    wait "$SERVER_PID" 2>/dev/null || true
    trap - EXIT
    return $status
}
