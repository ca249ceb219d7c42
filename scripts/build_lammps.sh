#!/usr/bin/env bash
# Builds a LAMMPS with a machine-learning pair style, to run exported models in (docs/deployment.md).
#   scripts/build_lammps.sh PYTHON SOURCE BUILD [CMAKE_OPTION...]
#   scripts/build_lammps.sh .venv/mace/bin/python debian build/lammps     # about 25 minutes of two cores
# PYTHON   of the environment whose models run there (numpy); LAMMPS embeds its version of Python
# SOURCE   a folder of LAMMPS's source; or "debian", whose unstable suite has one: it is downloaded
# BUILD    a folder, which then has the program, lmp
# KOKKOS   a folder of Kokkos's source, of the version that LAMMPS's cmake/Modules/Packages/KOKKOS.cmake
#          names, adds the package that `pair_style mliap unified` needs of MACE; Debian's source has none
# The pair style of MACE or NequIP: patch the source as its documentation says, then add to the options
#   -D CMAKE_PREFIX_PATH="$(PYTHON -c 'import torch; print(torch.utils.cmake_prefix_path)')"
#   -D MKL_INCLUDE_DIR=/tmp        and, for NequIP,   -D NEQUIP_AOT_COMPILE=ON
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,14s/^# \?//p' "$0" >&2
  exit 2
fi
python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") source=$2 build=$3
shift 3
mkdir -p "$build"
build=$(cd "$build" && pwd)

if [ "$source" = debian ]; then
  source=$build/source
  if [ ! -d "$source/cmake" ]; then
    mkdir -p "$source" "$build/lists/partial" "$build/cache/archives/partial"
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' | head -n 1)
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]" \
      "${mirror:?no mirror of Debian in the lists of apt-get update} unstable main" \
      >"$build/sources.list"
    # beside the system's own lists, which stay as they are
    apt=(apt-get -o "Dir::Etc::sourcelist=$build/sources.list" -o Dir::Etc::sourceparts=/dev/null
      -o "Dir::State::lists=$build/lists" -o "Dir::Cache=$build/cache")
    "${apt[@]}" -q update
    # fails where one of Debian's small files is missing; the tar file is all that is needed
    (cd "$build" && "${apt[@]}" -q source --download-only lammps) || true
    tar -xf "$build"/lammps_*.orig.tar.* -C "$source"
    [ -d "$source/cmake" ] || { mv "$source"/*/* "$source"; }
  fi
fi
if [ ! -f "$source/cmake/CMakeLists.txt" ]; then
  echo "$source is no folder of LAMMPS's source: expected cmake/CMakeLists.txt in it" >&2
  exit 1
fi

# Cython makes the coupling to Python; a small environment of its own, the user's stays as it is
[ -x "$build/cython/bin/cythonize" ] || "$python" -m venv "$build/cython"
"$build/cython/bin/python" -m pip install -q cython
options=(-D BUILD_SHARED_LIBS=ON -D BUILD_MPI=OFF -D PKG_PYTHON=ON -D PKG_ML-IAP=ON
  -D PKG_ML-SNAP=ON -D MLIAP_ENABLE_PYTHON=ON -D PKG_MOLECULE=ON -D PKG_EXTRA-FIX=ON
  -D "Python_EXECUTABLE=$python" -D "Cythonize_EXECUTABLE=$build/cython/bin/cythonize")
if [ -n "${KOKKOS:-}" ]; then
  rm -rf "$source/lib/kokkos" && cp -r "$KOKKOS" "$source/lib/kokkos"
  options+=(-D PKG_KOKKOS=ON -D Kokkos_ENABLE_SERIAL=ON)
fi
cmake -S "$source/cmake" -B "$build" "${options[@]}" "$@"
cmake --build "$build" --parallel "${JOBS:-$(nproc)}"
echo "LAMMPS_EXECUTABLE=$build/lmp LAMMPS_OPTIONS='${KOKKOS:+-k on t 1 -sf kk -pk kokkos newton on neigh half}' make test-mace"
