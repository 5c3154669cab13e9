# --- podman, containerd, buildkit, k3s, system ----------------------------------------------------------------

has_podman() {
    command -v podman >/dev/null 2>&1 || command -v buildah >/dev/null 2>&1 || command -v skopeo >/dev/null 2>&1
}

podman_file() {
    if [ "$scheme" = https ]; then
        printf '%s' "$containers/certs.d/$address/ca.crt"
    else
        printf '%s' "$containers/registries.conf.d/50-regsetup-$slug.conf"
    fi
}

podman_content() { if [ "$scheme" = https ]; then ca; else drop_in; fi; }

install_podman() { podman_content | put "$(podman_file)"; }

status_podman() { podman_content | cmp -s - "$(podman_file)"; }

has_containerd() {
    if [ "$person" = yes ]; then [ -d "$containerd" ]; else command -v containerd >/dev/null 2>&1; fi
}

find_hosts() { # where the CRI plugin looks, if config.toml says so, else where the others look
    config_path=$(content "$containerd/config.toml" | sed -n "s/^[[:space:]]*config_path *= *[\"']\([^\"':]*\).*/\1/p" | head -n 1)
    hosts=${config_path:+$ROOT$config_path}
    hosts=${hosts:-$containerd/certs.d}/$address
}

install_containerd() {
    find_hosts
    if [ "$scheme" = https ]; then ca | put "$hosts/ca.crt"; fi
    hosts_toml | put "$hosts/hosts.toml"
    [ -n "$config_path" ] ||
        say "  to do  Kubernetes' containerd looks there only with config_path = \"$containerd/certs.d\" in config.toml"
}

status_containerd() {
    find_hosts
    if [ "$scheme" = https ]; then ca | cmp -s - "$hosts/ca.crt" || return; fi
    hosts_toml | cmp -s - "$hosts/hosts.toml"
}

has_buildkit() { command -v buildkitd >/dev/null 2>&1 || [ -d "$buildkit" ]; }

buildkit_piece() { # the table in buildkitd.toml; $() takes its last line end away
    if [ "$scheme" = https ]; then
        printf '\n# written by regsetup\n[registry."%s"]\n  ca = ["%s"]' "$address" "$(buildkit_ca)"
    else
        printf '\n# written by regsetup\n[registry."%s"]\n  http = true' "$address"
    fi
}

buildkit_ca() { printf '%s' "${buildkit#"$ROOT"}/certs/regsetup-$slug.crt"; }

install_buildkit() {
    PIECE=$(buildkit_piece)
    export PIECE
    merge "$buildkit/buildkitd.toml" append "$PIECE" "$PIECE" || return 0
    if [ "$scheme" = https ]; then ca | put "$ROOT$(buildkit_ca)"; fi
    if [ "$person" = yes ]; then user=--user; else user=; fi
    say "  to do  buildkitd reads it when it starts: systemctl ${user:+$user }restart buildkit"
}

status_buildkit() {
    if [ "$scheme" = https ]; then ca | cmp -s - "$ROOT$(buildkit_ca)" || return; fi
    content "$buildkit/buildkitd.toml" | PIECE=$(buildkit_piece) edit "$lines_awk" holds
}

has_k3s() { command -v k3s >/dev/null 2>&1 || [ -d "$k3s" ]; }

k3s_ca() { printf '%s' "${k3s#"$ROOT"}/regsetup-$slug.crt"; }

k3s_values() { # what is to stand in registries.yaml
    URL=$scheme://$address CA_FILE=
    if [ "$scheme" = https ]; then CA_FILE=$(k3s_ca); fi
    export URL CA_FILE
}

install_k3s() {
    k3s_values
    pieces=$(content "$k3s/registries.yaml" | edit "$lines_awk" pieces 2>/dev/null) || pieces=
    merge "$k3s/registries.yaml" merge "$pieces" "$(edit "$lines_awk" merge </dev/null)" || return 0
    if [ "$scheme" = https ]; then ca | put "$ROOT$(k3s_ca)"; fi
    say "  to do  k3s reads it when it starts: systemctl restart k3s"
}

status_k3s() {
    k3s_values
    if [ "$scheme" = https ]; then ca | cmp -s - "$ROOT$(k3s_ca)" || return; fi
    content "$k3s/registries.yaml" | edit "$lines_awk" merge 2>/dev/null | cmp -s - "$k3s/registries.yaml"
}

merge() { # merge FILE OPERATION PIECES BY_HAND: puts our lines among those of others
    make_ledger
    merged=$ledger/merged
    if content "$1" | edit "$lines_awk" "$2" >"$merged" 2>"$merged.why"; then
        if ! same "$1" "$merged"; then
            printf '%s\n' "$3" >"$(note_of "$1").added"
            put "$1" <"$merged"
        fi
        rm -f "$merged" "$merged.why"
        return
    fi
    left "$1 can't be edited: $(cat "$merged.why")" "add by hand, then restart what reads it:
$4"
    rm -f "$merged" "$merged.why"
    return 1
}

has_system() { [ "$scheme" = https ] && system_directory >/dev/null; }

system_directory() {
    if command -v update-ca-certificates >/dev/null 2>&1; then
        printf '%s' "$ROOT/usr/local/share/ca-certificates"
    elif command -v update-ca-trust >/dev/null 2>&1; then
        printf '%s' "$ROOT/etc/pki/ca-trust/source/anchors"
    else
        return 1
    fi
}

install_system() {
    [ "$scheme" = https ] || return 0
    directory=$(system_directory) || {
        left "no CA store that this script knows" "install ca-certificates"
        return
    }
    ca | put "$directory/regsetup-$slug.crt"
    rebuild_system
}

rebuild_system() {
    [ -z "$ROOT" ] || return 0
    if command -v update-ca-certificates >/dev/null 2>&1; then
        gone=$(gone_from_system)
        update-ca-certificates --fresh </dev/null >/dev/null
        # with --fresh its hooks, such as Java's, never hear of what stays away
        for hook in ${gone:+$(run-parts --test /etc/ca-certificates/update.d 2>/dev/null)}; do
            printf '%s\n' "$gone" | "$hook" >/dev/null || say "  to do  $hook failed: its store may have the CA still"
        done
    else
        update-ca-trust extract </dev/null
    fi
}

# The store's links whose CA was removed, as hooks of update-ca-certificates(8) want them.
gone_from_system() {
    for link in /etc/ssl/certs/regsetup-*.pem; do
        if [ -L "$link" ] && [ ! -e "$link" ]; then printf -- '-%s\n' "$link"; fi
    done
}

status_system() {
    directory=$(system_directory) || return
    ca | cmp -s - "$directory/regsetup-$slug.crt"
}
