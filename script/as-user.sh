# `script/test as-user`: tests in a copy of this tree, by an ordinary user made for it; sourced by script/test.
# shellcheck shell=sh

# What differs for an ordinary user: where state and sockets lie, who may what, the sandbox without root, and the pages,
# which are written for one.
AS_USER_PART='tests/docs/test_blocks.py tests/unit/test_paths.py tests/unit/test_ownership.py tests/unit/test_starting.py
    tests/cli/test_denied.py tests/daemon/test_access.py tests/daemon/test_check.py tests/daemon/test_commands.py
    tests/sandbox/process/test_lifecycle.py plugins/transport_local'
# A full disk is told in another way where output is not buffered.
UNBUFFERED_PART='tests/unit/test_output_file.py tests/unit/test_standard_streams.py tests/cli/test_cli_interrupted.py'

# Run pytest with the arguments given, or else on what differs for an ordinary user. Return 0 where root cannot make a
# user, or the user cannot run Python in a copy of this tree, and say so.
test_as_user() {
    [ "$(id -u)" -eq 0 ] || die 'script/test as-user needs root, to make a user; as an ordinary user: script/test'
    for tool in useradd userdel runuser unshare; do
        command -v "$tool" >/dev/null || {
            echo "not tested as an ordinary user, for want of $tool"
            return 0
        }
    done
    user=plasm-test-$$
    made=
    copy=$(mktemp -d /var/tmp/plasm-as-user.XXXXXX)
    trap 'forget_user' EXIT
    trap 'exit 1' HUP INT PIPE TERM
    # Only the user that this command makes is removed afterwards: another one may have the name.
    useradd --no-create-home --home-dir "$copy/home" --shell /bin/sh --user-group "$user" >"$copy/said" 2>&1 || {
        echo "not tested as an ordinary user, since none can be made: $(cat "$copy/said")"
        return 0
    }
    # In a container that shares the host's processes, a user of the host may have the same number.
    [ -z "$(user_processes)" ] || {
        userdel "$user"
        echo "not tested as an ordinary user, since another user has the number of the one that was made"
        return 0
    }
    made=yes
    copy_tree
    as_user python -c 'import pytest, plasm_core' >"$copy/said" 2>&1 || {
        echo "not tested as an ordinary user, who cannot run Python in a copy of this tree: $(tail -n 3 "$copy/said")"
        return 0
    }
    if [ $# -gt 0 ]; then
        as_user python -m pytest "$@"
        return
    fi
    # shellcheck disable=SC2086
    as_user python -m pytest -q -n "$(at_once)" --dist loadfile $AS_USER_PART $UNBUFFERED_PART
    # shellcheck disable=SC2086
    PYTHONUNBUFFERED=1 as_user python -m pytest -q $UNBUFFERED_PART
    printf '\nall passed, of what differs for an ordinary user\n'
}

# Run a command as the user, in its copy, with nothing of root's environment but what says how the tests are to run.
as_user() {
    # shellcheck disable=SC2016
    unshare --mount sh -euc "$IN_NAMESPACE" sh "$copy" "$(base_of_python)" \
        runuser -u "$user" -- env -i HOME="$copy/home" USER="$user" LOGNAME="$user" LANG=C.UTF-8 SHELL=/bin/sh \
        PATH="$copy/plasm/.venv/bin:/usr/local/bin:/usr/bin:/bin" ${CI:+CI="$CI"} \
        ${PYTHONUNBUFFERED:+PYTHONUNBUFFERED="$PYTHONUNBUFFERED"} "$@"
}

# In a mount namespace of its own: a /tmp that goes with the user, and the interpreter, where only root can reach it
# (as below /root). Whatever else root keeps in such a directory is out of sight.
IN_NAMESPACE='
mount --make-rprivate /
copy=$1 base=$2
shift 2
mount --bind "$copy/tmp" /tmp
closed=
above=$base
while [ "$above" != / ]; do
    case $(stat -c %A "$above") in *[xt]) ;; *) closed=$above ;; esac
    above=$(dirname "$above")
done
if [ -n "$closed" ]; then
    mkdir -p "$copy/open${base#"$closed"}"
    mount --bind "$base" "$copy/open${base#"$closed"}"
    mount --rbind "$copy/open" "$closed"
fi
cd "$copy/plasm"
exec "$@" </dev/null
'

base_of_python() {
    python -c 'import os, sys; print(os.path.realpath(sys.base_prefix))'
}

# Copy what a clone has, with changes not committed yet. Where there is no git, or no clone, copy everything.
copy_sources() {
    # The checkout may belong to another user than root.
    if git -c safe.directory="$root" ls-files -z --cached --others --exclude-standard >"$copy/listed" 2>/dev/null &&
        tr '\0' '\n' <"$copy/listed" | grep -qx pyproject.toml; then
        tar c --null --files-from="$copy/listed" --ignore-failed-read 2>/dev/null | tar x -C "$copy/plasm"
    else
        tar c --exclude=./.git --exclude=./.venv . | tar x -C "$copy/plasm"
    fi
}

# Copy the sources, and the environment that script/test made here.
copy_tree() {
    umask 022
    chmod 755 "$copy"
    mkdir "$copy/plasm" "$copy/home" "$copy/open"
    mkdir -m 1777 "$copy/tmp"
    copy_sources
    # Another interpreter than the one of .venv, below root's home, is not there.
    tar c --exclude=./.venv/wasmer ./.venv | tar x -C "$copy/plasm"
    find "$copy/plasm/.venv" -maxdepth 5 \( -path '*/bin/*' -o -name pyvenv.cfg -o -name 'installed*' -o -name '*.pth' \
        -o -name direct_url.json -o -name '__editable__*' \) -type f -exec grep -lIF "$root" {} + |
        xargs -r sed -i "s#$root#$copy/plasm#g"
    chown -R "$user:" "$copy/plasm" "$copy/home"
}

# Print the ids of the user's processes. ps may be missing, and root owns the files of a worker below /proc.
user_processes() {
    grep -ls "^Uid:[[:space:]]*$(id -u "$user")[[:space:]]" /proc/[0-9]*/status | cut -d / -f 3
}

# Remove the user, if it is ours, with every process that it left running, and the copy.
forget_user() {
    if [ -n "$made" ]; then
        # userdel refuses while one of them is there, and a killed process takes a while to end.
        for _ in 1 2 3 4 5 6 7 8 9 10; do
            left=$(user_processes)
            [ -n "$left" ] || break
            # shellcheck disable=SC2086
            kill -KILL $left 2>/dev/null || true
            sleep 1
        done
        userdel "$user" || echo "the user $user could not be removed" >&2
    fi
    rm -rf "$copy" || true
}
