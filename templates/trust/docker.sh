# --- docker ---------------------------------------------------------------------------------------------------

has_docker() {
    if [ "$person" = yes ]; then [ -n "$rootless" ] || [ -d "$docker_etc" ]; return; fi
    command -v dockerd >/dev/null 2>&1 || [ -d "$docker_etc" ]
}

rootless_dockerd() { # prints the process id of this person's own dockerd
    user=$(id -u)
    for process in /proc/[0-9]*; do
        name=
        { read -r name <"$process/comm"; } 2>/dev/null || continue
        if [ "$name" = dockerd ] && grep -q "^Uid:[[:space:]]*${user}[[:space:]]" "$process/status"; then
            printf '%s' "${process#/proc/}"
            return
        fi
    done
}

environment_of() { # environment_of PID VARIABLE DEFAULT: what a process has in its environment
    found=$(tr '\0' '\n' <"/proc/$1/environ" 2>/dev/null | grep "^$2=" | tail -n 1) || found=
    found=${found#*=}
    printf '%s' "${found:-$3}"
}

dockerd_pid() { # prints the engine's process id, if it runs
    if [ -n "$rootless" ]; then
        printf '%s' "$rootless"
        return
    fi
    [ -s "$pidfile" ] || return 1
    kill -0 "$(cat "$pidfile")" 2>/dev/null || return 1
    cat "$pidfile"
}

dockerd_flags() { tr '\0' '\n' 2>/dev/null <"/proc/$(dockerd_pid)/cmdline"; }

find_docker() { # where the engine reads its settings
    daemon_json=$docker_etc/daemon.json
    if [ -z "$ROOT" ] && dockerd_pid >/dev/null; then
        named=$(dockerd_flags | awk 'sub(/^--config-file=/, "") || last == "--config-file" { print } { last = $0 }')
        daemon_json=${named:-$daemon_json}
    fi
}

engine_lists() { # engine_lists ENTRIES any|all: what is named there is known to dockerd
    known=$(docker info --format '{{ '{{json .RegistryConfig}}' }}' </dev/null 2>/dev/null) || return 1
    found=0 wanted=0
    while read -r key value; do
        wanted=$((wanted + 1))
        if [ "$key" = registry-mirrors ]; then value=$value/\"; else value=$value\":; fi
        case $known in *"\"$value"*) found=$((found + 1)) ;; esac
    done <"$1"
    if [ "$2" = all ]; then [ "$found" = "$wanted" ]; else [ "$found" != 0 ]; fi
}

follows() { # follows ENTRIES yes|no: whether dockerd does as daemon.json says after install, or after remove
    if [ "$2" = yes ]; then engine_lists "$1" all; return; fi
    if engine_lists "$1" any; then return 1; fi
}

stops() { # prints what a restart of the engine would stop
    if docker info --format '{{ '{{.LiveRestoreEnabled}}' }}' </dev/null 2>/dev/null | grep -q true; then return; fi
    docker ps --format '{{ '{{.Names}}' }}' </dev/null 2>/dev/null | tr '\n' ' '
}

restart_command() {
    if [ -n "$rootless" ]; then echo "systemctl --user restart docker"
    elif [ -d /run/systemd/system ]; then echo "sudo systemctl restart docker"
    else echo "sudo service docker restart"; fi
}

reload() { # reload ENTRIES yes|no: makes dockerd read daemon.json; it must know the entries afterwards, or not
    if [ "$desktop" = yes ]; then
        say "  to do  Docker Desktop > Settings > Docker Engine > Apply & restart"
        return
    fi
    pid=$(dockerd_pid) || return 0
    since=$(date +%s)
    kill -HUP "$pid"
    for _ in 1 2 3 4 5; do
        if follows "$1" "$2"; then
            say "docker: reloaded (SIGHUP to dockerd, process $pid); its containers were left alone"
            return
        fi
        sleep 1
    done
    if [ "$2" = yes ] && refused "$since"; then
        become "$daemon_json" "$(note_of "$daemon_json").before"
        left "dockerd did not accept $daemon_json; it is as it was before" "look at dockerd's log"
        return
    fi
    would_stop=$(stops)
    left "dockerd has not taken $daemon_json" "$(restart_command)${would_stop:+ (stops $would_stop)}"
}

refused() { # refused SINCE: dockerd answers, and did not report a reload
    docker info </dev/null >/dev/null 2>&1 || return 1
    reported=$(docker events --since "$1" --until "$(date +%s)" --filter event=reload </dev/null 2>/dev/null) || return 1
    [ -z "$reported" ]
}

accepts() { # accepts FILE: dockerd would start from it; engines before 23 can't be asked
    if [ -n "$ROOT" ] || [ "$desktop" = yes ]; then return; fi
    if told=$(dockerd --validate --config-file "$1" 2>&1 </dev/null); then return; fi
    case $told in
        *"unable to configure the Docker daemon"* | *"onfiguration"*) say "$told" ;;
        *) return 0 ;;
    esac
    return 1
}

install_docker() {
    if [ "$scheme" = https ]; then
        ca | put "$docker_etc/certs.d/$address/ca.crt"
        if [ "$desktop" = yes ]; then say "  to do  Docker Desktop > Restart"; fi
    fi
    install_entries "$(plain_entry; mirror_entry)"
}

install_docker_mirror() { install_entries "$(mirror_entry)"; }

plain_entry() { if [ "$scheme" = http ]; then echo "insecure-registries $address"; fi; }

mirror_entry() { if [ -n "$mirror" ]; then echo "registry-mirrors $mirror"; fi; }

flag_in_the_way() { # flag_in_the_way ENTRIES: prints a flag of dockerd that sets the same
    pattern=$(sed 's/ .*//; s/^insecure-registries$/--insecure-registry/; s/^registry-mirrors$/--registry-mirror/' "$1")
    if dockerd_pid >/dev/null && dockerd_flags | grep -o -e "$pattern"; then return; fi
    [ -z "$ROOT" ] && [ "$person" = no ] || return 1
    {
        systemctl cat docker.service 2>/dev/null </dev/null
        content /etc/default/docker
        content /etc/conf.d/docker
        content /etc/sysconfig/docker
    } | grep -v '^[[:space:]]*[#;]' | grep -o -e "$pattern"
}

install_entries() { # install_entries ENTRIES: a key and a value a line
    [ -n "$1" ] || return 0
    find_docker
    make_ledger
    entries=$ledger/entries
    printf '%s\n' "$1" >"$entries"
    if add_entries; then reload "$entries.all" yes; fi
    rm -f "$entries" "$entries".*
}

add_entries() { # fails if there is nothing to reload
    cp "$entries" "$entries.all"
    candidate=$entries.json
    content "$daemon_json" >"$candidate"
    : >"$entries.new"
    while read -r key value; do
        if json has "$key" "$value" <"$candidate" 2>"$entries.why"; then continue; fi
        if ! json add "$key" "$value" <"$candidate" >"$entries.next" 2>"$entries.why"; then
            left "$daemon_json can't be read; it stays as it is: $(cat "$entries.why")" "mend it, then run this again"
            return 1
        fi
        mv -f "$entries.next" "$candidate"
        printf '%s %s\n' "$key" "$value" >>"$entries.new"
    done <"$entries"
    if dockerd_pid >/dev/null && engine_lists "$entries" all; then
        if [ ! -s "$entries.new" ]; then return 1; fi
        if flag_in_the_way "$entries.new" >/dev/null; then # else dockerd only remembers what others took out
            say "docker: does so for $address already"
            return 1
        fi
    fi
    if [ ! -s "$entries.new" ]; then return; fi
    if flag=$(flag_in_the_way "$entries.new"); then
        left "dockerd gets $flag by a flag, on its command line or in its unit; both would keep it from starting" \
            "add it there: $address $mirror, and restart Docker"
        return 1
    fi
    if ! accepts "$candidate"; then
        left "dockerd would not start with $address in $daemon_json; it stays as it is" "mend it, then run this again"
        return 1
    fi
    note=$(note_of "$daemon_json")
    if [ -e "$note.added" ]; then cat "$entries.new" >>"$note.added"; else cp "$entries.new" "$note.added"; fi
    put "$daemon_json" <"$candidate"
}

let_go() { # let_go FILE NOTE: an engine lets go of an entry only if it reads the list without it, if only as []
    find_docker
    if [ "$1" != "$daemon_json" ] || [ ! -d "${1%/*}" ] || ! dockerd_pid >/dev/null; then return 0; fi
    if [ ! -e "$1" ] || same "$1" "$2.before"; then
        engine_lists "$2.added" any || return 0 # others took it out, and dockerd may remember it
    fi
    content "$1" >"$2.without"
    for operation in add cut; do # the list must stand there, if only as []
        change "$2.without" "$operation" "$2.added" "$2"
    done
    replace "$1" <"$2.without"
    reload "$2.added" no
}

status_docker() {
    find_docker
    if [ "$scheme" = https ]; then
        ca | cmp -s - "$docker_etc/certs.d/$address/ca.crt" || return 1
    fi
    has_entries "$(plain_entry; mirror_entry)"
}

status_docker_mirror() {
    find_docker
    has_entries "$(mirror_entry)"
}

has_entries() {
    [ -n "$1" ] || return 0
    printf '%s\n' "$1" | while read -r key value; do
        content "$daemon_json" | json has "$key" "$value" 2>/dev/null || exit 1
    done
}
