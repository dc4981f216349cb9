# A part of lib.sh: rounds of traffic from one source to several receivers, and what was counted.
#
# A lab that has rounds sets SOURCE, RECEIVERS and PORT, and takes --count, --size and --interval.
# A round has a name, its WAY. LAB_SEND_WORDS are further words for xcast send.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- rounds of traffic ----------------------------------------------------------------------

# lab_round_options SIZE: takes the options over, of which --size is SIZE at most.
lab_round_options() {
  local unit
  COUNT=${LAB_OPTIONS[count]} SIZE=${LAB_OPTIONS[size]} INTERVAL=${LAB_OPTIONS[interval]}
  [[ $COUNT =~ ^[1-9][0-9]{0,6}$ ]] || fail 2 "--count takes a number from 1 to 9999999, not '$COUNT'"
  [[ $SIZE =~ ^[1-9][0-9]{0,3}$ && $SIZE -le $1 ]] ||
    fail 2 "--size takes a number from 1 to $1, not '$SIZE'"
  [[ $INTERVAL =~ ^([0-9]{1,6})(us|ms|s)$ ]] ||
    fail 2 "--interval takes a time such as 1ms, not '$INTERVAL'"
  case ${BASH_REMATCH[2]} in us) unit=1 ;; ms) unit=1000 ;; s) unit=1000000 ;; esac
  # What the receivers wait at most: more than sending to each of them takes, and some more.
  PATIENCE=$((20 + COUNT * (${#RECEIVERS[@]} + 1) * BASH_REMATCH[1] * unit / 1000000 + COUNT / 1000))
}

# What tcpdump saw go from X to Y: "WAY X Y FORM" -> number.
declare -A PACKETS=() BYTES=()
# What the router X counted as sent to Y: "X Y KEY" -> number.
declare -A COUNTED=()
# "WAY HOST" -> datagrams that arrived with the right size, or with a wrong one.
declare -A RIGHT=() WRONG=()

# lab_zero WAY...
lab_zero() {
  local link x y way form
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    for way; do
      for form in xcast unicast; do
        PACKETS["$way $x $y $form"]=0 BYTES["$way $x $y $form"]=0
        PACKETS["$way $y $x $form"]=0 BYTES["$way $y $x $form"]=0
      done
    done
  done
}

# lab_round WAY VERSION DESTINATIONS...: sends to each of the DESTINATIONS (a list, by commas, of
# addresses of IP version 4 or 6) in turn, with captures on every link and receivers on their hosts.
lab_round() {
  local way=$1 version=$2 host destination names=()
  shift 2
  local captures=$LAB_STATE/captures/$way

  lab_capture_start "$captures" || return
  for host in "${RECEIVERS[@]}"; do
    names+=("receiver-$host")
    # Ordinary UDP receivers: they need no code points.
    lab_spawn "receiver-$host" "$host" "$LAB_STATE/xcast" recv --port "$PORT" --count "$COUNT" \
      --timeout "${PATIENCE}s" --json
  done
  lab_await 10 listening err listening "${names[@]}" || return

  lab_host_words "$SOURCE"
  for destination; do
    lab_attend "${LAB_WORDS[@]}" "$LAB_STATE/xcast" send --experiment "$LAB_STATE/experiment.toml" --to "$destination" \
      --port "$PORT" --count "$COUNT" --size "$SIZE" --interval "$INTERVAL" ${LAB_SEND_WORDS[@]+"${LAB_SEND_WORDS[@]}"} \
      >"$LAB_STATE/logs/send.out" || {
      complain "sending to $destination failed"
      return 1
    }
  done

  # Whoever misses something ends by its own timeout; the count below tells.
  lab_until "$((PATIENCE + 10))" lab_none_runs "${names[@]}" || complain "the receivers do not end"
  lab_end "${names[@]}"
  lab_capture_stop "$captures" || return

  for host in "${RECEIVERS[@]}"; do
    read -r "RIGHT[$way $host]" "WRONG[$way $host]" < <(
      json_flatten <"$LAB_STATE/logs/receiver-$host.out" | awk -F '\t' -v size="$SIZE" '
        $2 == "bytes" { if ($3 == size) right++; else wrong++ }
        END { print right + 0, wrong + 0 }'
    )
  done

  local x y form packets bytes
  while read -r x y form packets bytes; do
    PACKETS["$way $x $y $form"]=$packets
    BYTES["$way $x $y $form"]=$bytes
  done < <(lab_count "$captures" "$(lab_round_filter "$version")")
}

# lab_round_filter VERSION: only what we sent: no probes of neighbors, which have a TTL of 2, and
# no end marks.
lab_round_filter() {
  local peer=${LAB_PEERS[$SOURCE]%% *}
  if [[ $1 == 6 ]]; then
    printf 'src host %s and ip6[7] > 2 and (ip6 proto 43 or udp dst port %d)' "$(lab_address_v6 "$SOURCE" "$peer")" "$PORT"
  else
    printf 'src host %s and ip[8] > 2 and (ip proto 253 or udp dst port %d)' "$(lab_address "$SOURCE" "$peer")" "$PORT"
  fi
}

# lab_count_since FILE: what each router sent by each port, as a difference to the file of an
# earlier lab_counters.
lab_count_since() {
  local x interface key value
  COUNTED=()
  while read -r x interface key value; do
    COUNTED["$x ${interface#to-} $key"]=$value
  done < <(lab_counters | awk 'NR == FNR { before[$1, $2, $3] = $4; next } { print $1, $2, $3, $4 - before[$1, $2, $3] }' "$1" -)
}

# lab_receivers_behind X Y: how many of the receivers a packet reaches by going from X to Y.
lab_receivers_behind() {
  local host number=0 ends
  ends=" $2 $(lab_links_behind "$2" "$1" | sed 's/.*://' | tr '\n' ' ')"
  for host in "${RECEIVERS[@]}"; do
    if [[ $ends == *" $host "* ]]; then number=$((number + 1)); fi
  done
  printf '%d' "$number"
}

# ---- what is wrong --------------------------------------------------------------------------

# In words, and the links it is wrong on.
ERRORS=()
declare -A MARKED=()

# lab_expect X Y WHAT FOUND EXPECTED
lab_expect() {
  if (($4 != $5)); then
    ERRORS+=("$1 -> $2: $4 $3, expected $5")
    MARKED["$1 $2"]=1
  fi
}

# lab_expect_received WAY WORDS
lab_expect_received() {
  local host
  for host in "${RECEIVERS[@]}"; do
    if [[ ${RIGHT["$1 $host"]} != "$COUNT" || ${WRONG["$1 $host"]} != 0 ]]; then
      ERRORS+=("$host received ${RIGHT["$1 $host"]} of $COUNT datagrams $2, and ${WRONG["$1 $host"]} of a wrong size")
    fi
  done
}

# lab_expect_counters WAY: what every router says it sent against what was seen.
lab_expect_counters() {
  local link
  for link in "${LAB_LINKS[@]}"; do
    lab_expect_counter "$1" "${link%:*}" "${link#*:}"
    lab_expect_counter "$1" "${link#*:}" "${link%:*}"
  done
}
# A router that got no Xcast leaves the unicast packets to its kernel, which counts elsewhere.
lab_expect_counter() {
  local way=$1 x=$2 y=$3 copies unicasts=0 bytes
  lab_is_router "$x" || return 0
  copies=${PACKETS["$way $x $y xcast"]}
  bytes=${BYTES["$way $x $y xcast"]}
  if lab_took_xcast "$way" "$x"; then
    unicasts=${PACKETS["$way $x $y unicast"]}
    bytes=$((bytes + ${BYTES["$way $x $y unicast"]}))
  fi
  lab_agree "$x" "$y" replicas-sent-xcast "$copies"
  lab_agree "$x" "$y" replicas-sent-unicast "$unicasts"
  lab_agree "$x" "$y" bytes-sent "$bytes"
}
# Does the router X handle Xcast in this round, or does its kernel forward plain unicast only?
lab_took_xcast() {
  local peer
  for peer in ${LAB_PEERS[$2]}; do
    if ((${PACKETS["$1 $peer $2 xcast"]:-0} > 0)); then return 0; fi
  done
  return 1
}
lab_agree() {
  local counted=${COUNTED["$1 $2 $3"]:-none}
  if [[ $counted != "$4" ]]; then
    ERRORS+=("$1 -> $2: the router counted $counted as $3, the capture has $4")
    MARKED["$1 $2"]=1
  fi
}

# lab_counters_agree FILE WAY: counters may be read a moment before the router has counted its last
# packet, so it is asked again until they do.
lab_counters_agree() {
  lab_count_since "$1"
  ERRORS=() MARKED=()
  lab_expect_counters "$2"
  ((${#ERRORS[@]} == 0))
}

# ---- what the ways have in common -----------------------------------------------------------

# lab_total WAY...: sums over all links: TOTAL[WAY.packets], TOTAL[WAY.bytes].
lab_total() {
  local key way
  declare -gA TOTAL=()
  for way; do
    TOTAL["$way.packets"]=0 TOTAL["$way.bytes"]=0
  done
  for key in "${!PACKETS[@]}"; do
    way=${key%% *}
    TOTAL["$way.packets"]=$((${TOTAL["$way.packets"]} + ${PACKETS["$key"]}))
    TOTAL["$way.bytes"]=$((${TOTAL["$way.bytes"]} + ${BYTES["$key"]}))
  done
}
# lab_saved FORMAT FACTOR WHAT WAY LOOP: the part of the LOOP's total that a WAY saves.
lab_saved() {
  awk -v format="$1" -v factor="$2" -v way="${TOTAL["$4.$3"]}" -v loop="${TOTAL["$5.$3"]}" \
    'BEGIN { printf format, (loop > 0 ? factor * (loop - way) / loop : 0) }'
}

lab_datagrams() { ((COUNT == 1)) && printf '1 datagram' || printf '%d datagrams' "$COUNT"; }
json_amount() { printf '{"packets":%d,"bytes":%d}' "$1" "$2"; }

# Ends what a run has started.
lab_end_run() {
  local names
  mapfile -t names < <(lab_recorded | grep -E '^(capture-|receiver-|sender$)')
  ((${#names[@]} == 0)) || lab_end "${names[@]}"
}
