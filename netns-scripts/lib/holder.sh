# A part of lib.sh: a lab without root: a process that holds its namespaces.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

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
