# Edits buildkitd.toml and k3s' registries.yaml as text. It comes in with an x behind it, so that its last line
# end is not lost. ADDRESS is the registry's; OP is one of
#   append  prints TOML with PIECE at its end
#   merge   prints YAML with ADDRESS below "mirrors", at URL, and below "configs" with CA_FILE if there is one
#   pieces  prints what merge adds, line by line
#   holds   ends with 0 if PIECE stands in the text, with 1 if not
#   cut     prints the text without PIECE
#   unmerge prints YAML without the lines in PIECE; a section among them goes only if nobody uses it
# What can't be edited safely is told on standard error, and ends with 2.
{ text = text (NR > 1 ? "\n" : "") $0 }

END {
    text = substr(text, 1, length(text) - 1)
    op = ENVIRON["OP"]; address = ENVIRON["ADDRESS"]; piece = ENVIRON["PIECE"] "\n"
    ORS = ""
    if (op == "holds") exit !index(text, piece)
    if (op == "append") print appended()
    if (op == "cut") print without(piece)
    if (op == "unmerge") print unmerged()
    if (op == "merge" || op == "pieces") {
        look_at_yaml()
        put_below("mirrors", "{\"endpoint\": [\"" ENVIRON["URL"] "\"]}")
        if (ENVIRON["CA_FILE"] != "") put_below("configs", "{\"tls\": {\"ca_file\": \"" ENVIRON["CA_FILE"] "\"}}")
        print (op == "merge" ? text : pieces)
    }
}

function wrong(what) {
    print what >"/dev/stderr"
    exit 2
}

function ended() { return text == "" || substr(text, length(text)) == "\n" }

function without(what,  start) {
    start = index("\n" text, "\n" what)
    if (what ~ /^\n/) start = index(text, what)
    if (!start) wrong("what was put there can't be found any more")
    return substr(text, 1, start - 1) substr(text, start + length(what))
}

function quoted(line) { return index(line, "\"" address "\"") ? 1 : index(line, "'" address "'") }

function appended(  lines, n, i, line) {
    if (index(text, piece)) return text
    n = split(text, lines, "\n")
    for (i = 1; i <= n; i++) {
        line = lines[i]
        sub(/^[ \t]+/, "", line)
        if (line ~ /^\[/ && quoted(line) || substr(line, 2, length(address)) == address && quoted(line) == 1)
            wrong("it has settings for " address " already")
        if (line ~ /^["']?registry["']?[ \t]*[.=]/) wrong("its registries are not tables of their own")
    }
    return text (ended() ? "" : "\n") piece
}

# --- YAML -----------------------------------------------------------------------------------------------------

function look_at_yaml(  lines, n, i, line) { # only what is surely a mapping in block style is edited
    n = split(text, lines, "\n")
    for (i = 1; i <= n; i++) {
        line = lines[i]
        sub(/\r$/, "", line)
        if (line ~ /^[ \t]*(#.*)?$/ || line ~ /^ +[^ \t]/) continue
        if (line == "---" && i == 1) continue
        if (line !~ /^[A-Za-z_][-A-Za-z_0-9]*:([ \t]|$)/) wrong("line " i " is not in block style")
        if (line ~ /^(mirrors|configs):/ && line !~ /^[a-z]+:[ \t]*(#.*)?$/) wrong("line " i " is not in block style")
    }
    if (text ~ /\t/) wrong("it has tabs")
}

function put_below(section, value,  start, indent, entry, line, rest) {
    rest = "\n" text
    if (match(rest, "\n" section ":[ \t]*(#[^\n]*)?\r?\n")) {
        start = RSTART + RLENGTH - 1 # of the line below it
    } else if (match(rest, "\n" section ":[ \t]*(#[^\n]*)?\r?$")) {
        wrong("its last line has no end")
    } else {
        text = text (ended() ? "" : "\n") section ":\n"
        pieces = pieces section ":\n"
        start = length(text) + 1
    }
    entry = first_entry(start)
    indent = entry
    sub(/[^ ].*/, "", indent)
    if (indent == "") indent = "  "
    else if (substr(entry, length(indent) + 1) ~ /^[-{[&*!|>?]/) wrong("below " section " it is not in block style")
    line = indent "\"" address "\": " value "\n"
    pieces = pieces line
    if (index(text, "\n" line)) return
    if (has_entry(start, length(indent))) wrong("it has settings for " address " already")
    text = substr(text, 1, start - 1) line substr(text, start)
}

function first_entry(start,  lines, n, i) { # the first line below a section that is no comment
    n = split(substr(text, start), lines, "\n")
    for (i = 1; i <= n; i++) if (lines[i] !~ /^[ \t\r]*(#.*)?$/) return lines[i]
    return ""
}

function has_entry(start, width,  lines, n, i, key) { # whether a section names the address
    n = split(substr(text, start), lines, "\n")
    for (i = 1; i <= n && lines[i] !~ /^[^ #\r]/; i++) {
        key = substr(lines[i], width + 1)
        if (index(key, "\"" address "\"") == 1 || index(key, "'" address "'") == 1) return 1
        if (index(key, address ":") == 1) return 1
    }
    return 0
}

function unmerged(  lines, n, i) {
    n = split(piece, lines, "\n")
    for (i = 1; i <= n; i++) if (lines[i] ~ /^ /) text = without(lines[i] "\n")
    for (i = 1; i <= n; i++) if (lines[i] ~ /^[a-z]/ && is_empty(lines[i])) text = without(lines[i] "\n")
    return text
}

function is_empty(head,  start) {
    start = index("\n" text, "\n" head "\n")
    return start && first_entry(start + length(head) + 1) !~ /^ /
}
