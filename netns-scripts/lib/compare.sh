# Of the lab `overlay`: the lab beside `overlay-sim run lab`, which has the same hosts, identities, seeds,
# timers and operations: what operations find must be the same, and packets on each link nearly as many.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# All randomness follows from it, here and there.
COMPARE_SEED=1
# What simulated hosts have, too. Heartbeats are frequent for packets to be many; hosts of a busy machine are not
# given up for a few that come late.
COMPARE_CONFIGURATION='
[ring]
heartbeat = "500ms"
missed-heartbeats = 10'
# From when all have come together until packets are counted, in seconds.
COMPARE_CALM=10
# Where at least COMPARE_PACKETS_MIN crossed a link, counts differ by at most so many thousandths.
COMPARE_PACKETS_MIN=1000
COMPARE_DIFFERENCE_MAX=20

# compare_check_options: sets COMPARE, the transports, and COMPARE_WINDOW in seconds.
compare_check_options() {
  case ${LAB_OPTIONS[compare]} in
    no) COMPARE=() ;;
    both) COMPARE=(unicast xcast) ;;
    unicast | xcast) COMPARE=("${LAB_OPTIONS[compare]}") ;;
    *) fail 2 "--compare takes unicast, xcast or both, not '${LAB_OPTIONS[compare]}'" ;;
  esac
  # What the simulator calls them.
  case ${LAB_OPTIONS[window]} in
    30s) COMPARE_WINDOW=30 COMPARE_SCALE=ci ;;
    120s) COMPARE_WINDOW=120 COMPARE_SCALE=full ;;
    *) fail 2 "--window takes 30s or 120s, not '${LAB_OPTIONS[window]}'" ;;
  esac
}

# ---- identities and seeds -------------------------------------------------------------------

# compare_mix NUMBER: stirs its bits, as the simulator does (the finish of SplitMix64).
compare_mix() {
  local n=$(($1 + 0x9e3779b97f4a7c15))
  n=$(((n ^ ((n >> 30) & 0x3ffffffff)) * 0xbf58476d1ce4e5b9))
  n=$(((n ^ ((n >> 27) & 0x1fffffffff)) * 0x94d049bb133111eb))
  printf '%d' "$((n ^ ((n >> 31) & 0x1ffffffff)))"
}

# compare_host PLACE HOST: its private key and its seed, as the simulator makes them from the place of a host.
compare_host() {
  local place=$1 host=$2 octets key=$LAB_STATE/peers/$2.key
  octets=$(printf '%016x%08x%016x%024d' "$place" 0 "$COMPARE_SEED" 0)
  octets=${octets:0:40}5a5a5a5a5a5a5a5a5a5a5a5a
  # shellcheck disable=SC2001 # two digits each
  (umask 077 && printf '%b' "$(sed 's/../\\x&/g' <<<"$octets")" | base64 >"$key")
  sed -i "/^\[rendezvous\]/i identity-file = \"$key\"\nseed = \"$(printf '%x' \
    "$(compare_mix "$((COMPARE_SEED ^ $(compare_mix "$place")))")")\"\n" "$LAB_STATE/peers/$host.toml"
}

# Called when all configurations are written.
peers_configure_more() {
  local place
  ((COMPARING == 1)) || return 0
  for place in "${!PEERS[@]}"; do compare_host "$place" "${PEERS[$place]}"; done
}
COMPARING=0

# ---- the lab's side -------------------------------------------------------------------------

# Milliseconds since 1970.
compare_now() { printf '%d' "$((${EPOCHREALTIME/[.,]/} / 1000))"; }
compare_is() { (($(compare_now) >= $1)); }
compare_wait() { until compare_is "$1"; do lab_tick; done; }

# What is sent into each link, seen where it enters the emulator. Router's own packets are none of it.
compare_capture() {
  lab_tcpdump_words "$LAB_CABLES"
  lab_spawn_words capture-cables "$LAB_CABLES" "${LAB_WORDS[@]}" -i any -Q in -nn -U -s 96 -B 65536 -w "$LAB_STATE/captures/$1.pcap" \
    'udp port 9000 or (ip proto 253 and ip[2:2] > 100)'
  lab_await 20 capturing err 'listening on' capture-cables
}

# compare_print TRANSPORT: lines "SECONDS INTERFACE ..." of what was captured.
compare_print() {
  lab_tcpdump_words "$LAB_CABLES"
  "${LAB_WORDS[@]}" -tt -nn -q -r - <"$LAB_STATE/captures/$1.pcap" 2>/dev/null
}

# compare_count TRANSPORT START END: lines "X Y PACKETS", what went from X to Y between these milliseconds.
compare_count() {
  compare_print "$1" | awk -v start="$2" -v end="$3" '
    $1 * 1000 >= start && $1 * 1000 < end { packets[$2]++ }
    { last = $1 * 1000 }
    END {
      # What came to its end too early has none.
      if (last < end) exit
      for (each in packets) { split(each, ends, "-"); print ends[1], ends[2], packets[each] }
    }'
}

# compare_operation TRANSPORT NUMBER: one operation, as the simulator's of this number.
compare_operation() {
  local kinds=(put get find-node) shifts=(0 7 13) value=$(($2 / 3)) kind words
  kind=${kinds[$(($2 % 3))]}
  words=("$kind" "lab-$value")
  [[ $kind != put ]] || words+=("value $value")
  peer "$(peer_number "$((value + shifts[$2 % 3]))")" "${words[@]}" --json >"$LAB_STATE/logs/$1-$2" 2>"$LAB_STATE/logs/$1-$2.err"
}

# compare_answers TRANSPORT: lines "KIND KEY PEER RESULT" of all operations.
compare_answers() {
  local kinds=(put get find-node) shifts=(0 7 13) number value line answer host
  declare -A names=()
  while read -r host line answer; do [[ $line != id ]] || names[$answer]=$host; done < <(peers_show ring)
  for ((number = 0; number < COMPARE_WINDOW; number++)); do
    value=$((number / 3))
    line=$(json_flatten <"$LAB_STATE/logs/$1-$number" |
      awk -F '\t' -v kind="$((number % 3))" '$2 == (kind == 0 ? "owner" : kind == 1 ? "value" : "id") { print $3 }')
    answer=${line:-failed}
    ((number % 3 == 1)) || answer=${names[${line:-none}]:-failed}
    printf '%s lab-%d %s %s\n' "${kinds[$((number % 3))]}" "$value" "$(peer_number "$((value + shifts[number % 3]))")" "$answer"
  done
}

# compare_window TRANSPORT: runs the operations, one a second, and counts packets meanwhile.
compare_window() {
  local transport=$1 start end number pid=''
  mkdir -p "$LAB_STATE/captures"
  compare_capture "$transport" || exit 1
  start=$(($(compare_now) + COMPARE_CALM * 1000))
  end=$((start + COMPARE_WINDOW * 1000))
  for ((number = 0; number < COMPARE_WINDOW; number++)); do
    compare_wait "$((start + number * 1000))"
    [[ -z $pid ]] || wait "$pid" || :
    compare_operation "$transport" "$number" &
    pid=$!
  done
  wait "$pid" || :
  # The kernel hands over what it has captured within a second.
  compare_wait "$((end + 2000))"
  lab_signal INT capture-cables
  lab_until 20 lab_none_runs capture-cables || :
  lab_end capture-cables
  grep -q '^0 packets dropped by kernel' "$LAB_STATE/logs/capture-cables.err" ||
    ERRORS+=("$transport: the capture missed packets: this machine is too busy")
  compare_answers "$transport" | sort >"$LAB_STATE/$transport.answers"
  # What follows takes its time, and they would go on talking.
  peers_stop
  compare_count "$transport" "$start" "$end" | sort >"$LAB_STATE/$transport.lab"
  [[ -s $LAB_STATE/$transport.lab ]] || fail 1 "the capture came to its end too early"
}

# ---- the simulator's side -------------------------------------------------------------------

# compare_simulate TRANSPORT: the same files, "simulated" first.
compare_simulate() {
  local flat=$LAB_STATE/$1.simulator
  "$OVERLAY_SIM" run lab --scale "$COMPARE_SCALE" --transport "$1" --seed "$COMPARE_SEED" --seal signed --json |
    json_flatten >"$flat" || fail 1 "the simulator failed"
  awk -F '\t' -v counts="$LAB_STATE/$1.simulated" -v answers="$LAB_STATE/$1.simulated-answers" '
    { n = split($2, part, "."); if (part[1] != "rows") next; row[part[n]] = $3 }
    part[n] == "source" {
      if (row["name"] == "link-packets") print row["from"], row["to"], row["figure"] >counts
      if (row["name"] == "delivered") print row["operation"], row["key"], row["peer"], row["result"] >answers
    }' "$flat"
  sort -o "$LAB_STATE/$1.simulated" "$LAB_STATE/$1.simulated"
  sort -o "$LAB_STATE/$1.simulated-answers" "$LAB_STATE/$1.simulated-answers"
}

# ---- both, side by side ---------------------------------------------------------------------

# compare_rows TRANSPORT: lines "X Y LAB SIMULATED THOUSANDTHS", of every link and direction.
compare_rows() {
  awk '
    FNR == NR { lab[$1 " " $2] = $3; next }
    {
      is = lab[$1 " " $2] + 0
      difference = $3 > 0 ? 1000 * (is - $3) / $3 : is > 0 ? 1000 : 0
      printf "%s %s %d %d %.1f\n", $1, $2, is, $3, difference
    }' "$LAB_STATE/$1.lab" "$LAB_STATE/$1.simulated"
}

compare_judge() {
  local line difference
  while read -r line; do
    ERRORS+=("$1: packets on $line")
  done < <(compare_rows "$1" | awk -v min="$COMPARE_PACKETS_MIN" -v max="$COMPARE_DIFFERENCE_MAX" '
    ($3 >= min || $4 >= min) && ($5 > max || $5 < -max) {
      printf "%s -> %s: %d in the lab, %d in the simulator, %.1f %% apart\n", $1, $2, $3, $4, $5 / 10
    }')
  while read -r line; do
    ERRORS+=("$1: only one of both (< lab, > simulator): $line")
  done < <(diff "$LAB_STATE/$1.answers" "$LAB_STATE/$1.simulated-answers" | grep '^[<>]')
}

# compare_transport TRANSPORT: all peers anew, and what they send beside what the simulator's do.
compare_transport() {
  say "24 hosts come together anew; transport: $1"
  peers_stop
  peers_start "$1"
  say "an operation a second for $COMPARE_WINDOW s"
  compare_window "$1"
  say "the simulator does the same"
  compare_simulate "$1"
  compare_judge "$1"
}

# What a machine that stood still for a while makes peers send once more is no difference: then all anew. Other
# answers always are one.
compare_run() {
  local transport attempt before others
  COMPARING=1
  [[ $PEER_CONFIGURATION == *'[ring]'* ]] || PEER_CONFIGURATION+=$COMPARE_CONFIGURATION
  for transport in "${COMPARE[@]}"; do
    before=${#ERRORS[@]}
    for attempt in 1 2 3; do
      compare_transport "$transport"
      others=$(printf '%s\n' "${ERRORS[@]:before}" | grep -vc "^$transport: packets on ") || :
      ((attempt < 3 && ${#ERRORS[@]} > before && others == 0)) || break
      printf '%s\n' "${ERRORS[@]:before}" >&2
      say "once more"
      ERRORS=("${ERRORS[@]:0:before}")
    done
  done
}

# ---- showing --------------------------------------------------------------------------------

compare_report() {
  local transport x y lab simulated difference
  for transport in "${COMPARE[@]}"; do
    printf '\n  %s%-12s %12s %12s %12s%s\n' "$BOLD" "$transport" 'lab packets' 'simulator' 'difference' "$RESET"
    while read -r x y lab simulated difference; do
      printf '  %-12s %12d %12d %+11.1f%%\n' "$x -> $y" "$lab" "$simulated" \
        "$(awk -v n="$difference" 'BEGIN { printf "%.1f", n / 10 }')"
    done < <(compare_rows "$transport")
    printf '  %d operations; answers: %s\n' "$(wc -l <"$LAB_STATE/$transport.answers")" \
      "$(cmp -s "$LAB_STATE/$transport.answers" "$LAB_STATE/$transport.simulated-answers" && printf 'the same in both' || printf 'they differ')"
  done
}

compare_report_json() {
  local transport x y lab simulated difference comma='' inner
  printf '{"lab":%s,"suffix":%s,"seconds":%d,"compared":[' "$(json_string "$LAB")" "$(json_string "$LAB_SUFFIX")" "$COMPARE_WINDOW"
  for transport in "${COMPARE[@]}"; do
    printf '%s{"transport":"%s","same-answers":%s,"operations":%d,"links":[' "$comma" "$transport" \
      "$(cmp -s "$LAB_STATE/$transport.answers" "$LAB_STATE/$transport.simulated-answers" && printf true || printf false)" \
      "$(wc -l <"$LAB_STATE/$transport.answers")"
    inner=''
    while read -r x y lab simulated difference; do
      printf '%s{"from":"%s","to":"%s","lab":%d,"simulator":%d,"thousandths":%s}' "$inner" "$x" "$y" "$lab" "$simulated" "$difference"
      inner=,
    done < <(compare_rows "$transport")
    printf ']}'
    comma=,
  done
  printf '],"errors":%s}\n' "$(json_strings ${ERRORS[@]+"${ERRORS[@]}"})"
}
