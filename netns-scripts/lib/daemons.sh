# A part of lib.sh: routing daemons on the relays of a lab, over the tunnels between them.
#
# A lab that has them sets
#   LAB_DAEMON     bird or frr, before `up`
#   LAB_TUNNELS    "X:Y" each, relays that have a tunnel between them
#   LAB_ENDS       "X:Y" -> X's neighbor on the way to Y, whose link has the outer address
#   LAB_NEAR       relay -> "X:Y" each, the links it announces
# and asks for them by LAB_DAEMON_TABLE, the kernel table that the daemons write their routes to.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- tunnels --------------------------------------------------------------------------------

# lab_tunnel_peers X: the relays that X has tunnels to.
lab_tunnel_peers() {
  local tunnel
  for tunnel in "${LAB_TUNNELS[@]}"; do
    case $tunnel in
      "$1:"*) printf '%s\n' "${tunnel#*:}" ;;
      *":$1") printf '%s\n' "${tunnel%:*}" ;;
    esac
  done
}
# The tunnel from X to Y is the interface xtY there; 192.168.xy.x is X's address on it.
lab_tunnel_interface() { printf 'xt%d' "${LAB_NUMBERS[$1]}"; }
lab_tunnel_address() {
  local x=${LAB_NUMBERS[$1]} y=${LAB_NUMBERS[$2]}
  ((x < y)) && printf '192.168.%d%d.%d' "$x" "$y" "$x" || printf '192.168.%d%d.%d' "$y" "$x" "$x"
}
# A relay's own address, which no link has.
lab_loopback() { printf '192.168.255.%d' "${LAB_NUMBERS[$1]}"; }

# lab_tunnel_configuration X: for X's router.
lab_tunnel_configuration() {
  local peer
  printf '\n[routes]\nkernel-tables = [%d, 254]\n' "$LAB_DAEMON_TABLE"
  for peer in $(lab_tunnel_peers "$1"); do
    printf '\n[[tunnel]]\nname = "%s"\nkind = "ipip"\nlocal = "%s"\nremote = "%s"\ninterface = "%s"\n' \
      "${peer,,}" "$(lab_address "$1" "${LAB_ENDS[$1:$peer]}")" \
      "$(lab_address "$peer" "${LAB_ENDS[$peer:$1]}")" "$(lab_tunnel_interface "$peer")"
  done
}

# lab_address_tunnels X: gives X's TUN devices, which its router has just made, their addresses.
lab_address_tunnels() {
  local peer
  {
    printf 'address replace %s/32 dev lo\n' "$(lab_loopback "$1")"
    for peer in $(lab_tunnel_peers "$1"); do
      printf 'address replace %s/24 dev %s\n' "$(lab_tunnel_address "$1" "$peer")" "$(lab_tunnel_interface "$peer")"
    done
  } | ip -n "$(lab_namespace "$1")" -batch -
}

# ---- daemons --------------------------------------------------------------------------------

# lab_find_daemon: status 2 if it is not installed.
lab_find_daemon() {
  local each
  case $LAB_DAEMON in
    bird) type -P bird birdc >/dev/null || fail 2 "BIRD is not installed; run: apt install bird2" ;;
    frr)
      for each in zebra ospfd bgpd; do
        [[ -x $(lab_frr_directory)/$each ]] || fail 2 "FRR is not installed; run: apt install frr"
      done
      ;;
    *) fail 2 "--daemon takes bird or frr, not '$LAB_DAEMON'" ;;
  esac
}
lab_frr_directory() { if [[ -x /usr/lib/frr/zebra ]]; then printf /usr/lib/frr; else printf /usr/libexec/frr; fi; }

# The processes of the daemon on a relay.
lab_daemon_names() {
  case $LAB_DAEMON in
    bird) printf 'bird-%s\n' "$1" ;;
    frr) printf '%s-'"$1"'\n' zebra ospfd bgpd ;;
  esac
}

# lab_start_daemon X
lab_start_daemon() {
  local directory=$LAB_STATE/daemons/$1
  mkdir -p "$directory"
  lab_"$LAB_DAEMON"_start "$1" "$directory"
}

lab_near_network() { printf '%s.0/24' "$(lab_network "${1%:*}" "${1#*:}")"; }

# lab_near_peer X LINK: X's neighbor on the way to a link that it announces.
lab_near_peer() { if [[ ${2%:*} == "$1" ]]; then printf '%s' "${2#*:}"; else printf '%s' "${2%:*}"; fi; }

lab_bird_start() {
  local host=$1 directory=$2 near peer
  {
    printf 'router id %s;\nlog stderr all;\n\nprotocol device {}\n\n' "$(lab_loopback "$host")"
    printf '# What this relay is near to.\nprotocol static near {\n  ipv4;\n'
    for near in ${LAB_NEAR[$host]}; do
      printf '  route %s via "to-%s";\n' "$(lab_near_network "$near")" "$(lab_near_peer "$host" "$near")"
    done
    printf '}\n\nprotocol ospf v2 backbone {\n  ipv4 { import all; export where source = RTS_STATIC; };\n  area 0 {\n'
    for peer in $(lab_tunnel_peers "$host"); do
      printf '    interface "%s" { type ptp; hello 1; dead 4; retransmit 2; };\n' "$(lab_tunnel_interface "$peer")"
    done
    printf '  };\n}\n\n# The Xcast routing table.\nprotocol kernel {\n  kernel table %d;\n' "$LAB_DAEMON_TABLE"
    printf '  ipv4 { export where source = RTS_OSPF_EXT2; };\n}\n'
  } >"$directory/bird.conf"
  lab_spawn "bird-$host" "$host" bird -f -c "$directory/bird.conf" -s "$directory/bird.ctl"
}

# OSPF finds the way to the other relays, BGP says what is near to them: its routes can go to a table
# of their own.
lab_frr_start() {
  local host=$1 directory=$2 near peer daemon
  # Its own user could not reach our directory, and it insists on a group that may talk to it.
  local options=(-u root -g frrvty -P 0 --vty_socket "$directory" -z "$directory/zserv.api" --log stdout)
  : >"$directory/zebra.conf"
  {
    for peer in $(lab_tunnel_peers "$host"); do
      printf 'interface %s\n ip ospf hello-interval 1\n ip ospf dead-interval 4\n ip ospf retransmit-interval 1\n!\n' \
        "$(lab_tunnel_interface "$peer")"
    done
    printf 'router ospf\n ospf router-id %s\n timers throttle spf 0 50 500\n timers throttle lsa all 50\n timers lsa min-arrival 50\n network 192.168.0.0/16 area 0\n' \
      "$(lab_loopback "$host")"
  } >"$directory/ospfd.conf"
  {
    printf 'router bgp 65000\n bgp router-id %s\n no bgp network import-check\n timers bgp 1 4\n' "$(lab_loopback "$host")"
    for peer in "${LAB_ROUTERS[@]}"; do
      [[ $peer != "$host" ]] || continue
      peer=$(lab_loopback "$peer")
      printf ' neighbor %s remote-as 65000\n neighbor %s update-source %s\n' "$peer" "$peer" "$(lab_loopback "$host")"
      printf ' neighbor %s timers connect 1\n neighbor %s advertisement-interval 0\n' "$peer" "$peer"
      printf ' neighbor %s route-map xcast in\n' "$peer"
    done
    printf ' address-family ipv4 unicast\n'
    for near in ${LAB_NEAR[$host]}; do printf '  network %s\n' "$(lab_near_network "$near")"; done
    printf ' exit-address-family\n!\nroute-map xcast permit 10\n set table %d\n' "$LAB_DAEMON_TABLE"
  } >"$directory/bgpd.conf"
  for daemon in zebra ospfd bgpd; do
    lab_spawn "$daemon-$host" "$host" "$(lab_frr_directory)/$daemon" "${options[@]}" \
      -f "$directory/$daemon.conf" -i "$directory/$daemon.pid"
    # The others look for zebra only every now and then.
    [[ $daemon != zebra ]] || lab_until 10 test -S "$directory/zserv.api" || fail 1 "zebra does not start on $host"
  done
}

# lab_kill_daemon X: at once, without a word to anybody.
lab_kill_daemon() {
  local names
  mapfile -t names < <(lab_daemon_names "$1")
  lab_signal KILL "${names[@]}"
  lab_until 5 lab_none_runs "${names[@]}" || fail 1 "the routing daemon of $1 does not end"
  rm -f "$LAB_STATE/daemons/$1"/*.{api,ctl,pid,vty}
}

# ---- what they came to ----------------------------------------------------------------------

# lab_xcast_table X: lines "PREFIX TUNNEL", X's routes into tunnels, as its router knows them.
lab_xcast_table() {
  lab_ask 5 "$1" routes --json | json_flatten | awk -F '\t' -v source="kernel:$LAB_DAEMON_TABLE" '
    { if (split($2, part, ".") != 3 || part[1] != "routes") next; value[part[2], part[3]] = $3; last = part[2] + 0 }
    END {
      for (i = 0; i <= last; i++) {
        if (value[i, "source"] == source && value[i, "state"] == "live") print value[i, "prefix"], value[i, "tunnel"]
      }
    }' | sort
}
