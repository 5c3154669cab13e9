# Edits a list of strings in a JSON object and leaves every other byte. The text comes in with an x behind it,
# so that its last line end is not lost. KEY names the list, VALUE the string; OP is one of
#   has       ends with 0 if it is there, with 1 if not
#   add       prints the text with it at the end of the list
#   cut       prints the text without it; the list stays, if only as []
#   withdraw  the same, but an empty list becomes what it was: STATE is list, null, or absent
#   state     prints list, null or absent
# What is not JSON is told on standard error, and ends with 2.
{ text = text (NR > 1 ? "\n" : "") $0 }

END {
    text = substr(text, 1, length(text) - 1)
    op = ENVIRON["OP"]; key = ENVIRON["KEY"]; wanted = ENVIRON["VALUE"]
    empty = text !~ /[^ \t\r\n]/
    members = 0
    if (!empty) read_object()
    here = 0
    for (i = 1; i <= members; i++) if (keys[i] == key) here = i # of two the last counts
    found = 0; count = 0
    if (here && value_of(here) != "null") read_list(value_begins[here])
    for (i = count; i > 0; i--) if (strings[i] == wanted) found = i
    if (op == "has") exit !found
    ORS = ""
    if (op == "state") print (!here ? "absent" : value_of(here) == "null" ? "null" : "list")
    else if (op == "add") print (found ? text : added("\"" wanted "\""))
    else print withdrawn()
}

function wrong(what,  before) {
    before = substr(text, 1, at - 1)
    print "line " gsub(/\n/, "", before) + 1 ": " what >"/dev/stderr"
    exit 2
}

function value_of(i) { return substr(text, value_begins[i], ends[i] - value_begins[i]) }

# --- reading --------------------------------------------------------------------------------------------------

function blanks() { while (at <= length(text) && index(" \t\r\n", substr(text, at, 1))) at++ }

function take(pattern,  rest) {
    rest = substr(text, at)
    if (!match(rest, "^(" pattern ")")) return ""
    at += RLENGTH
    return substr(rest, 1, RLENGTH)
}

function string(  raw) {
    raw = take("\"([^\"\\\\\001-\037]|\\\\([\"\\\\/bfnrt]|u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F]))*\"")
    if (raw == "") wrong("a string in double quotes is expected")
    return raw
}

function expect(character) {
    if (substr(text, at, 1) != character) wrong(character " is expected")
    at++
}

function value(  first) {
    first = substr(text, at, 1)
    if (first == "{" || first == "[") inside(first == "{")
    else if (first == "\"") string()
    else if (take("-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?|true|false|null") == "") wrong("no JSON value")
}

function inside(keyed,  close_) { # an object or a list, at its bracket
    close_ = keyed ? "}" : "]"
    at++
    blanks()
    if (substr(text, at, 1) == close_) { at++; return }
    while (1) {
        if (keyed) { string(); blanks(); expect(":"); blanks() }
        value()
        blanks()
        if (substr(text, at, 1) == close_) { at++; return }
        expect(",")
        blanks()
    }
}

function read_object(  start) {
    at = 1
    blanks()
    start = at
    if (substr(text, at, 1) != "{") wrong("it must be an object: { ... }")
    value()
    blanks()
    if (at <= length(text)) wrong("something stands behind the object")
    at = start + 1
    for (blanks(); substr(text, at, 1) != "}"; blanks()) {
        if (substr(text, at, 1) == ",") { at++; blanks() }
        begins[++members] = at
        keys[members] = decoded(string())
        blanks(); at++; blanks()
        value_begins[members] = at
        value()
        ends[members] = at
    }
}

function read_list(start) {
    at = start
    if (substr(text, at, 1) != "[") wrong(key " must be a list of strings")
    at++
    for (blanks(); substr(text, at, 1) != "]"; blanks()) {
        if (substr(text, at, 1) == ",") { at++; blanks() }
        if (substr(text, at, 1) != "\"") wrong(key " must be a list of strings")
        string_begins[++count] = at
        strings[count] = decoded(string())
        string_ends[count] = at
    }
}

function decoded(raw,  out, code) { # enough to compare with keys and addresses, which are ASCII
    raw = substr(raw, 2, length(raw) - 2)
    while (match(raw, /\\./)) {
        out = out substr(raw, 1, RSTART - 1)
        code = substr(raw, RSTART + 1, 1)
        raw = substr(raw, RSTART + 2)
        if (code == "u") {
            code = number(substr(raw, 1, 4))
            raw = substr(raw, 5)
            out = out (code > 31 && code < 127 ? sprintf("%c", code) : "\001")
        } else out = out (index("\"\\/", code) ? code : "\001")
    }
    return out raw
}

function number(hex,  i, n) {
    for (i = 1; i <= length(hex); i++) n = n * 16 + index("0123456789abcdef", tolower(substr(hex, i, 1))) - 1
    return n
}

# --- writing --------------------------------------------------------------------------------------------------

function before(position) { return substr(text, 1, position - 1) }

function after(position) { return substr(text, position) }

function blanks_before(position,  start) {
    for (start = position; index(" \t\r\n", substr(text, start - 1, 1)); start--) continue
    return substr(text, start, position - start)
}

function added(quoted,  member, space, start, rest) {
    member = "\"" key "\": [" quoted "]"
    if (empty) return "{\n  " member "\n}\n"
    if (!members) {
        start = index(text, "{") + 1
        rest = after(start)
        sub(/^[ \t\r\n]+/, "", rest)
        return before(start) "\n  " member "\n" rest
    }
    if (!here) {
        start = index(text, "{") + 1
        space = substr(text, start, begins[1] - start)
        if (space == "" && index(text, ", ")) space = " "
        return before(ends[members]) "," space member after(ends[members])
    }
    if (value_of(here) == "null") return before(value_begins[here]) "[" quoted "]" after(ends[here])
    if (!count) return before(value_begins[here] + 1) quoted after(value_begins[here] + 1)
    if (count > 1) space = blanks_before(string_begins[count])
    else space = substr(text, value_begins[here] + 1, string_begins[1] - value_begins[here] - 1)
    if (space == "") space = count > 1 ? "" : " "
    return before(string_ends[count]) "," space quoted after(string_ends[count])
}

function withdrawn() {
    if (op == "withdraw" && here && count <= (found > 0)) {
        if (ENVIRON["STATE"] == "null") return before(value_begins[here]) "null" after(ends[here])
        if (ENVIRON["STATE"] == "absent") return without_member()
    }
    if (!found) return text
    if (found > 1) return before(string_ends[found - 1]) after(string_ends[found])
    if (count > 1) return before(string_begins[1]) after(string_begins[2])
    return before(string_begins[1]) after(string_ends[1])
}

function without_member(  last) {
    last = length(text)
    while (substr(text, last, 1) != "}") last--
    if (members == 1) return before(index(text, "{") + 1) after(last)
    if (here > 1) return before(ends[here - 1]) after(ends[here])
    return before(begins[1]) after(begins[2])
}
