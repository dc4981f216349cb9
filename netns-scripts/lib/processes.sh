# A part of lib.sh: processes in a lab.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- processes in a lab ---------------------------------------------------------------------

# lab_host_words HOST: sets LAB_WORDS to what goes before a command to run it on HOST.
lab_host_words() {
  LAB_WORDS=()
  lab_is_native || lab_holder_words
  LAB_WORDS+=(ip netns exec "$(lab_namespace "$1")")
}

# lab_in HOST COMMAND...
lab_in() {
  lab_host_words "$1"
  shift
  "${LAB_WORDS[@]}" "$@"
}

# lab_spawn NAME HOST COMMAND...: in the background, beyond our terminal, its PID recorded. What it
# says goes to logs/NAME.out and logs/NAME.err.
lab_spawn() {
  local name=$1 host=$2
  shift 2
  lab_host_words "$host"
  lab_spawn_words "$name" "$host" "${LAB_WORDS[@]}" "$@"
}
lab_spawn_words() {
  # A run's lock is not for what outlives it.
  local name=$1 host=$2 lock=${LAB_LOCK:-$LAB_PIPE}
  shift 2
  # Truncated before anything waits for a line in them.
  : >"$LAB_STATE/logs/$name.out"
  : >"$LAB_STATE/logs/$name.err"
  setsid "$@" </dev/null >"$LAB_STATE/logs/$name.out" 2>"$LAB_STATE/logs/$name.err" {LAB_PIPE}<&- {lock}<&- &
  LAB_SPAWNED[$name]=$!
  printf '%s %s %s\n' "$!" "$host" "${LAB_INSIDE:+inside}" >"$LAB_STATE/pids/$name"
}

# The network namespace of HOST as a file.
lab_namespace_file() {
  local root=''
  lab_is_native || root=/proc/${LAB_HOLDER:-$(lab_holder_pid)}/root
  printf '%s/run/netns/%s' "$root" "$(lab_namespace "$1")"
}

# lab_pid NAME: its PID, if it runs and is the process that was recorded: a child of ours, or else
# in the namespace of its host, where nothing but the lab's own processes is.
declare -A LAB_SPAWNED=()
lab_pid() {
  local pid host inside
  { read -r pid host inside <"$LAB_STATE/pids/$1"; } 2>/dev/null || return 1
  if [[ ${LAB_SPAWNED[$1]:-} == "$pid" ]]; then
    # It is not in its namespace from its first moment on.
    kill -0 "$pid" 2>/dev/null || return 1
  else
    if [[ -n $inside && -z ${LAB_INSIDE:-} ]]; then pid=$(lab_pid_outside "$pid") || return 1; fi
    [[ /proc/$pid/ns/net -ef $(lab_namespace_file "$host") ]] || return 1
  fi
  printf '%s' "$pid"
}
# lab_pid_outside PID: what we call the process that is PID to the holder.
lab_pid_outside() {
  local pid
  while read -r pid; do
    if [[ /proc/$pid/ns/pid -ef /proc/$(lab_holder_pid)/ns/pid ]]; then
      printf '%s' "$pid"
      return
    fi
  done < <(cat /proc/[0-9]*/status 2>/dev/null | awk -v pid="$1" '$1 == "NSpid:" && NF > 2 && $NF == pid { print $2 }')
  return 1
}
lab_runs() { lab_pid "$1" >/dev/null; }
lab_none_runs() {
  local name
  for name; do
    ! lab_runs "$name" || return 1
  done
}

# lab_signal SIGNAL NAME...
lab_signal() {
  local signal=$1 name pid
  shift
  for name; do
    if pid=$(lab_pid "$name"); then kill "-$signal" "$pid" 2>/dev/null || :; fi
  done
}

# lab_end NAME...: politely, then not.
lab_end() {
  lab_signal TERM "$@"
  if ! lab_until 5 lab_none_runs "$@"; then
    lab_signal KILL "$@"
    lab_until 5 lab_none_runs "$@" || :
  fi
  local name
  for name; do rm -f "$LAB_STATE/pids/$name"; done
}

# The names of the processes that are ours to end: those in the holder end with it.
lab_recorded() {
  local file inside
  for file in "$LAB_STATE"/pids/*; do
    { read -r _ _ inside <"$file"; } 2>/dev/null || continue
    [[ -n $inside ]] || printf '%s\n' "${file##*/}"
  done
}

# lab_await SECONDS WHAT STREAM PATTERN NAME...: until each of the processes has printed a line
# that matches to its STREAM (out or err). If not, shows what they said instead.
lab_await() {
  local seconds=$1 what=$2 stream=$3 pattern=$4 name status=0
  shift 4
  local deadline=$((SECONDS + seconds))
  for name; do
    until grep -qs -- "$pattern" "$LAB_STATE/logs/$name.$stream"; do
      if ! lab_runs "$name"; then
        # It may have said so and ended between the two looks.
        grep -qs -- "$pattern" "$LAB_STATE/logs/$name.$stream" && break
        complain "$name ended before it was $what"
        status=1
      elif ((SECONDS > deadline)); then
        complain "$name is not $what after $seconds seconds"
        status=1
      else
        lab_tick
        continue
      fi
      lab_tail "$name"
      break
    done
    ((status == 0)) || return 1
  done
}
lab_tail() {
  local file
  for file in "$LAB_STATE/logs/$1".{err,out}; do
    [[ ! -s $file ]] || tail -n 10 "$file" | sed 's/^/  | /' >&2
  done
}
