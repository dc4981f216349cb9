# A part of lib.sh: the xcast binary.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- the binary -----------------------------------------------------------------------------

lab_binary_path() { printf '%s/release/xcast' "${CARGO_TARGET_DIR:-$REPO/target}"; }

lab_build() {
  local path
  path=$(lab_binary_path)
  if ! type -P cargo >/dev/null; then
    [[ -x $path ]] || fail 2 "there is neither $path nor cargo to build it with; install Rust, or set XCAST to the binary"
    say "no cargo here: using $path as it is"
    return
  fi
  if [[ -x $path && ! -w $(dirname "$path") ]]; then
    say "cannot build into $(dirname "$path"): using the xcast there as it is"
    return
  fi
  say "building xcast: cargo build --release --bin xcast"
  (cd "$REPO" && cargo build --release --bin xcast) >&2 || fail 1 "xcast did not build"
}

# Sets XCAST to an absolute path, and builds it if that takes it.
lab_binary() {
  local given=${XCAST:-}
  if [[ -n $given ]]; then
    XCAST=$(type -P -- "$given") || fail 2 "XCAST=$given is not a program"
  else
    XCAST=$(lab_binary_path)
    [[ -x $XCAST ]] || lab_build
  fi
  XCAST=$(realpath -- "$XCAST")
}
