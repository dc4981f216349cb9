# A part of lib.sh: a stream that goes on while things break, and what became of each of its packets.
#
# Packets are numbered, so that the captures of all links tell which of them arrived where, how
# often, and in which form. A lab that uses it has rounds (see rounds.sh).
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- the stream -----------------------------------------------------------------------------

# What the sender is told beyond the stream, what it runs under, and the source that a relay gives it.
LAB_SENDING=() LAB_UNDER=() LAB_LEASE=
# lab_receiving HOST: sets LAB_RECEIVING, the same for a receiver. A lab may have its own.
lab_receiving() { LAB_RECEIVING=(); }
# Octets of payload of each packet of the stream; it begins with its number.
STREAM_SIZE=64

# lab_stream_start WAY INTERVAL DESTINATIONS
lab_stream_start() {
  local host names=()
  STREAM=$LAB_STATE/captures/$1
  lab_capture_start "$STREAM" || return
  : >"$STREAM/events"
  for host in "${RECEIVERS[@]}"; do
    names+=("receiver-$host")
    lab_receiving "$host"
    lab_spawn "receiver-$host" "$host" ${LAB_UNDER[@]+"${LAB_UNDER[@]}"} "$LAB_STATE/xcast" recv \
      ${LAB_RECEIVING[@]+"${LAB_RECEIVING[@]}"} --port "$PORT" --timeout 1h
  done
  lab_await 10 listening err listening "${names[@]}" || return
  lab_spawn sender "$SOURCE" ${LAB_UNDER[@]+"${LAB_UNDER[@]}"} "$LAB_STATE/xcast" send \
    "${LAB_SENDING[@]:---experiment="$LAB_STATE/experiment.toml"}" --to "$3" \
    --port "$PORT" --number --size "$STREAM_SIZE" --count 99999999 --interval "$2"
  lab_more_packets 300
}

# lab_event TEXT [SECONDS]: happens now. What was sent so many seconds before is concerned, too: what is
# on its way when something fails, as it does if none are given; 0 where something is repaired.
lab_event() { printf '%s\t%s\t%s\n' "$EPOCHREALTIME" "${2:-0.05}" "$1" >>"$STREAM/events"; }

# lab_more_packets NUMBER: until the source has sent that many more.
lab_more_packets() {
  local before
  before=$(lab_packets_sent) || return
  lab_sent_beyond() { (($(lab_packets_sent) >= $1)); }
  lab_until 60 lab_sent_beyond "$((before + $1))"
}
lab_packets_sent() {
  local peer=${LAB_PEERS[$SOURCE]%% *}
  lab_in "$SOURCE" cat "/sys/class/net/to-$peer/statistics/tx_packets"
}

# lab_stream_stop: when everything sent is in the captures.
lab_stream_stop() {
  local names=() host
  lab_end sender
  lab_capture_stop "$STREAM" || return
  for host in "${RECEIVERS[@]}"; do names+=("receiver-$host"); done
  lab_end "${names[@]}"
}

# ---- what became of it ----------------------------------------------------------------------

# lab_stream_filter: packets of the stream, by themselves or in an outer packet, IPv4 or UDP.
lab_stream_filter() {
  local source octets
  source=$(lab_stream_source)
  IFS=. read -ra octets <<<"$source"
  printf -v octets '0x%02x%02x%02x%02x' "${octets[@]}"
  printf '(src host %s and ip[8] > 2 and (ip proto 253 or udp dst port %d))' "$source" "$PORT"
  printf ' or (ip proto 4 and ip[32:4] = %s and ip[28] > 2)' "$octets"
  printf ' or (udp port 1021 and ip[28] & 0xf0 = 0x40 and ip[40:4] = %s and ip[36] > 2)' "$octets"
}
lab_stream_source() { printf '%s' "${LAB_LEASE:-$(lab_address "$SOURCE" "${LAB_PEERS[$SOURCE]%% *}")}"; }

# lab_traces: lines "FROM TO NUMBER TIME FORM DESTINATION OUTERMOST BYTES" of all links; FORM is xcast
# or unicast, with "in-ip-" or "in-udp-" before it where that is in an outer packet, which goes to
# OUTERMOST.
lab_traces() {
  local link x y
  lab_tcpdump_words
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    "${LAB_WORDS[@]}" -nn -tt -e -x -r - "$(lab_stream_filter)" <"$STREAM/$x-$y.pcap" 2>/dev/null |
      awk -v x="$x" -v y="$y" -v x_mac="$(lab_mac "$x" "$y")" -v size="$STREAM_SIZE" '
        function octet(at) { return value[substr(hex, 2 * at + 1, 1)] * 16 + value[substr(hex, 2 * at + 2, 1)] }
        function address(at) { return octet(at) "." octet(at + 1) "." octet(at + 2) "." octet(at + 3) }
        function ended(    inner, length_, number, i, form) {
          if (hex == "") return
          length_ = octet(2) * 256 + octet(3)
          if (octet(9) == 4) inner = 20
          if (octet(9) == 17 && (octet(20) * 256 + octet(21) == 1021 || octet(22) * 256 + octet(23) == 1021)) inner = 28
          form = (inner == 28 ? "in-udp-" : inner ? "in-ip-" : "") (octet(inner + 9) == 17 ? "unicast" : "xcast")
          for (i = 0; i < 8; i++) number = number substr(hex, 2 * (length_ - size + i) + 2, 1)
          print way, number, time, form, address(inner + 16), address(16), length_
          hex = ""
        }
        BEGIN { for (i = 0; i < 16; i++) value[substr("0123456789abcdef", i + 1, 1)] = i }
        /^[0-9]/ { ended(); time = $1; way = $2 == x_mac ? x " " y : y " " x; next }
        { for (i = 2; i <= NF; i++) hex = hex $i }
        END { ended() }'
  done
}

# lab_bounds: "X Y=NUMBER;" each, how many copies of a packet may go from X to Y: as many as there are
# receivers behind, and none where it is not named. A lab that is no tree has its own.
lab_bounds() {
  local link
  for link in "${LAB_LINKS[@]}"; do
    printf '%s=%d;' "${link/:/ }" "$(lab_receivers_behind "${link%:*}" "${link#*:}")"
  done
}

# lab_outages: one line an event, with its fields between tabs:
#   EVENT  PACKETS  LOST:LOST:...  OUTAGE  SETTLED  COPIES  DUPLICATES  EXCESS
# what was sent from then to the next event; how many of them each receiver misses; the milliseconds
# after which nothing was lost any more, and those after which the way of packets did not change any
# more; how many copies of each crossed links then; packets that came twice; copies too many on a
# link: against the stream, two of a form, more than receivers behind it, or Xcast by itself towards
# who knows none.
lab_outages() {
  local link behind last=''
  behind=$(lab_bounds)
  for link in "${RECEIVERS[@]}"; do last+="${LAB_PEERS[$link]%% *} $link;"; done
  lab_traces >"$STREAM/traces"
  awk -v behinds="$behind" -v lasts="$last" -v source="$SOURCE" -v unaware=" ${LAB_STOCK[*]-} ${RECEIVERS[*]} " '
    function event_at(time,    i) { for (i = events; i > 0 && begin[i] - before[i] > time; i--); return i }
    function ms(time) { return time > 0 ? 1000 * time : 0 }
    BEGIN {
      n = split(behinds, part, ";")
      for (i = 1; i < n; i++) { split(part[i], pair, "="); behind[pair[1]] = pair[2] }
      receivers = split(lasts, last, ";") - 1
    }
    NR == FNR { split($0, part, "\t"); begin[++events] = part[1]; before[events] = part[2]; name[events] = part[3]; next }
    {
      link = $1 " " $2; number = $3 + 0
      if ($1 == source) { sent[number] = $4; if (number > highest) highest = number }
      copies[number]++
      on[number, link]++
      if (!(link in behind) || on[number, link] > behind[link] || ++same[number, link, $5, $5 ~ /xcast/ ? $7 : $6] > 1 ||
        ($5 == "xcast" && index(unaware, " " $2 " "))) excess[number]++
      signature[number] = signature[number] link $5 ";"
    }
    END {
      for (number = 1; number <= highest; number++) {
        if (!(number in sent)) continue
        at = event_at(sent[number])
        if (!at) continue
        packets[at]++
        for (i = 1; i <= receivers; i++) {
          arrived = on[number, last[i]]
          if (!arrived) { lost[at, i]++; since[at] = number }
          else if (arrived > 1) duplicates[at] += arrived - 1
        }
        too_many[at] += excess[number]
        if (signature[number] != way[at]) { way[at] = signature[number]; changed[at] = number }
        finally[at] = copies[number]
      }
      for (at = 1; at <= events; at++) {
        missed = ""
        for (i = 1; i <= receivers; i++) missed = missed (i > 1 ? ":" : "") lost[at, i] + 0
        # The first packet behind the last one lost.
        next_ = since[at]
        if (next_) do next_++; while (next_ <= highest && !(next_ in sent))
        outage = next_ ? (next_ in sent ? ms(sent[next_] - begin[at]) : -1) : 0
        printf "%s\t%d\t%s\t%.0f\t%.0f\t%d\t%d\t%d\n", name[at], packets[at], missed, outage,
          ms(sent[changed[at]] - begin[at]), finally[at], duplicates[at], too_many[at]
      }
    }' "$STREAM/events" "$STREAM/traces"
}
