# A part of lib.sh: links that take time, lose frames and so on, by one `xcast link-emulator` in a
# namespace of its own. A link "X:Y" of LAB_QUALITIES goes through it:
#
#   X  to-Y ---- X-Y  (emulator)  Y-X ---- to-X  Y
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- emulated links -------------------------------------------------------------------------

# Where the emulator is; no host of a lab is called so.
LAB_CABLES=cables

lab_is_emulated() { [[ -n ${LAB_QUALITIES[$1]:-} ]]; }

# lab_cable_commands X Y: the link, as commands for `ip`.
lab_cable_commands() {
  local x=$1 y=$2 cables end
  cables=$(lab_namespace "$LAB_CABLES")
  for end in "$x $y" "$y $x"; do
    read -r x y <<<"$end"
    printf 'link add name to-%s index %d address %s netns %s type veth peer name %s-%s netns %s\n' \
      "$y" "$((1000 + ${LAB_NUMBERS[$y]}))" "$(lab_mac "$x" "$y")" "$(lab_namespace "$x")" "$x" "$y" "$cables"
  done
}

# Sets the emulator's ends up and starts it; returns when all links carry frames.
lab_start_emulator() {
  local link x y links=$LAB_STATE/links.toml
  ((${#LAB_QUALITIES[@]} > 0)) || return 0
  for link in "${LAB_LINKS[@]}"; do
    lab_is_emulated "$link" || continue
    x=${link%:*} y=${link#*:}
    printf '[[link]]\nname = "%s"\ninterfaces = ["%s-%s", "%s-%s"]\n%s\n\n' \
      "$link" "$x" "$y" "$y" "$x" "${LAB_QUALITIES[$link]}"
  done >"$links"
  # Nobody speaks IP there.
  # shellcheck disable=SC2016 # for the shell inside
  lab_in "$LAB_CABLES" bash -c '
    for each in /proc/sys/net/ipv6/conf/{all,default}/disable_ipv6; do [[ ! -e $each ]] || printf 1 >"$each"; done
    ip -batch -
  ' < <(
    for link in "${LAB_LINKS[@]}"; do
      lab_is_emulated "$link" || continue
      x=${link%:*} y=${link#*:}
      printf 'link set dev %s-%s mtu %d up\n' "$x" "$y" "$(lab_mtu "$link")" "$y" "$x" "$(lab_mtu "$link")"
    done
  ) || fail 1 "could not set up the emulated links"
  lab_spawn emulator "$LAB_CABLES" "$LAB_STATE/xcast" link-emulator --file "$links" --json --priority 20
  lab_await 20 ready out '"ready"' emulator || exit 1
}

# lab_emulator_statistics: lines "X Y KEY FRAMES OCTETS" since the lab came up, what went from X to Y; KEY is
# received, forwarded, queued, or why it was dropped.
lab_emulator_statistics() {
  local log=$LAB_STATE/logs/emulator.out lines
  lines=$(wc -l <"$log")
  lab_signal USR1 emulator
  lab_until 5 lab_has_more_lines "$log" "$lines" || {
    complain "the link emulator does not answer"
    return 1
  }
  tail -n 1 "$log" | json_flatten | awk -F '\t' '
    { n = split($2, part, "."); if (part[1] != "directions") next }
    n == 3 { if (part[3] == "from") { split($3, end, "-"); x = end[1]; y = end[2] } next }
    part[n] == "frames" { frames = $3 }
    part[n] == "octets" { print x, y, part[n - 1], frames, $3 }'
}
lab_has_more_lines() { (($(wc -l <"$1") > $2)); }
