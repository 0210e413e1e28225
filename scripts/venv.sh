#!/bin/sh
# Makes and updates .venv for the Makefile; run from the top of the checkout.
#
#   venv.sh state      print "ok", "stale" (update in place) or "fresh" (make it anew)
#   venv.sh problem    print, in one line, what keeps .venv from being made, or nothing
#                      (with "oldest" after it, either speaks of .venv-oldest)
#   venv.sh base       make or update .venv with chainrule and what it needs
#   venv.sh test       the same, with the tools for the tests
#   venv.sh bench      the same, with the libraries that the benchmark compares with
#   venv.sh docs       the same, with what builds the documentation
#   venv.sh oldest     make or update .venv-oldest, with the lowest versions that pyproject.toml
#                      allows and the tools for the tests
#
# PYTHON is the interpreter to use. PYTHON_CHOSEN is non-empty when somebody asked for that
# very interpreter, so that a .venv made with another one is made anew.
#
# Nothing but chainrule itself is built: of everything else only wheels are taken. Python compiles
# a module when it first imports it, since most are never imported; pip compiles them all only where
# Python is told to keep nothing.
#
# .venv/complete is there only between finished installs: without it .venv is taken to be
# half made, whatever it holds.
set -eu

python=${PYTHON:-python3}
venv=.venv
lock=requirements.lock
if [ "${1:-}" = oldest ] || [ "${2:-}" = oldest ]; then
    venv=.venv-oldest
    lock=requirements-oldest.lock
fi

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
    identity "$venv/bin/python"
    package_version
}

state() {
    if [ ! -f $venv/complete ]; then
        echo fresh
        return
    fi
    here=$(identity "$venv/bin/python")
    if [ "$here" = broken ] ||
        [ "$(sed -n 1p $venv/complete)" != "$(pwd -P)" ] ||
        [ "$(sed -n 2p $venv/complete)" != "$here" ]; then
        echo fresh
    elif [ -n "${PYTHON_CHOSEN:-}" ] && [ "$(identity "$python")" != "$here" ]; then
        echo fresh
    elif [ "$(sed -n 3p $venv/complete)" != "$(package_version)" ]; then
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
    elif [ $venv = .venv-oldest ] && [ "$minor" -ne 11 ]; then
        echo "The lowest versions are tested on Python 3.11; $python is $found. $hint"
    elif ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "chainrule needs Python's venv and ensurepip modules; $python lacks them." \
            "Install python$major.$minor-venv (Debian, Ubuntu), or set PYTHON=/path/to/python3.11"
    fi
}

pip_lock() {
    log=$venv/install.log
    : >"$log"
    progress "$log" &
    watcher=$!
    result=0
    compile=--no-compile
    if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
        compile=--compile
    fi
    "$venv/bin/python" -m pip --disable-pip-version-check --no-color install --progress-bar off \
        $compile --only-binary :all: -c "$lock" "$@" >"$log" 2>&1 || result=$?
    kill "$watcher" 2>/dev/null || :
    wait "$watcher" 2>/dev/null || :
    if [ -t 1 ]; then
        printf '\r\033[K'
    fi
    if [ "$result" -ne 0 ]; then
        if grep -q ERROR "$log"; then
            grep ERROR "$log" >&2
        else
            tail -n 20 "$log" >&2
        fi
    fi
    return "$result"
}

installed() {
    find "$venv" -maxdepth 5 -name '*.dist-info' | wc -l
}

# What pip is doing, by its log: on a terminal again each second, elsewhere once for each part.
# It ends with this script, whatever ends that.
progress() {
    begin=$(date +%s)
    before=$(installed)
    said=
    while kill -0 $$ 2>/dev/null; do
        names=$(sed -n 's/^Installing collected packages: //p' "$1" | tail -n 1)
        if [ -n "$names" ]; then
            part=installing
            of=$(echo "$names" | tr ',' '\n' | wc -l)
            count="$(($(installed) - before)) of $((of)) packages"
        else
            part=downloading
            count="$(grep -c '^ *Collecting ' "$1" || :) packages"
        fi
        if [ -t 1 ]; then
            printf '\r\033[K  %s: %s, %s s' "$part" "$count" $(($(date +%s) - begin))
        elif [ "$part" != "$said" ]; then
            echo "  $part ..."
            said=$part
        fi
        sleep 1
    done
}

pip_install() {
    if ! pip_lock "$@"; then
        echo "Installing into $venv failed; the lines above say why, $log" \
            "has more. Run it again to retry." >&2
        exit 1
    fi
}

install() {
    now=$(state)
    started=$(date +%s)
    if [ "$now" = fresh ]; then
        echo "Setting up $venv (once; a minute or two) ..."
        "$python" -m venv --clear "$venv"
    else
        echo "Updating $venv ..."
    fi
    # What was installed for other purposes stays, unless it is of another version of chainrule;
    # the Makefile compares each stamp with the lock.
    if [ "$now" = stale ]; then
        rm -f "$venv"/*.stamp
    fi
    rm -f "$venv/complete" "$venv/$1.stamp"
    # The build backend comes from the lock too: nothing is fetched unpinned.
    pip_install hatchling editables
    case $1 in
    test | oldest)
        pip_install --no-build-isolation -e '.[test]'
        touch "$venv/test.stamp"
        ;;
    docs)
        pip_install --no-build-isolation -e '.[docs]'
        touch "$venv/docs.stamp"
        ;;
    *)
        pip_install --no-build-isolation -e .
        ;;
    esac
    if [ "$1" = bench ]; then
        # Not needed: the benchmark leaves out what is not there.
        if pip_lock --no-build-isolation -e '.[bench]'; then
            touch "$venv/bench.stamp"
        else
            echo "Not all libraries to compare with could be installed; going on." >&2
        fi
    fi
    touch "$venv/base.stamp"
    complete >"$venv/complete.part"
    mv "$venv/complete.part" "$venv/complete"
    echo "  done in $(($(date +%s) - started)) s"
}

case "${1:-}" in
state) state ;;
problem) problem ;;
base | test | bench | docs | oldest) install "$1" ;;
*)
    echo "usage: venv.sh state|problem [oldest], venv.sh base|test|bench|docs|oldest" >&2
    exit 2
    ;;
esac
