#!/usr/bin/env bash
# Makes one virtual environment with this package in it, or brings it up to date; `make` calls it.
#   scripts/make_env.sh PYTHON FOLDER EXTRAS        e.g.  scripts/make_env.sh python3 .venv/core dev
set -euo pipefail
python=$1 folder=$2 extras=$3
log=$folder.log

if ! command -v "$python" >/dev/null; then
  echo "No '$python' here. Say which Python to use (3.10 to 3.13):  make PYTHON=/path/to/python3.12 ..." >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))'; then
  echo "$("$python" --version) is '$python'; this package needs Python 3.10 to 3.13." >&2
  for minor in 13 12 11 10; do
    if "python3.$minor" --version >/dev/null 2>&1; then
      echo "python3.$minor is here. Use it with:  make PYTHON=python3.$minor ..." >&2
      exit 1
    fi
  done
  echo "Install one of them, then:  make PYTHON=/path/to/it ..." >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "'$python' cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2
  exit 1
fi

mkdir -p "$(dirname "$folder")"
rm -f "$folder"/.made-*
echo "Making $folder with $("$python" --version), PyTorch and [$extras]: some minutes the first time (log: $log)"
same_version() { [ "$("$folder/bin/python" --version 2>&1)" = "$("$python" --version)" ]; }
if ! {
  { same_version || "$python" -m venv --clear "$folder"; } &&
    "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
      -c constraints.txt -e ".[$extras]"
} >"$log" 2>&1; then
  tail -n 30 "$log" >&2
  echo "$folder could not be made; above are the last lines of $log" >&2
  exit 1
fi
