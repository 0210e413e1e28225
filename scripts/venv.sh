#!/bin/sh
# Makes and updates .venv for the Makefile; run from the top of the checkout.
#
#   venv.sh state      print "ok", "stale" (update in place) or "fresh" (make it anew)
#   venv.sh problem    print, in one line, what keeps .venv from being made, or nothing
#   venv.sh base       make or update .venv with chainrule and what it needs
#   venv.sh test       the same, with the tools for the tests
#   venv.sh bench      the same, with the libraries that the benchmark compares with
#
# PYTHON is the interpreter to use. PYTHON_CHOSEN is non-empty when somebody asked for that
# very interpreter, so that a .venv made with another one is made anew.
#
# .venv/complete is there only between finished installs: without it .venv is taken to be
# half made, whatever it holds.
set -eu

python=${PYTHON:-python3}

# The release and the home of an interpreter; in a virtual environment, of the one beneath.
identity() {
    "$1" -c 'import sys; print("%d.%d.%d %s" % (sys.version_info[:3] + (sys.base_prefix,)))' \
        2>/dev/null || echo broken
}

package_version() {
    grep '^__version__' src/chainrule/base/version.py || echo unknown
}

complete() {
    pwd -P
    identity .venv/bin/python
    package_version
}

state() {
    if [ ! -f .venv/complete ]; then
        echo fresh
        return
    fi
    here=$(identity .venv/bin/python)
    if [ "$here" = broken ] ||
        [ "$(sed -n 1p .venv/complete)" != "$(pwd -P)" ] ||
        [ "$(sed -n 2p .venv/complete)" != "$here" ]; then
        echo fresh
    elif [ -n "${PYTHON_CHOSEN:-}" ] && [ "$(identity "$python")" != "$here" ]; then
        echo fresh
    elif [ "$(sed -n 3p .venv/complete)" != "$(package_version)" ]; then
        echo stale
    else
        echo ok
    fi
}

problem() {
    hint="Set PYTHON=/path/to/python3.11"
    if [ "$(state)" != fresh ]; then
        return
    fi
    if ! command -v "$python" >/dev/null 2>&1; then
        echo "chainrule needs Python 3.11 or newer; $python was not found. $hint"
        return
    fi
    found=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) ||
        found=
    found=${found#Python }
    major=${found%%.*}
    minor=${found#*.}
    minor=${minor%%.*}
    case "$major:$minor" in
    *[!0-9:]* | :* | *:)
        echo "chainrule needs Python 3.11 or newer; $python does not run. $hint"
        return
        ;;
    esac
    if [ "$major" -lt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -lt 11 ]; }; then
        echo "chainrule needs Python 3.11 or newer; $python is $found. $hint"
    elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "chainrule needs Python's venv and ensurepip modules; $python lacks them." \
            "Install python$major.$minor-venv (Debian, Ubuntu), or set PYTHON=/path/to/python3.11"
    fi
}

pip_lock() {
    .venv/bin/python -m pip --disable-pip-version-check install -qq -c requirements.lock "$@"
}

pip_install() {
    if ! pip_lock "$@"; then
        echo "Installing into .venv failed; the lines above say why. Run it again to retry." >&2
        exit 1
    fi
}

install() {
    now=$(state)
    if [ "$now" = fresh ]; then
        echo "Setting up .venv (once) ..."
        "$python" -m venv --clear .venv
    else
        echo "Updating .venv ..."
    fi
    rm -f .venv/complete .venv/base.stamp .venv/test.stamp .venv/bench.stamp
    # The build backend comes from the lock too: nothing is fetched unpinned.
    pip_install hatchling editables
    if [ "$1" = test ]; then
        pip_install --no-build-isolation -e '.[test]'
        touch .venv/test.stamp
    else
        pip_install --no-build-isolation -e .
    fi
    if [ "$1" = bench ]; then
        # Not in the lock, and not needed: the benchmark leaves out what is not there.
        if pip_lock --no-build-isolation -e '.[bench]'; then
            touch .venv/bench.stamp
        else
            echo "Not all libraries to compare with could be installed; going on." >&2
        fi
    fi
    touch .venv/base.stamp
    complete >.venv/complete.part
    mv .venv/complete.part .venv/complete
}

case "${1:-}" in
state) state ;;
problem) problem ;;
base | test | bench) install "$1" ;;
*)
    echo "usage: venv.sh state|problem|base|test|bench" >&2
    exit 2
    ;;
esac
