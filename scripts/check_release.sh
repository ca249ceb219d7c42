#!/usr/bin/env bash
# Builds the wheel and the sdist and tries each as a user would: installed with each host in an empty
# environment, it runs the README's example for that host on the shipped energies, for one epoch and
# away from this checkout. What passed is put into dist/. Takes about 20 minutes, most of it installing.
#   scripts/check_release.sh [PYTHON]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${1:-python3}
unset PYTHONPATH PYTHONHOME
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' piwsl_plugins/__init__.py)
mace_example="$(sed -n '/^ *mace_run_train --name /,/[^\]$/p' README.md) --max_num_epochs 1"
nequip_example=$(sed -n '/^ *piwsl config nequip.* -o /,/^ *nequip-train /p' README.md |
  sed 's/max_epochs=[0-9]*/max_epochs=1/')

"$python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --disable-pip-version-check -q build twine
"$work/tools/bin/python" -m build --outdir "$work/dist" .
"$work/tools/bin/python" -m twine check --strict "$work"/dist/*

try_out() {  # ARCHIVE EXTRA EXAMPLE, what its output says of this package, the model that it leaves
  local archive=$1 extra=$2 example=$3 said=$4 model=$5
  printf '\n== %s[%s]\n%s\n' "${archive##*/}" "$extra" "$example"
  "$python" -m venv "$work/env"
  "$work/env/bin/python" -m pip install --disable-pip-version-check -q \
    -c constraints.txt "$archive[$extra]"
  mkdir "$work/run"
  (
    cd "$work/run"
    PATH=$work/env/bin:$PATH
    [ "$(piwsl --version)" = "$version" ]
    datasets=$(python -c 'from piwsl_plugins import datasets; print(datasets.__path__[0])')
    [[ $datasets == "$work"/env/* ]]
    cp "$datasets/formaldehyde_ccsdt_cbs/train.xyz" energies.xyz
    bash -ec "$example" 2>&1 | tee log
    grep -qF "$said" log
    find . -name "$model" | grep .
  )
  rm -rf "$work/env" "$work/run"
}

for archive in "$work"/dist/*; do
  try_out "$archive" mace "$mace_example" "piwsl-plugins $version, --loss piwsl" "*_compiled.model"
  try_out "$archive" nequip "$nequip_example" "piwsl_plugins.hosts.nequip $version" best.ckpt
done

rm -rf dist
mv "$work/dist" dist
printf '\ndist/ holds what passed:\n'
ls dist
