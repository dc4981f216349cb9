# What the labs share: one network namespace a host, veth links, static routes, an Xcast router
# where the lab wants one, captures and their counts. Sourced by bash, never run.
#
# A lab sets, before it calls lab_main "$@":
#   LAB            its name
#   LAB_HOSTS      every host, in the order it is shown
#   LAB_ROUTERS    those of them that forward and run xcast
#   LAB_LINKS      "X:Y" each, Y the end that lies farther from the source
#   LAB_NUMBERS    a number from 1 to 254 for every host, from which addresses follow
# and defines the function lab_run, which works on a lab that is up.
#
# shellcheck shell=bash
# shellcheck disable=SC2034 # the lab that sources this uses some of them
# shellcheck disable=SC2154 # and sets others
# shellcheck disable=SC2317 # some functions are called by name

set -euo pipefail
export LC_ALL=C

LAB_DIRECTORY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
REPO=$(dirname "$LAB_DIRECTORY")
LAB_SCRIPT=$(realpath -- "$0")
LAB_INVOKED=${LAB_INVOKED:-$0}

# iproute2 and tcpdump live in sbin, which is not in everyone's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The lab decides which code points and which router a command talks to, not the caller's shell.
unset XCAST_EXPERIMENT XCAST_SOCKET

# ---- saying things --------------------------------------------------------------------------

say() { printf '%s==>%s %s\n' "${BOLD-}" "${RESET-}" "$*" >&2; }
complain() { printf '%s: %s\n' "${LAB:-lab}" "$*" >&2; }
# fail STATUS TEXT: 1 the work failed, 2 wrong usage or a machine that lacks something.
fail() {
  local status=$1
  shift
  complain "$*"
  exit "$status"
}

# Colors only for a terminal, and only if it is not unwanted (https://no-color.org).
lab_colors() {
  BOLD='' DIM='' RESET='' GREEN='' YELLOW='' RED=''
  if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RESET=$'\e[0m' GREEN=$'\e[32m' YELLOW=$'\e[33m' RED=$'\e[31m'
  fi
}

# json_string TEXT: as a JSON string.
json_string() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# json_strings WORD...: as a JSON array of strings.
json_strings() {
  local word comma=''
  printf '['
  for word; do
    printf '%s' "$comma"
    json_string "$word"
    comma=,
  done
  printf ']'
}

# Flattens JSON, in one line or many, to one line a value: the number of the document, its path
# and the value, between tabs, as in "1<TAB>ports.0.packets-received<TAB>12". Strings keep their escapes.
json_flatten() {
  awk '
    function emit(value,    path, i) {
      for (i = 1; i <= depth; i++) path = path (i > 1 ? "." : "") (array[i] ? index_[i] : key[i])
      printf "%d\t%s\t%s\n", document, path, value
      ended()
    }
    function ended() { if (depth > 0 && !array[depth]) want_key[depth] = 1; else if (depth == 0) document++ }
    function bad() { print "this is not JSON: " substr(rest, 1, 60) > "/dev/stderr"; failed = 1; exit 1 }
    BEGIN { document = 1 }
    {
      rest = $0
      while (rest != "") {
        if (match(rest, /^[ \t\r]+/)) { rest = substr(rest, RLENGTH + 1); continue }
        c = substr(rest, 1, 1)
        if (c == "\"") {
          if (!match(rest, /^"([^"\\]|\\.)*"/)) bad()
          text = substr(rest, 2, RLENGTH - 2)
          rest = substr(rest, RLENGTH + 1)
          if (depth > 0 && !array[depth] && want_key[depth]) { key[depth] = text; want_key[depth] = 0 }
          else emit(text)
          continue
        }
        if (match(rest, /^[-+0-9.a-zA-Z]+/)) {
          text = substr(rest, 1, RLENGTH)
          rest = substr(rest, RLENGTH + 1)
          emit(text)
          continue
        }
        rest = substr(rest, 2)
        if (c == "{") { depth++; array[depth] = 0; want_key[depth] = 1 }
        else if (c == "[") { depth++; array[depth] = 1; index_[depth] = 0 }
        else if (c == "}" || c == "]") { if (depth == 0) bad(); depth--; ended() }
        else if (c == ",") { if (depth > 0 && array[depth]) index_[depth]++ }
        else if (c != ":") bad()
      }
    }
    END { if (!failed && depth > 0) { print "this JSON ends too early" > "/dev/stderr"; exit 1 } }
  '
}

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

# ---- names and numbers ----------------------------------------------------------------------

lab_title() { printf '%s%s' "$LAB" "${LAB_SUFFIX:+-$LAB_SUFFIX}"; }
lab_namespace() { printf '%s-%s%s' "$LAB" "$1" "${LAB_SUFFIX:+-$LAB_SUFFIX}"; }
lab_is_host() { [[ " ${LAB_HOSTS[*]} " == *" $1 "* ]]; }
lab_is_router() { [[ " ${LAB_ROUTERS[*]} " == *" $1 "* ]]; }

# The link between hosts x < y is 10.x.y.0/24, the end at x ends in x and the one at y in y.
lab_network() {
  local x=${LAB_NUMBERS[$1]} y=${LAB_NUMBERS[$2]}
  ((x < y)) && printf '10.%d.%d' "$x" "$y" || printf '10.%d.%d' "$y" "$x"
}
# lab_address X Y: X's address on its link to Y.
lab_address() { printf '%s.%d' "$(lab_network "$1" "$2")" "${LAB_NUMBERS[$1]}"; }
# lab_mac X Y: the same for the link layer. Captures tell direction by it, as Xcast copies keep
# their source and destination address on every link.
lab_mac() { printf '02:58:43:00:%02x:%02x' "${LAB_NUMBERS[$1]}" "${LAB_NUMBERS[$2]}"; }

# Fills LAB_PEERS: HOST -> its neighbors.
lab_peers() {
  declare -gA LAB_PEERS=()
  local link x y
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    LAB_PEERS[$x]+="${LAB_PEERS[$x]:+ }$y"
    LAB_PEERS[$y]+="${LAB_PEERS[$y]:+ }$x"
  done
}

# lab_addresses HOST: all of them.
lab_addresses() {
  local peer
  for peer in ${LAB_PEERS[$1]}; do
    printf '%s\n' "$(lab_address "$1" "$peer")"
  done
}

# lab_links_behind NODE PARENT: the links one reaches from NODE without going back to PARENT.
# The labs are trees, so this ends.
lab_links_behind() {
  local peer
  for peer in ${LAB_PEERS[$1]}; do
    [[ $peer == "$2" ]] && continue
    printf '%s:%s\n' "$1" "$peer"
    lab_links_behind "$peer" "$1"
  done
}

# ---- where a lab keeps what it knows --------------------------------------------------------

# Without root the labs live in a user namespace, and LAB_INSIDE tells this script that it runs in
# it. The root of somebody else's user namespace, who may not change groups, counts as a user: it
# could not run tcpdump.
lab_is_native() { [[ -n ${LAB_INSIDE:-} || ($EUID == 0 && $(cat /proc/self/setgroups 2>/dev/null) != deny) ]]; }

lab_state_parent() {
  if [[ -n ${LAB_INSIDE:-} ]]; then
    dirname "$LAB_INSIDE"
  elif [[ $EUID == 0 && -w /run ]]; then
    printf '/run/xcast-labs'
  elif [[ -n ${XDG_RUNTIME_DIR:-} && -d $XDG_RUNTIME_DIR && -w $XDG_RUNTIME_DIR ]]; then
    printf '%s/xcast-labs' "$XDG_RUNTIME_DIR"
  else
    printf '/tmp/xcast-labs-%d' "$EUID"
  fi
}

# lab_locate: sets LAB_STATE for LAB and LAB_SUFFIX.
lab_locate() { LAB_STATE=$(lab_state_parent)/$(lab_title); }

# Takes the state directory, which also keeps two `up`s of one lab apart.
lab_claim() {
  local parent
  parent=$(lab_state_parent)
  (umask 077 && mkdir -p "$parent")
  [[ -O $parent && ! -L $parent ]] || fail 1 "$parent belongs to somebody else"
  (umask 077 && mkdir "$LAB_STATE") 2>/dev/null ||
    fail 1 "$(lab_title) exists already; '$LAB_INVOKED down$(lab_suffix_words)' removes it, --suffix S makes another one"
  mkdir "$LAB_STATE/pids" "$LAB_STATE/logs"
}
lab_suffix_words() { [[ -z ${LAB_SUFFIX:-} ]] || printf -- ' --suffix %s' "$LAB_SUFFIX"; }

# ---- without root: a holder -----------------------------------------------------------------
#
# Two user namespaces, one in the other. The inner one has the holder, process 1 of a network,
# mount and process namespace, which is root there and has a /run/netns of its own, so that
# `ip netns` works as it does for root. When it ends the kernel ends everything in it.
#
# tcpdump is the reason for the outer one. It insists on dropping root's privileges, which fails
# in a user namespace. A user of the outer namespace has all rights over the inner one, without
# being root of anything.

# lab_pid_in FILE: the PID in it, if it still is the process that we started: it names our state
# directory.
lab_pid_in() {
  local pid
  { read -r pid <"$LAB_STATE/$1"; } 2>/dev/null || return 1
  { tr '\0' '\n' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF -- "$LAB_STATE" || return 1
  printf '%s' "$pid"
}
lab_holder_pid() { lab_pid_in holder; }

# Runs in the outer namespace, for as long as the holder does.
lab_anchor() {
  LAB_STATE=$1
  printf '%s\n' "$$" >"$LAB_STATE/anchor"
  unshare --user --map-root-user --net --mount --pid --fork --kill-child -- \
    bash "$LAB_SCRIPT" --holder "$LAB_STATE"
  exit
}

# Runs as the holder.
lab_holder() {
  local pid entry
  LAB_STATE=$1
  # /proc still is the outer one, where our PID is the one others can use.
  read -r pid _ </proc/self/stat
  mount --make-rprivate /
  # Only /run/netns must be ours, but the outer one can neither be made nor written to: a new
  # /run, with everything of the old one in it.
  cd /run
  mount -t tmpfs -o mode=755 tmpfs /run
  for entry in *; do
    [[ $entry == netns || -L $entry || ! -d $entry ]] && continue
    mkdir -p "/run/$entry"
    mount --no-canonicalize --rbind "./$entry" "/run/$entry" || :
  done
  mkdir -p /run/netns
  cd /
  mount -t proc proc /proc
  ip link set lo up
  printf '%s\n' "$pid" >"$LAB_STATE/holder"
  # Process 1 inherits every orphan; bash reaps them while it waits. Nothing ever comes.
  while :; do read -r -u "$LAB_PIPE" || :; done
}

lab_holder_start() {
  local why
  why=$LAB_STATE/logs/holder.err
  setsid unshare --user --map-user=1000 --map-group=1000 -- \
    bash "$LAB_SCRIPT" --anchor "$LAB_STATE" </dev/null >"$why" 2>&1 &
  local starter=$!
  disown "$starter"
  lab_holder_settled() { [[ -s $LAB_STATE/holder ]] || ! kill -0 "$starter" 2>/dev/null; }
  lab_until 10 lab_holder_settled || kill "$starter" 2>/dev/null || :
  lab_holder_pid >/dev/null && return
  complain "no user namespace here for somebody who is not root:"
  sed 's/^/  /' "$why" >&2
  cat >&2 <<'END'
Run it as root, or allow user namespaces, as root, by whichever of these the machine has:
  sysctl user.max_user_namespaces=15000
  sysctl kernel.unprivileged_userns_clone=1                 (older Debian)
  sysctl kernel.apparmor_restrict_unprivileged_userns=0     (Ubuntu)
In a container: start it with --privileged.
END
  exit 2
}

# lab_enter VERB...: this script again, in the holder.
lab_holder_words() {
  : "${LAB_HOLDER:=$(lab_holder_pid)}"
  LAB_WORDS=(nsenter --preserve-credentials -U -m -n -p -t "$LAB_HOLDER" --
    # so that it ends with us although it lives in another process namespace
    setpriv --pdeathsig TERM --)
}
lab_enter_words() {
  lab_holder_words
  LAB_WORDS+=(env LAB_INSIDE="$LAB_STATE" LAB_CWD="$PWD" LAB_INVOKED="$LAB_INVOKED" XCAST="${XCAST:-}"
    bash "$LAB_SCRIPT" "$@" --suffix "$LAB_SUFFIX")
}
lab_enter() {
  lab_enter_words "$@"
  lab_attend "${LAB_WORDS[@]}"
}

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
  local name=$1 host=$2
  shift 2
  # Truncated before anything waits for a line in them.
  : >"$LAB_STATE/logs/$name.out"
  : >"$LAB_STATE/logs/$name.err"
  setsid "$@" </dev/null >"$LAB_STATE/logs/$name.out" 2>"$LAB_STATE/logs/$name.err" {LAB_PIPE}<&- &
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

# ---- tcpdump --------------------------------------------------------------------------------

# lab_tcpdump_words [HOST]: sets LAB_WORDS to tcpdump, on HOST if there is one.
lab_tcpdump_words() {
  LAB_WORDS=()
  if lab_is_native; then
    if [[ -n ${1:-} ]]; then lab_host_words "$1"; fi
  else
    LAB_WORDS=(nsenter --preserve-credentials -U -t "$(lab_pid_in anchor)" ${1:+--net="$(lab_namespace_file "$1")"} --)
  fi
  LAB_WORDS+=(env LD_LIBRARY_PATH="${LAB_TCPDUMP_LIBRARIES:-}" "$LAB_TCPDUMP")
  # Root's tcpdump would drop to a user who can neither write nor read our files.
  if lab_is_native; then LAB_WORDS+=(-Z root); fi
}

# Sets LAB_TCPDUMP. Where there is none, Debian's package is unpacked into a cache, not installed.
# Called before we enter a lab: there is no way out of it.
lab_find_tcpdump() {
  local cache library
  [[ -z ${LAB_TCPDUMP:-} ]] || return 0
  if LAB_TCPDUMP=$(type -P tcpdump); then
    LAB_TCPDUMP_LIBRARIES=
    return
  fi
  cache=$REPO/.tools
  mkdir -p "$cache" 2>/dev/null || :
  if [[ ! -w $cache && ! -x $cache/tcpdump/usr/bin/tcpdump ]]; then
    cache=/tmp/xcast-tools-$EUID
    (umask 077 && mkdir -p "$cache")
    # We run what is in there.
    [[ -O $cache && ! -L $cache ]] || fail 1 "$cache belongs to somebody else"
  fi
  cache+=/tcpdump
  if [[ ! -x $cache/usr/bin/tcpdump ]]; then
    say "tcpdump is not installed: fetching Debian's package into $cache, without installing it"
    lab_fetch_tcpdump "$cache" || fail 2 "no tcpdump; run: apt install tcpdump"
  fi
  LAB_TCPDUMP=$cache/usr/bin/tcpdump
  LAB_TCPDUMP_LIBRARIES=
  for library in "$cache"/usr/lib/*/; do
    LAB_TCPDUMP_LIBRARIES+=${LAB_TCPDUMP_LIBRARIES:+:}${library%/}
  done
}

# lab_fetch_tcpdump DIRECTORY: all of it or nothing, so that two may do it at once.
lab_fetch_tcpdump() {
  local parent new libraries
  type -P apt-get dpkg-deb >/dev/null || return 1
  parent=$(dirname "$1")
  if ! apt-cache show tcpdump >/dev/null 2>&1; then
    ((EUID == 0)) || return 1
    say "there are no package lists: apt-get update"
    apt-get -qq update >&2 || return 1
  fi
  new=$(mktemp -d "$parent/new.XXXXXX") || return 1
  chmod 755 "$new"
  mapfile -t libraries < <(lab_package_libraries '^libpcap')
  if ! lab_unpack "$new" tcpdump "${libraries[@]}"; then
    rm -rf -- "$new"
    return 1
  fi
  # A bare system lacks libraries that these need in turn.
  if ! lab_starts "$new"; then
    mapfile -t libraries < <(lab_package_libraries '^lib')
    if ! lab_unpack "$new" "${libraries[@]}" || ! lab_starts "$new"; then
      rm -rf -- "$new"
      return 1
    fi
  fi
  mv -T "$new" "$1" 2>/dev/null || rm -rf -- "$new"
  [[ -x $1/usr/bin/tcpdump ]]
}
# The packages tcpdump depends on, in turn, whose name matches; libc is always there already.
lab_package_libraries() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances tcpdump | awk -v wanted="$1" '/^[a-z]/ && $1 ~ wanted && $1 !~ /^(libc6|libgcc|libc-bin|libcrypt1)/'
}
lab_unpack() {
  local into=$1
  shift
  # Root's apt-get would hand the download to a user who may not write here.
  (cd "$into" && apt-get -qq -o APT::Sandbox::User= download "$@") >&2 || return 1
  local package
  for package in "$into"/*.deb; do
    dpkg-deb -x "$package" "$into" || return 1
    rm -f "$package"
  done
}
lab_starts() {
  local library all=''
  for library in "$1"/usr/lib/*/; do all+=${all:+:}${library%/}; done
  LD_LIBRARY_PATH=$all "$1/usr/bin/tcpdump" --version >/dev/null 2>&1
}

# lab_capture_start DIRECTORY: one capture a link, at the end that receives: what a router sends
# past the kernel's queues shows there only.
lab_capture_start() {
  local link x y names=()
  mkdir -p "$1"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    rm -f "$1/$x-$y.pcap"
    lab_tcpdump_words "$y"
    # --immediate-mode, -U: what has passed is in the file, and not still in a buffer.
    lab_spawn_words "capture-$x-$y" "$y" "${LAB_WORDS[@]}" \
      -i "to-$x" -nn -U --immediate-mode -s 2048 -B 8192 -w "$1/$x-$y.pcap" 'ip proto 253 or udp'
    names+=("capture-$x-$y")
  done
  lab_await 20 capturing err 'listening on' "${names[@]}"
}

# lab_poke X Y TEXT: a datagram from X to its neighbor's discard port.
lab_poke() {
  # shellcheck disable=SC2016 # for the shell inside
  lab_in "$1" bash -c 'printf "%s" "$1" >"/dev/udp/$2/9"' - "$3" "$(lab_address "$2" "$1")"
}

# lab_capture_stop DIRECTORY: when everything sent so far is in the files. A last datagram over
# every link tells: captures keep the order, so what came before it is in the file once it is.
lab_capture_stop() {
  local link x y names=() mark status=0 dropped
  mark="end of capture $$ $RANDOM$RANDOM"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    names+=("capture-$x-$y")
    lab_poke "$x" "$y" "$mark"
  done
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    if ! lab_until 10 lab_file_ends_with "$1/$x-$y.pcap" "$mark"; then
      complain "the capture on $x-$y did not come to its end"
      lab_tail "capture-$x-$y"
      status=1
    fi
  done
  lab_signal INT "${names[@]}"
  lab_until 5 lab_none_runs "${names[@]}" || :
  lab_end "${names[@]}"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    dropped=$(awk '/dropped by kernel/ { print $1 }' "$LAB_STATE/logs/capture-$x-$y.err")
    if [[ ${dropped:-0} != 0 ]]; then
      complain "the capture on $x-$y missed $dropped packets: this machine is too busy, or --interval too short"
      status=1
    fi
  done
  return "$status"
}
lab_file_ends_with() { tail -c 256 "$1" 2>/dev/null | grep -qaF -- "$2"; }

# lab_count DIRECTORY FILTER: lines "X Y FORM PACKETS BYTES", what went from X to Y in each form;
# bytes are those of the IP packets.
lab_count() {
  local link x y
  lab_tcpdump_words
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    { "${LAB_WORDS[@]}" -nn -t -e -v -r - "$2" <"$1/$x-$y.pcap" 2>"$LAB_STATE/logs/count.err" || lab_tail count; } |
      awk -v x="$x" -v y="$y" -v x_mac="$(lab_mac "$x" "$y")" -v y_mac="$(lab_mac "$y" "$x")" '
        /, ethertype IPv4 / {
          way = $1 == x_mac ? x " " y : $1 == y_mac ? y " " x : "? ?"
          protocol = bytes = ""
          if (match($0, /proto [^(]*\([0-9]+\)/)) {
            protocol = substr($0, RSTART, RLENGTH); sub(/.*\(/, "", protocol); sub(/\)/, "", protocol)
          }
          if (match($0, /, length [0-9]+[,)]/)) bytes = substr($0, RSTART + 9, RLENGTH - 10)
          form = way " " (protocol == 253 ? "xcast" : protocol == 17 ? "unicast" : "other")
          packets[form]++
          sum[form] += bytes
        }
        END { for (form in packets) printf "%s %d %d\n", form, packets[form], sum[form] }'
  done
}

# ---- routers --------------------------------------------------------------------------------

lab_socket() { printf '%s/%s.sock' "$LAB_STATE" "${1,,}"; }

lab_write_configurations() {
  local host
  cat >"$LAB_STATE/experiment.toml" <<'END'
# Code points for experiments (RFC 3692, RFC 4727).
[experiment]
ip-protocol = 253
all-routers-v4 = "224.0.0.254"
all-routers-v6 = "ff02::114"
routing-type = 253
ports-option = 0x5e
hop-by-hop-option = 0x1e
tunnel-port = 1021
END
  for host in "${LAB_ROUTERS[@]}"; do
    {
      cat "$LAB_STATE/experiment.toml"
      printf '\n[router]\nname = %s\ncontrol-socket = %s\n' \
        "$(json_string "${host,,}")" "$(json_string "$(lab_socket "$host")")"
      # Captures do not see what XDP takes before the kernel does.
      printf '\n[ports]\ndriver = "packet"\n'
    } >"$LAB_STATE/${host,,}.toml"
  done
}

lab_start_routers() {
  local host
  lab_write_configurations
  for host in "${LAB_ROUTERS[@]}"; do
    lab_spawn "$host" "$host" "$XCAST" router run --config "$LAB_STATE/${host,,}.toml"
  done
  lab_await 20 ready out '^ready' "${LAB_ROUTERS[@]}"
}

# lab_ask SECONDS HOST WORDS...: xcast show WORDS of HOST's router.
lab_ask() {
  local seconds=$1 host=$2
  shift 2
  timeout "$seconds" "$LAB_STATE/xcast" show "$@" --socket "$(lab_socket "$host")"
}

# lab_counters: lines "HOST INTERFACE KEY VALUE" of all routers' ports.
lab_counters() {
  local host
  for host in "${LAB_ROUTERS[@]}"; do
    lab_ask 5 "$host" ports --json | json_flatten | awk -F '\t' -v host="$host" '
      { n = split($2, part, "."); if (n != 3 || part[1] != "ports") next }
      part[3] == "interface" { interface[part[2]] = $3; next }
      part[3] ~ /^(packets|replicas|bytes)-/ { value[part[2] " " part[3]] = $3 }
      END {
        for (each in value) { split(each, part, " "); print host, interface[part[1]], part[2], value[each] }
      }' || {
      complain "$host's router does not tell its counters"
      return 1
    }
  done
}

# ---- the verbs ------------------------------------------------------------------------------

# All namespaces and links by one `ip`, then one shell in each namespace.
lab_build_network() {
  local host peer link x y via batch=$LAB_STATE/batch why
  mkdir "$batch"

  : >"$LAB_STATE/namespaces"
  for host in "${LAB_HOSTS[@]}"; do
    [[ ! -e /run/netns/$(lab_namespace "$host") ]] ||
      fail 1 "there is a namespace $(lab_namespace "$host") already, not of our making; 'ip netns del' removes it"
  done
  for host in "${LAB_HOSTS[@]}"; do
    # Recorded first, so that nothing is left if we end right behind it.
    lab_namespace "$host" >>"$LAB_STATE/namespaces"
    printf '\n' >>"$LAB_STATE/namespaces"
    printf 'netns add %s\n' "$(lab_namespace "$host")"
  done >"$batch/all"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    # Indexes that differ: the kernel takes up to a second to call a link up where both ends have
    # the same one.
    printf 'link add name to-%s index %d address %s netns %s type veth peer name to-%s index %d address %s netns %s\n' \
      "$y" "$((100 + ${LAB_NUMBERS[$y]}))" "$(lab_mac "$x" "$y")" "$(lab_namespace "$x")" \
      "$x" "$((100 + ${LAB_NUMBERS[$x]}))" "$(lab_mac "$y" "$x")" "$(lab_namespace "$y")"
  done >>"$batch/all"
  if ! why=$(ip -batch "$batch/all" 2>&1); then
    complain "no network namespaces here:"
    printf '%s\n' "$why" | sed 's/^/  /' >&2
    complain "this takes root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: --privileged), or a user who is not root"
    exit 2
  fi

  for host in "${LAB_HOSTS[@]}"; do
    {
      printf 'link set lo up\n'
      for peer in ${LAB_PEERS[$host]}; do
        printf 'addr add %s/24 dev to-%s\nlink set to-%s up\n' "$(lab_address "$host" "$peer")" "$peer" "$peer"
      done
      for peer in ${LAB_PEERS[$host]}; do
        via=$(lab_address "$peer" "$host")
        if ! lab_is_router "$host"; then
          printf 'route add default via %s\n' "$via"
          break
        fi
        for link in $(lab_links_behind "$peer" "$host"); do
          printf 'route add %s.0/24 via %s\n' "$(lab_network "${link%:*}" "${link#*:}")" "$via"
        done
      done
    } >"$batch/$host"
    # IPv6 goes first: its greetings would be in every capture.
    # shellcheck disable=SC2016 # for the shell inside
    lab_in "$host" bash -c '
      for each in /proc/sys/net/ipv6/conf/{all,default,lo}/disable_ipv6; do
        [[ ! -e $each ]] || printf 1 >"$each"
      done
      printf "%s" "$2" >/proc/sys/net/ipv4/ip_forward
      ip -batch "$1" || exit
      # Whole packets with whole checksums in the captures; Xcast does not need it.
      type -P ethtool >/dev/null || exit 0
      for each in $3; do ethtool -K "to-$each" tx off gso off tso off gro off >/dev/null 2>&1; done
      exit 0
    ' - "$batch/$host" "$(lab_is_router "$host" && echo 1 || echo 0)" "${LAB_PEERS[$host]}" ||
      fail 1 "could not set up host $host"
  done
  # A link is up some time after both its ends were told to be; until then routers do not use it.
  for host in "${LAB_HOSTS[@]}"; do
    lab_until 10 lab_links_are_up "$host" || fail 1 "the links of host $host do not come up"
  done
}
lab_links_are_up() {
  ip -n "$(lab_namespace "$1")" -br link | awk '$1 ~ /^to-/ && $2 != "UP" { down = 1 } END { exit down }'
}

lab_up() {
  lab_binary
  if [[ -z ${LAB_INSIDE:-} ]]; then
    lab_claim
    lab_on_exit lab_remove
    # The same binary for as long as the lab lives, also for `exec` and `run`.
    ln -s "$XCAST" "$LAB_STATE/xcast"
  fi
  if lab_is_native; then
    lab_build_network
    lab_start_routers
    : >"$LAB_STATE/up"
  else
    lab_holder_start
    lab_enter up --quiet
  fi
  lab_on_exit_nothing
  [[ -z ${LAB_QUIET:-} ]] || return 0
  if [[ -n ${LAB_JSON:-} ]]; then
    lab_status
  else
    printf '%s is up: %d hosts, %d links, %d routers.\n' \
      "$(lab_title)" "${#LAB_HOSTS[@]}" "${#LAB_LINKS[@]}" "${#LAB_ROUTERS[@]}"
    printf "'%s exec%s HOST COMMAND...' runs a command on a host, '%s down%s' takes it down.\n" \
      "$LAB_INVOKED" "$(lab_suffix_words)" "$LAB_INVOKED" "$(lab_suffix_words)"
  fi
}

# What up made, however far it came.
lab_remove() {
  local names pid namespace
  [[ -d ${LAB_STATE:?} ]] || return 0
  if lab_is_native || lab_holder_pid >/dev/null; then
    mapfile -t names < <(lab_recorded)
    ((${#names[@]} == 0)) || lab_end "${names[@]}"
  fi
  if lab_is_native; then
    if [[ -s $LAB_STATE/namespaces ]]; then
      while read -r namespace; do
        [[ ! -e /run/netns/$namespace ]] || printf 'netns del %s\n' "$namespace"
      done <"$LAB_STATE/namespaces" | ip -force -batch - || :
    fi
  elif pid=$(lab_holder_pid); then
    # Everything in it goes with it.
    kill -KILL "$pid" 2>/dev/null || :
    lab_holder_gone() { [[ ! -e /proc/$pid ]]; }
    lab_until 10 lab_holder_gone || complain "the holder, PID $pid, does not end"
  fi
  [[ -n ${LAB_INSIDE:-} ]] || rm -rf -- "${LAB_STATE:?}"
}

lab_down() {
  local was=1
  [[ -d $LAB_STATE ]] || was=
  lab_remove
  [[ -z ${LAB_QUIET:-} ]] || return 0
  if [[ -n ${LAB_JSON:-} ]]; then
    printf '{"lab":%s,"suffix":%s,"up":false}\n' "$(json_string "$LAB")" "$(json_string "$LAB_SUFFIX")"
  elif [[ -n $was ]]; then
    printf '%s is down.\n' "$(lab_title)"
  else
    printf '%s was not up.\n' "$(lab_title)"
  fi
}

lab_is_up() {
  [[ -d $LAB_STATE ]] || return 1
  lab_is_native || { lab_holder_pid >/dev/null && [[ -e $LAB_STATE/up ]]; return; }
  [[ -e $LAB_STATE/up ]] || return 1
  local namespace
  while read -r namespace; do
    [[ -e /run/netns/$namespace ]] || return 1
  done <"$LAB_STATE/namespaces"
}
lab_must_be_up() {
  lab_is_up || fail 1 "$(lab_title) is not up; '$LAB_INVOKED up$(lab_suffix_words)' brings it up"
}

# Status 0 if the lab is up and every router answers.
lab_status() {
  local host link x y pid running comma='' status=0 state namespace addresses
  if ! lab_is_up; then
    if [[ -n ${LAB_JSON:-} ]]; then
      printf '{"lab":%s,"suffix":%s,"up":false,"hosts":[],"links":[]}\n' \
        "$(json_string "$LAB")" "$(json_string "$LAB_SUFFIX")"
    else
      printf '%s is not up.\n' "$(lab_title)"
    fi
    return 1
  fi
  if [[ -n ${LAB_JSON:-} ]]; then
    printf '{"lab":%s,"suffix":%s,"up":true,"state":%s,"hosts":[' \
      "$(json_string "$LAB")" "$(json_string "$LAB_SUFFIX")" "$(json_string "$LAB_STATE")"
  else
    printf '%s is up, its state is in %s.\n' "$(lab_title)" "$LAB_STATE"
    printf '%-5s %-24s %-8s %-13s %s\n' host namespace pid router addresses
  fi
  for host in "${LAB_HOSTS[@]}"; do
    namespace=$(lab_namespace "$host")
    mapfile -t addresses < <(lab_addresses "$host")
    pid=
    running=false
    state=-
    if lab_is_router "$host"; then
      state=stopped
      if pid=$(lab_pid "$host"); then
        state='not answering'
        if lab_ask 2 "$host" ports >/dev/null 2>&1; then
          state=running running=true
        fi
      fi
      [[ $running == true ]] || status=1
    fi
    if [[ -z ${LAB_JSON:-} ]]; then
      printf '%-5s %-24s %-8s %-13s %s\n' "$host" "$namespace" "${pid:--}" "$state" "${addresses[*]}"
      continue
    fi
    printf '%s{"name":%s,"namespace":%s,"addresses":%s,"router":' "$comma" \
      "$(json_string "$host")" "$(json_string "$namespace")" "$(json_strings "${addresses[@]}")"
    if lab_is_router "$host"; then
      printf '{"pid":%s,"socket":%s,"running":%s}}' "${pid:-null}" "$(json_string "$(lab_socket "$host")")" "$running"
    else
      printf 'null}'
    fi
    comma=,
  done
  if [[ -n ${LAB_JSON:-} ]]; then
    printf '],"links":['
    comma=''
    for link in "${LAB_LINKS[@]}"; do
      x=${link%:*} y=${link#*:}
      printf '%s{"ends":%s,"interfaces":%s,"network":%s}' "$comma" "$(json_strings "$x" "$y")" \
        "$(json_strings "to-$y" "to-$x")" "$(json_string "$(lab_network "$x" "$y").0/24")"
      comma=,
    done
    printf ']}\n'
  fi
  return "$status"
}

# lab_exec HOST COMMAND...: with this lab's xcast first in PATH, its code points and, on a router,
# its socket.
lab_exec() {
  local host=$1 words
  shift
  lab_is_host "$host" || fail 2 "there is no host $host; there are: ${LAB_HOSTS[*]}"
  lab_must_be_up
  if ! lab_is_native; then
    lab_enter_words exec
    # The host and its command come last.
    exec "${LAB_WORDS[@]}" -- "$host" "$@"
  fi
  words=(PATH="$LAB_STATE:$PATH" XCAST_EXPERIMENT="$LAB_STATE/experiment.toml")
  if lab_is_router "$host"; then words+=(XCAST_SOCKET="$(lab_socket "$host")"); fi
  cd "${LAB_CWD:-.}" 2>/dev/null || cd /
  exec ip netns exec "$(lab_namespace "$host")" env -u LAB_INSIDE -u LAB_CWD -u LAB_INVOKED \
    "${words[@]}" "$@"
}

# lab_around SUFFIX COMMAND...: the command, with a lab of that suffix up around it.
lab_around() {
  local LAB_SUFFIX=$1
  shift
  LAB_AROUND=$LAB_SUFFIX
  lab_on_exit lab_around_end
  lab_attend "$LAB_DIRECTORY/$LAB" up --quiet --suffix "$LAB_SUFFIX" || exit
  lab_attend "$@" || exit
}

lab_around_end() { "$LAB_DIRECTORY/$LAB" down --quiet --suffix "$LAB_AROUND"; }

lab_verb_run() {
  lab_find_tcpdump
  if ! lab_is_up; then
    [[ ! -d $LAB_STATE ]] ||
      fail 1 "$(lab_title) is there but not whole; '$LAB_INVOKED down$(lab_suffix_words)' removes it"
    [[ -n $LAB_SUFFIX ]] || LAB_SUFFIX=$$
    say "$LAB is not up: bringing up one for this run"
    lab_binary
    export XCAST LAB_TCPDUMP LAB_TCPDUMP_LIBRARIES
    lab_around "$LAB_SUFFIX" "$LAB_DIRECTORY/$LAB" run --suffix "$LAB_SUFFIX" "${LAB_RUN_OPTIONS[@]}"
    return
  fi
  # Two runs would count each other's packets.
  exec {LAB_LOCK}>"$LAB_STATE/run.lock"
  flock -n "$LAB_LOCK" || fail 1 "another run is going on in $(lab_title)"
  lab_run
}

lab_usage() {
  cat <<END
$LAB: a lab of network namespaces, one a host

  $LAB_INVOKED up     [--suffix S] [--json]        bring it up
  $LAB_INVOKED run    [--suffix S] [--json] [...]  send through it and count; brings up one of its own if none is up
  $LAB_INVOKED status [--suffix S] [--json]        status 0 if it is up and all routers answer
  $LAB_INVOKED exec   [--suffix S] HOST COMMAND... run a command on a host
  $LAB_INVOKED down   [--suffix S] [--json]        take it down

  hosts: ${LAB_HOSTS[*]}
  --suffix S    the lab's name is $LAB-S, so that several can be up side by side
${LAB_RUN_USAGE:-}
  XCAST names the binary; without it target/release/xcast, built if it is missing.
END
}

# The options of all verbs. What a lab's run has beyond them it takes from LAB_OPTIONS, which it
# fills with "NAME" -> default before it calls.
lab_main() {
  local verb='' words=() name
  if [[ ${1:-} == --holder ]]; then lab_holder "$2"; fi
  if [[ ${1:-} == --anchor ]]; then lab_anchor "$2"; fi
  LAB_SUFFIX='' LAB_JSON='' LAB_QUIET='' LAB_RUN_OPTIONS=()
  while (($#)); do
    # What follows the host of an exec belongs to its command.
    if [[ $verb == exec && ${#words[@]} -gt 0 ]]; then
      words+=("$@")
      break
    fi
    case $1 in
      --suffix | --suffix=*)
        if [[ $1 == *=* ]]; then LAB_SUFFIX=${1#*=}; else
          (($# > 1)) || fail 2 "--suffix takes a value"
          LAB_SUFFIX=$2
          shift
        fi
        ;;
      --json) LAB_JSON=1 LAB_RUN_OPTIONS+=(--json) ;;
      --quiet) LAB_QUIET=1 ;;
      -h | --help | help)
        lab_usage
        exit 0
        ;;
      --)
        shift
        words+=("$@")
        break
        ;;
      --*)
        name=${1#--}
        name=${name%%=*}
        [[ -n ${LAB_OPTIONS["$name"]:-} && ${verb:-run} == run ]] || fail 2 "unknown option --$name; see --help"
        if [[ $1 == *=* ]]; then LAB_OPTIONS["$name"]=${1#*=}; else
          (($# > 1)) || fail 2 "--$name takes a value"
          LAB_OPTIONS["$name"]=$2
          shift
        fi
        LAB_RUN_OPTIONS+=("--$name" "${LAB_OPTIONS[$name]}")
        ;;
      *) if [[ -z $verb ]]; then verb=$1; else words+=("$1"); fi ;;
    esac
    shift
  done
  [[ -z $LAB_SUFFIX || ($LAB_SUFFIX =~ ^[A-Za-z0-9_.-]{1,32}$ && $LAB_SUFFIX != -*) ]] ||
    fail 2 "a suffix is up to 32 letters, digits, dots, dashes and underscores, not '$LAB_SUFFIX'"
  lab_locate
  lab_colors
  [[ $verb == exec || ${#words[@]} == 0 ]] || fail 2 "'${words[0]}' is too much; see --help"
  lab_peers
  case $verb in
    up) lab_up ;;
    down) lab_down ;;
    status) lab_status ;;
    run)
      if declare -F lab_check_options >/dev/null; then lab_check_options; fi
      lab_verb_run
      ;;
    exec)
      ((${#words[@]} >= 2)) || fail 2 "exec takes a host and a command"
      lab_exec "${words[@]}"
      ;;
    '')
      lab_usage >&2
      exit 2
      ;;
    *) fail 2 "unknown verb '$verb'; see --help" ;;
  esac
}
