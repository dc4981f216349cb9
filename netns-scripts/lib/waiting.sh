# A part of lib.sh: waiting for conditions, and cleaning up on the way out.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- waiting --------------------------------------------------------------------------------

# A pipe nobody writes to: reading it with a time limit is a pause that starts no process.
exec {LAB_PIPE}<> <(:)
lab_tick() {
  # bash crashes where a trap exits from within `read -t`: traps leave that to us.
  LAB_READING=1
  read -rt 0.05 -u "$LAB_PIPE" || :
  LAB_READING=
  [[ -z ${LAB_SIGNAL:-} ]] || exit "$LAB_SIGNAL"
}
lab_signaled() {
  LAB_SIGNAL=$1
  [[ -n ${LAB_READING:-} ]] || exit "$1"
}

# lab_until SECONDS COMMAND...: 0 as soon as the command succeeds, 1 if it never does.
lab_until() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS <= deadline)) || return 1
    lab_tick
  done
}

# lab_attend COMMAND...: runs it so that a signal to us is handled at once, and reaches it: in the
# foreground bash would hold its traps back until the command ends by itself.
lab_attend() {
  local status=0
  "$@" &
  LAB_CHILD=$!
  wait "$LAB_CHILD" || status=$?
  LAB_CHILD=
  return "$status"
}
lab_child_end() {
  [[ -n ${LAB_CHILD:-} ]] || return 0
  kill -TERM "$LAB_CHILD" 2>/dev/null || :
  wait "$LAB_CHILD" 2>/dev/null || :
  LAB_CHILD=
}
# lab_on_exit FUNCTION: on every exit, a signal's too, with the status kept.
lab_on_exit() {
  LAB_ON_EXIT=$1
  # One word: bash may have to read it while it reads something else.
  trap lab_exiting EXIT
  trap 'lab_signaled 130' INT
  trap 'lab_signaled 143' TERM
  trap 'lab_signaled 129' HUP
}
lab_exiting() {
  local status=$?
  trap '' INT TERM HUP
  LAB_SIGNAL=
  set +e
  lab_child_end
  "$LAB_ON_EXIT"
  exit "$status"
}
lab_on_exit_nothing() { trap - EXIT INT TERM HUP; }
