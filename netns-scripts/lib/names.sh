# A part of lib.sh: names, numbers, and where a lab keeps what it knows.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- names and numbers ----------------------------------------------------------------------

lab_title() { printf '%s%s' "$LAB" "${LAB_SUFFIX:+-$LAB_SUFFIX}"; }
lab_namespace() { printf '%s-%s%s' "$LAB" "$1" "${LAB_SUFFIX:+-$LAB_SUFFIX}"; }
lab_is_host() { [[ " ${LAB_HOSTS[*]} " == *" $1 "* ]]; }
lab_is_router() { [[ " ${LAB_ROUTERS[*]} " == *" $1 "* ]]; }
# Those that forward unicast and know no Xcast.
lab_is_stock() { [[ " ${LAB_STOCK[*]-} " == *" $1 "* ]]; }

# The link between hosts x < y is 10.x.y.0/24, the end at x ends in x and the one at y in y.
lab_network() {
  local x=${LAB_NUMBERS[$1]} y=${LAB_NUMBERS[$2]}
  ((x < y)) && printf '10.%d.%d' "$x" "$y" || printf '10.%d.%d' "$y" "$x"
}
# lab_address X Y: X's address on its link to Y.
lab_address() { printf '%s.%d' "$(lab_network "$1" "$2")" "${LAB_NUMBERS[$1]}"; }
# The same over IPv6, in labs that have it: fd00:10:x:y::/64, the end at x is ::x. The digits are
# those of IPv4.
lab_network_v6() {
  local x=${LAB_NUMBERS[$1]} y=${LAB_NUMBERS[$2]}
  ((x < y)) && printf 'fd00:10:%d:%d' "$x" "$y" || printf 'fd00:10:%d:%d' "$y" "$x"
}
lab_address_v6() { printf '%s::%d' "$(lab_network_v6 "$1" "$2")" "${LAB_NUMBERS[$1]}"; }
# lab_mtu X:Y: what a link carries.
lab_mtu() { printf '%s' "${LAB_MTUS[$1]:-1500}"; }
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
lab_addresses_v6() {
  local peer
  for peer in ${LAB_PEERS[$1]}; do
    printf '%s\n' "$(lab_address_v6 "$1" "$peer")"
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
