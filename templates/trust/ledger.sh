# --- files: each is noted in the ledger before it is written --------------------------------------------------

say() { printf '%s\n' "$*" >&2; }

fail() {
    say "error: $*"
    exit 1
}

left() { # left WHAT TO_DO: something that a person must do
    by_hand=1
    say "$1"
    say "  fix    $2"
}

note_of() { # note_of FILE: where the ledger keeps what it knows of it
    printf '%s/%s' "$ledger" "$(printf '%s' "$1" | tr / _)"
}

same() { # same FILE FILE: of one content, or neither is there
    if [ -e "$1" ] && [ -e "$2" ]; then cmp -s "$1" "$2"; else [ ! -e "$1" ] && [ ! -e "$2" ]; fi
}

make_directory() { # make_directory DIRECTORY: with its parents, each noted if it is new
    [ -d "$1" ] && return
    make_directory "$(dirname "$1")"
    printf '%s\n' "$1" >>"$state/directories"
    mkdir "$1"
}

make_ledger() {
    [ -d "$ledger" ] && return
    new='' parent=$state
    while [ ! -d "$parent" ]; do
        new="$parent
$new"
        parent=$(dirname "$parent")
    done
    mkdir -p "$ledger"
    printf '%s' "$new" >>"$state/directories"
    echo "$scheme" >"$ledger/scheme"
}

replace() { # replace FILE: standard input becomes its content, in one step; mode and owner are kept
    if [ -L "$1" ]; then set -- "$(readlink -f "$1")"; fi
    temporary=$(dirname "$1")/.regsetup.$$
    if [ -e "$1" ]; then cp -p "$1" "$temporary"; else
        : >"$temporary"
        chmod 644 "$temporary"
    fi
    cat >"$temporary" || {
        rm -f "$temporary"
        fail "$1 can't be written"
    }
    mv -f "$temporary" "$1"
}

become() { # become FILE OTHER: FILE gets the content of OTHER, or goes with it
    if [ -L "$1" ]; then set -- "$(readlink -f "$1")" "$2"; fi
    rm -f "$(dirname "$1")"/.regsetup.* # of a run that was killed
    if [ -e "$2" ]; then replace "$1" <"$2"; else rm -f "$1"; fi
}

put() { # put FILE: standard input becomes the file
    make_ledger
    note=$(note_of "$1")
    cat >"$note.new" || fail "$note can't be written"
    if [ ! -e "$note.path" ] || ! without "$1" "$note" "$note.was"; then
        rm -f "$note.was"
        if [ -e "$1" ]; then cp -p "$1" "$note.was"; fi
    fi
    if [ -e "$note.was" ]; then mv -f "$note.was" "$note.before"; else rm -f "$note.before"; fi
    printf '%s\n' "$1" >"$note.path"
    mv -f "$note.new" "$note.after"
    make_directory "$(dirname "$1")"
    replace "$1" <"$note.after"
}

without() { # without FILE NOTE RESULT: what FILE is without what NOTE tells of; fails if that can't be told
    rm -f "$3"
    if same "$1" "$2.after" || same "$1" "$2.before"; then
        if [ -e "$2.before" ]; then cp -p "$2.before" "$3"; fi
        return
    fi
    if [ ! -e "$1" ]; then return; fi
    case $2 in
        *daemon.json) without_entries "$@" ;;
        *buildkitd.toml) PIECE=$(cat "$2.added") edit "$lines_awk" cut <"$1" >"$3" 2>/dev/null ;;
        *registries.yaml) PIECE=$(cat "$2.added") edit "$lines_awk" unmerge <"$1" >"$3" 2>/dev/null ;;
        *) return 1 ;;
    esac || {
        rm -f "$3"
        return 1
    }
    if [ ! -e "$2.before" ]; then
        if [ ! -s "$3" ]; then rm -f "$3"; fi # nobody else has put anything into it
    elif [ -n "$(tail -c 1 "$2.before")" ] && { cat "$2.before" && echo; } | cmp -s - "$3"; then
        cp -p "$2.before" "$3" # the end that we gave to its last line goes, too
    fi
}

take_back() { # take_back FILE: as it was before put
    note=$(note_of "$1")
    if ! without "$1" "$note" "$note.result"; then
        left "$1 was changed since, and stays" "look at it by hand; what was there before: $note.before"
        return
    fi
    rm -f "$note.with_us"
    if [ -e "$1" ]; then cp -p "$1" "$note.with_us"; fi
    case $note in *daemon.json) let_go "$1" "$note" ;; esac
    become "$1" "$note.result"
    for other in "$state"/*/"${note##*/}.path"; do
        if [ -e "$other" ] && [ "$other" != "$note.path" ]; then rebase "$1" "$note" "${other%.path}"; fi
    done
    rm -f "$note".*
    say "removed: $1"
}

rebase() { # rebase FILE NOTE OTHER: the note of another registry for the same file, now that NOTE's edit is gone
    if [ -e "$1" ] && same "$2.with_us" "$3.after"; then cp -p "$1" "$3.after"; fi
    if [ -e "$3.before" ] && without "$3.before" "$2" "$2.base"; then
        if [ -e "$2.base" ]; then mv -f "$2.base" "$3.before"; else rm -f "$3.before"; fi
    fi
    case $2 in *registries.yaml) ;; *) return ;; esac
    grep '^[a-z]' "$2.added" | while read -r head; do # a section that we opened goes with the last who uses it
        grep -qxF "$head" "$3.added" || printf '%s\n' "$head" >>"$3.added"
    done
}

# --- text: edited by awk, everything else in the file stays as it is ------------------------------------------

edit() { # edit PROGRAM OPERATION: standard input with an x behind it, to keep its last line end
    { cat && printf 'x\n'; } | OP=$2 ADDRESS=$address awk "$1"
}

content() { if [ -e "$1" ]; then cat "$1"; fi; }

json() { # json OPERATION KEY VALUE: on standard input
    KEY=$2 VALUE=$3 edit "$json_awk" "$1"
}

without_entries() { # without_entries FILE NOTE RESULT: the same as without, for daemon.json
    content "$2.before" >"$3"
    for operation in add cut; do # a removal that was killed before its last step has cut, and no more
        change "$3" $operation "$2.added" "$2" || return
        if cmp -s "$1" "$3"; then
            rm -f "$3"
            if [ -e "$2.before" ]; then cp -p "$2.before" "$3"; fi
            return
        fi
    done
    cp -p "$1" "$3"
    change "$3" withdraw "$2.added" "$2"
}

change() { # change FILE OPERATION ENTRIES NOTE: does the operation with each entry, a key and a value a line
    while read -r key value; do
        STATE=$(content "$4.before" | json state "$key" '') || return
        export STATE
        json "$2" "$key" "$value" <"$1" >"$4.changed" || return
        mv -f "$4.changed" "$1"
    done <"$3"
}
