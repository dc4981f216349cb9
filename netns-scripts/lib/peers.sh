# Of the lab `overlay`: the overlay hosts, one peer on each host of PEERS, and what they do.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# How many values are put, got and looked for each time.
VALUES=24

# ---- starting them --------------------------------------------------------------------------

# The processes, apart from the routers by their names.
peer_names() {
  local host
  for host; do printf 'peer-%s\n' "$host"; done
}

# peers_configure TRANSPORT
peers_configure() {
  local host boot
  mkdir -p "$LAB_STATE/peers"
  for host in "${PEERS[@]}"; do
    boot=\"$(lab_addresses "$SOURCE"):9000\"
    [[ $host != "$SOURCE" ]] || boot=''
    {
      cat "$LAB_STATE/experiment.toml"
      printf '\n[host]\nname = "%s"\ncontrol-socket = "%s"\nstate-directory = "%s"\nlisten = ["%s:9000"]\ntransport = "%s"\n' \
        "${host,,}" "$LAB_STATE/peers/$host.sock" "$LAB_STATE/peers/$host" "$(lab_addresses "$host")" "$1"
      printf '\n[rendezvous]\nboot = [%s]\n' "$boot"
      printf '%s\n' "$PEER_CONFIGURATION"
    } >"$LAB_STATE/peers/$host.toml"
    multicast_configure_host "$host"
  done
  if declare -F peers_configure_more >/dev/null; then peers_configure_more; fi
}

# peers_start TRANSPORT: all of them; returns when there is one ring, and a group a locality. On a busy machine a
# locality may come to be two groups, as answers take too long: then once more.
peers_start() {
  local attempt
  peers_configure "$1"
  for attempt in 1 2 3; do
    if (peers_come_together); then return; fi
    ((attempt == 3)) || say "once more"
    peers_stop
  done
  fail 1 "the peers do not come together"
}

# The first of each locality one after the other: who looks for a group while the next one is founded founds its
# own. Then one more of each at a time: all at once keep a small machine so busy that they measure nothing else.
peers_come_together() {
  local host number batch
  for host in "${PEERS[@]}"; do
    [[ $host == ?1 ]] || continue
    peers_spawn "$host"
    lab_until 40 have_groups "$host" || fail 1 "$host founds no group"
  done
  for number in 2 3 4 5 6; do
    batch=()
    for host in "${PEERS[@]}"; do [[ $host != ?"$number" ]] || batch+=("$host"); done
    peers_spawn "${batch[@]}"
    lab_until 40 have_groups "${batch[@]}" || fail 1 "${batch[*]} join no group"
  done
  lab_until 60 peers_are_members || fail 1 "$SETTLED: the peers do not come to one ring"
  [[ $SETTLED == *" in ${#LOCALITIES[@]} groups, ${#LOCALITIES[@]} if localities are told apart" ]] || fail 1 "$SETTLED: a locality is not one group"
}
peers_stop() {
  local names
  mapfile -t names < <(peer_names "${PEERS[@]}")
  lab_end "${names[@]}"
  # Those who meet again are who they were, and know nobody.
  rm -f "$LAB_STATE"/peers/*/*/*.store
}
# peers_spawn HOST...
peers_spawn() {
  local host names
  for host; do lab_spawn "peer-$host" "$host" "$LAB_STATE/overlay-host" run --config "$LAB_STATE/peers/$host.toml"; done
  mapfile -t names < <(peer_names "$@")
  lab_await 30 ready out '^ready' "${names[@]}" || exit 1
}
have_groups() {
  local host
  for host; do peer "$host" show group --json 2>/dev/null | grep -q '"group":"' || return 1; done
}

# ---- what they know -------------------------------------------------------------------------

# peer HOST WORDS...: asks the peer of HOST.
peer() {
  local host=$1
  shift
  timeout 40 "$LAB_STATE/overlay-host" "$@" --socket "$LAB_STATE/peers/$host.sock"
}
# peers_show TOPIC: lines "HOST KEY VALUE", of all peers at once.
peers_show() {
  local host
  for host in "${PEERS[@]}"; do
    peer "$host" show "$1" --json 2>/dev/null | json_flatten | sed "s/^[0-9]*\t/$host\t/" &
  done | awk -F '\t' '{ sub(/^peers\.0\./, "", $2); print $1, $2, $3 }'
}

# All are members of one ring, and of groups, which stay as they are then. SETTLED says how far it is.
peers_are_members() {
  SETTLED=$({
    peers_show ring
    peers_show group
  } | awk -v peers="${#PEERS[@]}" '
    $2 == "id" { id[$1] = $3; host[$3] = $1 }
    $2 == "joined" && $3 == "true" { joined++ }
    $2 == "successor" { successor[$1] = $3 }
    $2 == "group" && $3 != "null" { group[$1] = $3; grouped++ }
    END {
      at = "A1"
      do { round++; at = host[successor[at]] } while (at != "" && at != "A1" && round <= peers)
      if (at != "A1") round = 0
      for (one in group) { groups[group[one]]; parts[substr(one, 1, 1) " " group[one]] }
      printf "%d of %d joined, a round of %d, %d in %d groups, %d if localities are told apart",
        joined, peers, round, grouped, length(groups), length(parts)
      exit !(joined == peers && round == peers && grouped == peers)
    }')
}

# ---- what they do ---------------------------------------------------------------------------

# Of operations: "KIND NUMBER" -> what came of it; how many of a KIND failed; in milliseconds.
declare -A DONE=() FAILED=() SPENT=()

# The peers in turn, beginning with number N.
peer_number() { printf '%s' "${PEERS[$(($1 % ${#PEERS[@]}))]}"; }

# operations ROUND KIND SHIFT: VALUES operations of a kind (put, get or find-node), each by another peer.
operations() {
  local round=$1 kind=$2 shift=$3 number host start names=()
  start=$(date +%s%3N)
  for ((number = 0; number < VALUES; number++)); do
    host=$(peer_number "$((number + shift))")
    local words=("$kind" "$round-$number")
    [[ $kind != put ]] || words+=("value $round-$number")
    peer "$host" "${words[@]}" --json >"$LAB_STATE/logs/$round-$kind-$number" 2>"$LAB_STATE/logs/$round-$kind-$number.err" &
    names+=("$!")
  done
  wait "${names[@]}" || :
  SPENT["$round $kind"]=$(($(date +%s%3N) - start))
  FAILED["$round $kind"]=0
  for ((number = 0; number < VALUES; number++)); do
    if [[ -s $LAB_STATE/logs/$round-$kind-$number ]]; then
      DONE["$round $kind $number"]=$(json_flatten <"$LAB_STATE/logs/$round-$kind-$number")
    else
      FAILED["$round $kind"]=$((FAILED["$round $kind"] + 1))
    fi
  done
}
# field ROUND KIND NUMBER KEY
field() { awk -F '\t' -v key="$4" '$2 == key { print $3 }' <<<"${DONE["$1 $2 $3"]:-}"; }

# Each value that was acknowledged is there, with its owner where every peer looks for it.
check_operations() {
  local round=$1 number
  for ((number = 0; number < VALUES; number++)); do
    [[ -n ${DONE["$round put $number"]:-} ]] || continue
    [[ $(field "$round" get "$number" value) == "value $round-$number" ]] ||
      ERRORS+=("$round: value $number was acknowledged to $(peer_number "$number"), and another peer does not get it: $(cat "$LAB_STATE/logs/$round-get-$number.err")")
    [[ $(field "$round" find-node "$number" id) == "$(field "$round" put "$number" owner)" ]] ||
      ERRORS+=("$round: peers do not agree who is responsible for value $number")
  done
}

# peers_counters: what all peers together have sent so far, and what went over links: lines "KEY NUMBER".
peers_counters() {
  peers_show traffic | awk '
    { sum[$2] += $3 }
    END { for (key in sum) printf "%s %d\n", key, sum[key] }'
  lab_emulator_statistics | awk '
    $3 == "forwarded" { frames += $4; octets += $5; if ($1 ~ /^X/ && $2 ~ /^X/) { core += $4; core_octets += $5 } }
    $3 ~ /^(loss|queue|overrun|refused|in-flight|unreadable)$/ { dropped += $4 }
    END { printf "frames %d\noctets %d\ncore-frames %d\ncore-octets %d\ndropped %d\n", frames, octets, core, core_octets, dropped }'
}

# How long what is sent is counted, in seconds.
WINDOW=10
# "TRANSPORT KEY" -> how much of it was sent in that time.
declare -A SENT=()

# peers_window TRANSPORT: all operations, and what goes over links meanwhile and for the rest of the time.
peers_window() {
  local before end key value
  before=$(peers_counters)
  end=$((SECONDS + WINDOW))
  operations "$1" put 0
  operations "$1" get 7
  operations "$1" find-node 13
  check_operations "$1"
  ((FAILED["$1 put"] == 0)) || ERRORS+=("$1: ${FAILED["$1 put"]} of $VALUES values were not acknowledged")
  window_is_over() { ((SECONDS >= end)); }
  lab_until "$WINDOW" window_is_over || :
  while read -r key value; do SENT["$1 $key"]=$value; done < <(
    awk 'NR == FNR { before[$1] = $2; next } { print $1, $2 - before[$1] }' <(printf '%s\n' "$before") <(peers_counters))
  ((SENT["$1 dropped"] == 0)) || ERRORS+=("$1: ${SENT["$1 dropped"]} frames were dropped by links that lose none")
}

peers_run() {
  say "24 peers put, get and find $VALUES values, all at once"
  peers_window auto
  say "once more, and X2's router is killed meanwhile"
  operations_while_killed
  check_operations killed
  GROUP_LINES=$(peers_groups)
  lab_spawn_router X2
  lab_await 20 ready out '^ready' X2 || exit 1
  say "the peers begin anew, without Xcast"
  peers_stop
  peers_start unicast
  peers_window unicast
  # As it was.
  peers_stop
  peers_start auto
}
operations_while_killed() {
  local killer
  (
    lab_tick
    lab_signal KILL X2
  ) &
  killer=$!
  operations killed put 3
  wait "$killer" || :
  lab_until 5 lab_none_runs X2 || ERRORS+=("X2's router does not die")
  operations killed get 11
  operations killed find-node 17
}

# ---- showing --------------------------------------------------------------------------------

# Lines "GROUP MEMBER...", the leader with an asterisk.
peers_groups() {
  peers_show group | awk '
    $2 == "group" { group[$1] = $3 }
    $2 == "leads" && $3 == "true" { mark[$1] = "*" }
    END { for (host in group) print group[host], host mark[host] }' | sort |
    awk '{ if ($1 != last) printf "%s%s", (last == "" ? "" : "\n"), $1; printf " %s", $2; last = $1 } END { printf "\n" }' |
    sort -k 2
}

declare -A ROUND_NAMES=([auto]='with Xcast' [killed]="X2's router is killed meanwhile" [unicast]='without Xcast')
peers_report() {
  local kind round group members row
  printf '\n  %s%-18s %s%s\n' "$BOLD" group 'members (* leads it)' "$RESET"
  while read -r group members; do printf '  %-18s %s\n' "${group:0:16}" "$members"; done <<<"$GROUP_LINES"
  printf '\n  %s%-34s %9s %9s %9s%s\n' "$BOLD" "$VALUES operations at once: ms for all" put get find-node "$RESET"
  for round in auto killed unicast; do
    printf '  %-36s' "${ROUND_NAMES[$round]}"
    for kind in put get find-node; do printf ' %9d' "${SPENT["$round $kind"]}"; done
    printf '\n'
  done
  printf '\n  %s%-34s %19s   %19s%s\n' "$BOLD" "in $WINDOW seconds with these operations" 'with Xcast' 'without' "$RESET"
  printf '  %s%-34s %9s %9s   %9s %9s%s\n' "$DIM" '' packets bytes packets bytes "$RESET"
  row 'sent by peers, unicast' unicast-packets-sent unicast-bytes-sent
  row 'sent by peers, Xcast' xcast-packets-sent xcast-bytes-sent
  row 'frames on all links' frames octets
  row 'of these on X1 -- X2' core-frames core-octets
  printf '  An Xcast packet was for %s receivers on average.\n\n' \
    "$(awk -v receivers="${SENT["auto xcast-receivers"]}" -v packets="${SENT["auto xcast-packets-sent"]}" \
      'BEGIN { printf "%.1f", (packets > 0 ? receivers / packets : 0) }')"
}
# row TEXT PACKETS BYTES: two counters, with Xcast and without.
row() {
  printf '  %-34s %9d %9d   %9d %9d\n' "$1" "${SENT["auto $2"]:-0}" "${SENT["auto $3"]:-0}" "${SENT["unicast $2"]:-0}" "${SENT["unicast $3"]:-0}"
}

peers_report_json() {
  local kind round group members comma=''
  printf '"overlay":{"groups":['
  while read -r group members; do
    read -ra members <<<"${members//\*/}"
    printf '%s{"group":"%s","members":%s}' "$comma" "$group" "$(json_strings "${members[@]}")"
    comma=,
  done <<<"$GROUP_LINES"
  printf '],"operations":['
  comma=''
  for round in auto killed unicast; do
    for kind in put get find-node; do
      printf '%s{"round":"%s","kind":"%s","count":%d,"failed":%d,"milliseconds":%d}' "$comma" "$round" "$kind" "$VALUES" \
        "${FAILED["$round $kind"]}" "${SPENT["$round $kind"]}"
      comma=,
    done
  done
  printf '],"seconds":%d,"sent":{' "$WINDOW"
  comma=''
  for round in auto unicast; do
    printf '%s"%s":{"unicast":%s,"xcast":%s,"xcast-receivers":%d,"links":%s,"core":%s}' "$comma" "$round" \
      "$(json_amount "${SENT["$round unicast-packets-sent"]:-0}" "${SENT["$round unicast-bytes-sent"]:-0}")" \
      "$(json_amount "${SENT["$round xcast-packets-sent"]:-0}" "${SENT["$round xcast-bytes-sent"]:-0}")" \
      "${SENT["$round xcast-receivers"]:-0}" "$(json_amount "${SENT["$round frames"]}" "${SENT["$round octets"]}")" \
      "$(json_amount "${SENT["$round core-frames"]}" "${SENT["$round core-octets"]}")"
    comma=,
  done
  printf '}}'
}
