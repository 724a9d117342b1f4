# What script/demo and script/test share; sourced with $root set to the repository.
# shellcheck shell=sh

venv=${root:?}/.venv

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

# Run a command as root: as we are, or through sudo where that asks for nothing.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -n "$@"
    fi
}

can_be_root() {
    [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null
}

has_apt() {
    command -v apt-get >/dev/null && command -v dpkg >/dev/null
}

# Install Debian packages; a fresh container has no package lists, so fetch them first.
apt_install() {
    echo "installing $*"
    # Another installation may be under way, such as that of a fresh machine: wait for it.
    as_root apt-get update -qq -o DPkg::Lock::Timeout=300 </dev/null &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
            -o DPkg::Lock::Timeout=300 "$@" </dev/null >/dev/null
}

# Print the address of the archive that this system's apt reads packages of Debian or Ubuntu from: archive Debian.
# PLASM_DEBIAN_ARCHIVE and PLASM_UBUNTU_ARCHIVE name another, such as a mirror or the copy of a site without a network.
archive() {
    case $1 in
    Debian) named=${PLASM_DEBIAN_ARCHIVE:-} variable=PLASM_DEBIAN_ARCHIVE ;;
    Ubuntu) named=${PLASM_UBUNTU_ARCHIVE:-} variable=PLASM_UBUNTU_ARCHIVE ;;
    esac
    [ -n "$named" ] || named=$(known_archive "$1")
    if [ -z "$named" ]; then
        # apt learns an archive's origin when it reads its lists, and a fresh container has none.
        as_root apt-get update -qq </dev/null >&2 && named=$(known_archive "$1")
    fi
    [ -n "$named" ] || die "apt of this system reads no archive of $1: name one in $variable"
    printf '%s\n' "$named"
}

known_archive() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Origin: $1" "Label: $1" | head -n 1
}

# Print the command that installs Python here.
python_hint() {
    if has_apt; then
        echo 'sudo apt-get install python3 python3-venv'
    elif [ "$(uname)" = Darwin ]; then
        echo 'brew install python'
    else
        echo "your system's package of Python 3.10 or newer, with venv"
    fi
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# Set $python: $PYTHON if given, else the first that is new enough.
find_python() {
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.10 or newer"
        python=$PYTHON
        return
    fi
    for python in python3 python3.13 python3.12 python3.11 python3.10; do
        if is_new_enough "$python"; then
            return
        fi
    done
    if has_apt && command -v python3 >/dev/null; then
        die "Plasm needs Python 3.10 or newer, and python3 is $(python3 --version)." \
            'Debian before 12 and Ubuntu before 22.04 have no newer one. Install one otherwise, then name it:' \
            '    PYTHON=/path/to/python3.12 script/demo'
    fi
    die 'Plasm needs Python 3.10 or newer, and finds none. Install it, then run this again:' "    $(python_hint)"
}

# Debian packs venv and ensurepip apart from Python.
need_venv() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if ! has_apt || [ "$("$python" -c 'import sys; print(sys.base_prefix)')" != /usr ]; then
        die "$python lacks the modules venv and ensurepip. Install a Python that has them:" "    $(python_hint)"
    fi
    can_be_root || die "$python lacks the module ensurepip. Install it, then run this again:" \
        "    sudo apt-get install $package"
    apt_install "$package" || die "could not install $package; what apt-get said is above"
}

# gcc 14 and newer refuse the C of pywasm3 0.5, which returns pointers of another type than it declares.
allow_old_c() {
    CFLAGS="${CFLAGS:-} -Wno-error=incompatible-pointer-types"
    export CFLAGS
}

# A version and the place it is installed from: what tells one Python from another.
describe_python() {
    "$1" -c 'import sys; print(sys.version, sys.base_prefix)' 2>/dev/null
}

# Make .venv, unless there is one that works, was made here, and is of $PYTHON if that is given.
make_venv() {
    if is_new_enough "$venv/bin/python" && { [ ! -e "$venv/installed" ] || grep -qxF "$root" "$venv/installed"; }; then
        [ -n "${PYTHON:-}" ] || return 0
        [ "$(describe_python "$PYTHON")" != "$(describe_python "$venv/bin/python")" ] || return 0
    fi
    find_python
    need_venv
    echo "making .venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" || die "could not make $venv"
}

# What an installation depends on, a line each: the project, the Python, the place.
installation_key() {
    "$venv/bin/python" - "$root" <<'PYTHON'
import hashlib, pathlib, sys

root = pathlib.Path(sys.argv[1])
print(hashlib.sha256((root / "pyproject.toml").read_bytes()).hexdigest())
print(sys.version.split()[0])
print(root)
PYTHON
}

# Install Plasm into .venv, editable, with the extra named if any, and put it on the PATH.
install_plasm() {
    extra=${1:-}
    make_venv
    key=$(installation_key)
    stamp=$venv/installed${extra:+-$extra}
    if [ "$(cat "$stamp" 2>/dev/null)" != "$key" ]; then
        echo "installing Plasm into .venv${extra:+, with the extra $extra}"
        # A venv made by uv, or broken off half-way, has no pip.
        "$venv/bin/python" -c 'import pip' 2>/dev/null || "$venv/bin/python" -m ensurepip >/dev/null
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root${extra:+[$extra]}" ||
            die 'could not install Plasm; what pip said is above'
        printf '%s\n' "$key" >"$stamp"
        # An extra brings the base along.
        printf '%s\n' "$key" >"$venv/installed"
    fi
    PATH=$venv/bin:$PATH
    export PATH
}

# libp2p needs fastecdsa, which comes as source: it needs a C compiler, GMP and Python's headers.
install_libp2p() {
    python -c 'import libp2p, aioquic' 2>/dev/null && return
    if has_apt && can_be_root && [ "$(python -c 'import sys; print(sys.base_prefix)')" = /usr ]; then
        apt_install gcc libgmp-dev python3-dev || true
    fi
    if python -c 'import sys; sys.exit(sys.version_info < (3, 14))'; then
        echo 'no libp2p, which cannot be installed for Python 3.14: nothing of the network works.' \
            'Name an older Python, as in PYTHON=python3.13'
        return 1
    fi
    echo 'installing libp2p'
    python -m pip install --quiet --disable-pip-version-check -e "$root[libp2p]" && return
    echo 'no libp2p, for want of a C compiler, GMP and the headers of Python: nothing of the network works'
    return 1
}
