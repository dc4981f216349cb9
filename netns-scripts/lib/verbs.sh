# A part of lib.sh: up, down, run, status, exec.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- the verbs ------------------------------------------------------------------------------

# All namespaces and links by one `ip`, then one shell in each namespace.
lab_build_network() {
  local host batch=$LAB_STATE/batch why namespaces=("${LAB_HOSTS[@]}")
  mkdir "$batch"
  ((${#LAB_QUALITIES[@]} == 0)) || namespaces+=("$LAB_CABLES")

  : >"$LAB_STATE/namespaces"
  for host in "${namespaces[@]}"; do
    [[ ! -e /run/netns/$(lab_namespace "$host") ]] ||
      fail 1 "there is a namespace $(lab_namespace "$host") already, not of our making; 'ip netns del' removes it"
  done
  for host in "${namespaces[@]}"; do
    # Recorded first, so that nothing is left if we end right behind it.
    lab_namespace "$host" >>"$LAB_STATE/namespaces"
    printf '\n' >>"$LAB_STATE/namespaces"
    printf 'netns add %s\n' "$(lab_namespace "$host")"
  done >"$batch/all"
  lab_link_commands >>"$batch/all"
  if ! why=$(ip -batch "$batch/all" 2>&1); then
    complain "no network namespaces here:"
    printf '%s\n' "$why" | sed 's/^/  /' >&2
    complain "this takes root with CAP_SYS_ADMIN and CAP_NET_ADMIN (in a container: --privileged), or a user who is not root"
    exit 2
  fi

  for host in "${LAB_HOSTS[@]}"; do
    lab_host_commands "$host" >"$batch/$host"
    # shellcheck disable=SC2016 # for the shell inside
    lab_in "$host" bash -c '
      cd /proc/sys/net
      if [[ -z $4 ]]; then
        # IPv6 goes first: its greetings would be in every capture.
        for each in ipv6/conf/{all,default,lo}/disable_ipv6; do
          [[ ! -e $each ]] || printf 1 >"$each"
        done
      else
        # No address and no route but those that the lab gives. Some exist before the first link.
        printf 0 | tee ipv6/conf/{all,default,lo}/disable_ipv6 ipv6/conf/{all,default}/accept_ra \
          ipv6/conf/default/{autoconf,router_solicitations} >/dev/null || exit
        for each in ipv6/conf/to-*/accept_ra; do printf 0 >"$each"; done
        for each in ipv6/conf/{default,to-*}/addr_gen_mode; do printf 1 >"$each"; done
        printf "%s" "$2" >ipv6/conf/all/forwarding
      fi
      printf "%s" "$2" >ipv4/ip_forward
      cd / && ip -batch "$1" || exit
      # Whole packets with whole checksums in the captures; Xcast does not need it.
      type -P ethtool >/dev/null || exit 0
      for each in $3; do ethtool -K "to-$each" tx off gso off tso off gro off >/dev/null 2>&1; done
      exit 0
    ' - "$batch/$host" "$(lab_forwards "$host" && echo 1 || echo 0)" "${LAB_PEERS[$host]}" "$LAB_IPV6" ||
      fail 1 "could not set up host $host"
  done
  lab_start_emulator
  # A link is up some time after both its ends were told to be; until then routers do not use it.
  for host in "${LAB_HOSTS[@]}"; do
    lab_until 10 lab_links_are_up "$host" || fail 1 "the links of host $host do not come up"
  done
}
lab_forwards() { lab_is_router "$1" || lab_is_stock "$1"; }

# The links, as commands for `ip`.
lab_link_commands() {
  local link x y
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    if lab_is_emulated "$link"; then
      lab_cable_commands "$x" "$y"
      continue
    fi
    # Indexes that differ: the kernel takes up to a second to call a link up where both ends have
    # the same one.
    printf 'link add name to-%s index %d address %s netns %s type veth peer name to-%s index %d address %s netns %s\n' \
      "$y" "$((100 + ${LAB_NUMBERS[$y]}))" "$(lab_mac "$x" "$y")" "$(lab_namespace "$x")" \
      "$x" "$((100 + ${LAB_NUMBERS[$x]}))" "$(lab_mac "$y" "$x")" "$(lab_namespace "$y")"
  done
}

# lab_host_commands HOST: its addresses and routes, as commands for `ip`.
lab_host_commands() {
  local host=$1 peer link via via_v6
  printf 'link set lo up\n'
  for peer in ${LAB_PEERS[$host]}; do
    printf 'addr add %s/24 dev to-%s\n' "$(lab_address "$host" "$peer")" "$peer"
    if [[ -n $LAB_IPV6 ]]; then
      printf 'addr add %s/64 dev to-%s nodad\naddr add fe80::%d/64 dev to-%s nodad\n' \
        "$(lab_address_v6 "$host" "$peer")" "$peer" "${LAB_NUMBERS[$host]}" "$peer"
    fi
    link=$host:$peer
    [[ -n ${LAB_MTUS[$link]:-} ]] || link=$peer:$host
    printf 'link set to-%s mtu %d up\n' "$peer" "$(lab_mtu "$link")"
  done
  if lab_forwards "$host" && declare -F lab_routes >/dev/null; then
    lab_routes "$host"
    return
  fi
  for peer in ${LAB_PEERS[$host]}; do
    via=$(lab_address "$peer" "$host")
    via_v6=$(lab_address_v6 "$peer" "$host")
    if ! lab_forwards "$host"; then
      printf 'route add default via %s\n' "$via"
      [[ -z $LAB_IPV6 ]] || printf 'route add default via %s\n' "$via_v6"
      break
    fi
    for link in $(lab_links_behind "$peer" "$host"); do
      printf 'route add %s.0/24 via %s\n' "$(lab_network "${link%:*}" "${link#*:}")" "$via"
      [[ -z $LAB_IPV6 ]] ||
        printf 'route add %s::/64 via %s\n' "$(lab_network_v6 "${link%:*}" "${link#*:}")" "$via_v6"
    done
  done
}

lab_links_are_up() {
  ip -n "$(lab_namespace "$1")" -br link | awk '$1 ~ /^to-/ && $2 != "UP" { down = 1 } END { exit down }'
}

lab_up() {
  if declare -F lab_needs >/dev/null; then lab_needs; fi
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
    if declare -F lab_started >/dev/null; then lab_started; fi
    : >"$LAB_STATE/up"
  else
    lab_holder_start
    lab_enter up --quiet "${LAB_SHAPE[@]}"
  fi
  lab_on_exit_nothing
  [[ -z ${LAB_QUIET:-} ]] || return 0
  if [[ -n ${LAB_JSON:-} ]]; then
    lab_status
  else
    printf '%s is up: %d hosts, %d links, %d routers%s.\n' \
      "$(lab_title)" "${#LAB_HOSTS[@]}" "${#LAB_LINKS[@]}" "${#LAB_ROUTERS[@]}" \
      "$( ((${#LAB_STOCK[@]} == 0)) || printf ', %d of them without Xcast' "${#LAB_STOCK[@]}")"
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
  local host link x y pid running comma='' status=0 state namespace addresses more
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
    mapfile -t addresses < <(
      lab_addresses "$host"
      [[ -z $LAB_IPV6 ]] || lab_addresses_v6 "$host"
    )
    pid=
    running=false
    state=-
    if lab_is_stock "$host"; then state=stock; fi
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
    more=''
    if declare -F lab_status_more >/dev/null; then more=$(lab_status_more "$host") || status=1; fi
    if [[ -z ${LAB_JSON:-} ]]; then
      printf '%-5s %-24s %-8s %-13s %s\n' "$host" "$namespace" "${pid:--}" "$state" "${addresses[*]}"
      continue
    fi
    printf '%s{"name":%s,"namespace":%s,"addresses":%s,"forwards":%s,"router":' "$comma" \
      "$(json_string "$host")" "$(json_string "$namespace")" "$(json_strings "${addresses[@]}")" \
      "$(lab_forwards "$host" && printf true || printf false)"
    if lab_is_router "$host"; then
      printf '{"pid":%s,"socket":%s,"running":%s}' "${pid:-null}" "$(json_string "$(lab_socket "$host")")" "$running"
    else
      printf null
    fi
    printf '%s}' "$more"
    comma=,
  done
  if [[ -n ${LAB_JSON:-} ]]; then
    printf '],"links":['
    comma=''
    for link in "${LAB_LINKS[@]}"; do
      x=${link%:*} y=${link#*:}
      printf '%s{"ends":%s,"interfaces":%s,"network":%s,"network-v6":%s,"mtu":%d}' "$comma" \
        "$(json_strings "$x" "$y")" "$(json_strings "to-$y" "to-$x")" \
        "$(json_string "$(lab_network "$x" "$y").0/24")" \
        "$([[ -n $LAB_IPV6 ]] && json_string "$(lab_network_v6 "$x" "$y")::/64" || printf null)" \
        "$(lab_mtu "$link")"
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
  if declare -F lab_variables >/dev/null; then mapfile -t -O "${#words[@]}" words < <(lab_variables "$host"); fi
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
  lab_attend "$LAB_DIRECTORY/$LAB" up --quiet --suffix "$LAB_SUFFIX" "${LAB_SHAPE[@]}" || exit
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
# fills with "NAME" -> default before it calls; those that LAB_SHAPING names are for up, too.
lab_main() {
  local verb='' words=() name
  if [[ ${1:-} == --holder ]]; then lab_holder "$2"; fi
  if [[ ${1:-} == --anchor ]]; then lab_anchor "$2"; fi
  LAB_SUFFIX='' LAB_JSON='' LAB_QUIET='' LAB_RUN_OPTIONS=() LAB_SHAPE=()
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
        [[ -n ${LAB_OPTIONS["$name"]:-} && (${verb:-run} == run || ($verb == up && " ${LAB_SHAPING[*]-} " == *" $name "*)) ]] ||
          fail 2 "unknown option --$name; see --help"
        if [[ $1 == *=* ]]; then LAB_OPTIONS["$name"]=${1#*=}; else
          (($# > 1)) || fail 2 "--$name takes a value"
          LAB_OPTIONS["$name"]=$2
          shift
        fi
        LAB_RUN_OPTIONS+=("--$name" "${LAB_OPTIONS[$name]}")
        [[ " ${LAB_SHAPING[*]-} " != *" $name "* ]] || LAB_SHAPE+=("--$name" "${LAB_OPTIONS[$name]}")
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
