# A part of lib.sh: the routers of a lab.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

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
      if declare -F lab_router_configuration >/dev/null; then lab_router_configuration "$host"; fi
    } >"$LAB_STATE/${host,,}.toml"
  done
}

lab_start_routers() {
  local host
  lab_write_configurations
  for host in "${LAB_ROUTERS[@]}"; do lab_spawn_router "$host"; done
  lab_await 20 ready out '^ready' "${LAB_ROUTERS[@]}"
}
lab_spawn_router() {
  lab_spawn "$1" "$1" "$LAB_STATE/xcast" router run --config "$LAB_STATE/${1,,}.toml"
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
