# A part of lib.sh: the programs that labs run.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- programs -------------------------------------------------------------------------------

lab_program_path() { printf '%s/release/%s' "${CARGO_TARGET_DIR:-$REPO/target}" "$1"; }

# lab_build PACKAGE PROGRAM: as it is by now.
lab_build() {
  local path
  path=$(lab_program_path "$2")
  if ! type -P cargo >/dev/null; then
    [[ -x $path ]] || fail 2 "there is neither $path nor cargo to build it with; install Rust, or name the binary by a variable (--help)"
    say "no cargo here: using $path as it is"
    return
  fi
  if [[ -x $path && ! -w $(dirname "$path") ]]; then
    say "cannot build into $(dirname "$path"): using the $2 there as it is"
    return
  fi
  say "building $2: cargo build --release --package $1 --bin $2"
  (cd "$REPO" && cargo build --release --package "$1" --bin "$2") >&2 || fail 1 "$2 did not build"
}

# lab_program VARIABLE PACKAGE PROGRAM: sets VARIABLE, which may name the program already, to an absolute path, and
# builds the program if that takes it.
lab_program() {
  local -n lab_program_is=$1
  if [[ -n ${lab_program_is:-} ]]; then
    lab_program_is=$(type -P -- "$lab_program_is") || fail 2 "$1 is not a program"
  else
    lab_program_is=$(lab_program_path "$3")
    [[ -x $lab_program_is ]] || lab_build "$2" "$3"
  fi
  lab_program_is=$(realpath -- "$lab_program_is")
}

# Sets XCAST.
lab_binary() { lab_program XCAST xcast xcast; }
