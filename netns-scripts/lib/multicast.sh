# Of the lab `overlay`: a multicast session over its hosts. The pool is gathered, a session planned on it, a stream
# sent along its tree; meanwhile a host that forwards crashes, and the root of the tree that gathers the pool.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

MULTICAST_CONFIGURATION='
[somo]
degree = 4
interval = "2s"
heartbeat = "1s"
[metrics]
interval = "2s"
[sessions]'
# Lines a second, and how long each may take to every member that lives, in milliseconds.
MULTICAST_RATE=10
MULTICAST_LATE=10000
# Who sends, who was killed, and everybody else in the session.
MULTICAST_SOURCE=''
MULTICAST_MEMBERS=()
MULTICAST_KILLED=()
MULTICAST_POOL=''
MULTICAST_LINES=0
# What the tree looked like: as text, and as lines "CHILD PARENT".
MULTICAST_DRAWN=()
MULTICAST_LINKS=''

# multicast_check_options: sets MULTICAST, in seconds; none: no session.
multicast_check_options() {
  MULTICAST=''
  [[ ${LAB_OPTIONS[multicast]} != no ]] || return 0
  MULTICAST=${LAB_OPTIONS[multicast]%s}
  [[ $MULTICAST =~ ^[0-9]{2,3}$ ]] && ((10#$MULTICAST >= 30 && 10#$MULTICAST <= 600)) ||
    fail 2 "--multicast takes 30s to 600s, not '${LAB_OPTIONS[multicast]}'"
  [[ ${LAB_OPTIONS[compare]} == no ]] || fail 2 "--multicast and --compare do not go together"
}

# Two hosts of each locality help, and can carry more than members.
multicast_degrees() { case $1 in ?[56]) printf 6 ;; *) printf 3 ;; esac }
multicast_configure_host() {
  [[ ${LAB_OPTIONS[multicast]} == no ]] || sed -i "/^\[rendezvous\]/i degrees = $(multicast_degrees "$1")\n" "$LAB_STATE/peers/$1.toml"
}

# ---- what is known --------------------------------------------------------------------------

# A host knows of all hosts where they are.
multicast_pool_is_known() {
  MULTICAST_POOL=$(peer "$1" pool --json 2>/dev/null | json_flatten | awk -F '\t' -v peers="${#PEERS[@]}" '
    $2 ~ /^hosts\.[0-9]+\.id$/ { hosts++ }
    $2 ~ /\.distance-ms$/ && $3 != "null" { placed++ }
    $2 ~ /\.free-degrees$/ { free += $3 }
    $2 == "complete" { complete = $3 }
    END {
      printf "%d hosts, %d of them with a place, %d free links", hosts, placed, free
      exit !(hosts == peers && placed == peers && complete == "true")
    }')
}
# The root of the tree that gathers the pool.
multicast_pool_root() { peers_show tree | awk '$2 == "root" && $3 == "true" { print $1 }'; }

# multicast_links: lines "CHILD PARENT" of the session's tree, by names of hosts; fails as long as it is not whole.
multicast_links() {
  {
    peers_show ring | awk '$2 == "id" { print "id", $3, $1 }'
    peer "$MULTICAST_SOURCE" show sessions --json 2>/dev/null | json_flatten | sed 's/^[0-9]*\t/link\t/'
  } | awk '
    $1 == "id" { name[$2] = $3; next }
    $2 ~ /\.sends\.0\.links\.[0-9]+\.child$/ { child = $3 }
    $2 ~ /\.sends\.0\.links\.[0-9]+\.parent$/ { print (child in name ? name[child] : child), (($3 in name) ? name[$3] : $3) }
    $2 ~ /\.sends\.0\.whole$/ { whole = $3 }
    END { exit whole != "true" }'
}
# All members are in a tree that is whole, and none of those that were killed.
multicast_is_whole() {
  local host
  MULTICAST_LINKS=$(multicast_links) || return 1
  for host in "${MULTICAST_MEMBERS[@]}"; do
    if [[ " ${MULTICAST_KILLED[*]} " == *" $host "* ]]; then
      ! grep -q "^$host " <<<"$MULTICAST_LINKS" || return 1
    else
      grep -q "^$host " <<<"$MULTICAST_LINKS" || return 1
    fi
  done
}
# A host that forwards, and is neither the source nor that one.
multicast_inner() {
  awk -v source="$MULTICAST_SOURCE" -v other="$1" '
    $2 != source && $2 != other { children[$2]++ }
    END { for (host in children) if (children[host] > most) { most = children[host]; best = host } print best }' <<<"$MULTICAST_LINKS"
}
multicast_draw() { MULTICAST_DRAWN+=("$(peer "$MULTICAST_SOURCE" show sessions | sed -n '/^session /,$p')"); }

# ---- the session ----------------------------------------------------------------------------

# Every line with the time at which it came.
# shellcheck disable=SC2016 # for another shell
MULTICAST_READ='"$0" receive --json --socket "$1" | while IFS= read -r line; do printf "%s %s\n" "${EPOCHREALTIME/[.,]/}" "$line"; done'
# Lines with their numbers, and the time at which each was sent: from when there is a session, until a file says that it
# is enough. How many they were is in another one.
# shellcheck disable=SC2016 # for another shell
MULTICAST_WRITE='exec {pause}<> <(:)
  {
    until grep -q "^session" "$4/logs/multicast.err"; do read -rt 0.05 -u "$pause"; done
    for ((number = 0; ; number++)); do
      [[ ! -e $4/multicast.enough ]] || break
      printf "%d %s\n" "$number" "${EPOCHREALTIME/[.,]/}"
      read -rt "$3" -u "$pause"
    done
    printf "%d" "$number" >"$4/multicast.lines"
  } | "$0" multicast --json --priority 1 --socket "$1" --members "$2"'

multicast_begin() {
  local host members=()
  for host in "${MULTICAST_MEMBERS[@]}"; do
    members+=("$(lab_addresses "$host")")
    lab_spawn "receive-$host" "$host" bash -c "$MULTICAST_READ" "$LAB_STATE/overlay-host" "$LAB_STATE/peers/$host.sock"
  done
  rm -f "$LAB_STATE"/multicast.{enough,lines}
  lab_spawn multicast "$MULTICAST_SOURCE" bash -c "$MULTICAST_WRITE" "$LAB_STATE/overlay-host" \
    "$LAB_STATE/peers/$MULTICAST_SOURCE.sock" "$(IFS=, && printf '%s' "${members[*]}")" \
    "0.$((1000 / MULTICAST_RATE))" "$LAB_STATE"
  if ! lab_until 40 multicast_is_whole; then
    cat "$LAB_STATE/logs/multicast.err" >&2
    fail 1 "the session comes to no tree"
  fi
}
# multicast_kill HOST WHAT
multicast_kill() {
  MULTICAST_KILLED+=("$1")
  say "$1 is killed: $2"
  lab_signal KILL "peer-$1"
  lab_until 40 multicast_is_whole || ERRORS+=("the tree is not whole again without $1")
}
multicast_is_at() { ((SECONDS >= MULTICAST_BEGIN + $1)); }

multicast_run() {
  local root inner host names=() index
  PEER_CONFIGURATION+=$MULTICAST_CONFIGURATION
  say "24 hosts come together, and gather what they have to give"
  peers_stop
  peers_start auto
  lab_until 60 multicast_pool_is_known "$SOURCE" || fail 1 "the pool is not gathered: $MULTICAST_POOL"
  say "the pool: $MULTICAST_POOL"
  root=$(multicast_pool_root)
  MULTICAST_SOURCE=$SOURCE
  [[ $root != "$SOURCE" ]] || MULTICAST_SOURCE=B1
  for host in "${PEERS[@]}"; do
    [[ $host == ?[56] || $host == "$MULTICAST_SOURCE" ]] || MULTICAST_MEMBERS+=("$host")
  done
  say "$MULTICAST_SOURCE sends to ${#MULTICAST_MEMBERS[@]} others for $MULTICAST s"
  multicast_begin
  MULTICAST_BEGIN=$SECONDS
  multicast_draw
  lab_until "$MULTICAST" multicast_is_at "$((MULTICAST / 4))" || :
  inner=$(multicast_inner "$root")
  multicast_kill "$inner" "it forwards to $(grep -c " $inner\$" <<<"$MULTICAST_LINKS") others"
  lab_until "$MULTICAST" multicast_is_at "$((MULTICAST / 2))" || :
  multicast_kill "$root" "the root of the tree that gathers the pool"
  multicast_draw
  lab_until "$MULTICAST" multicast_is_at "$MULTICAST" || :
  : >"$LAB_STATE/multicast.enough"
  lab_until 60 lab_none_runs multicast || ERRORS+=("the source does not come to an end")
  for host in "${MULTICAST_MEMBERS[@]}"; do names+=("receive-$host"); done
  lab_until 30 multicast_have_read || ERRORS+=("some members do not come to an end")
  lab_end multicast "${names[@]}"
  MULTICAST_LINES=$(<"$LAB_STATE/multicast.lines")
  multicast_judge
  peers_stop
}
multicast_lives() { [[ " ${MULTICAST_KILLED[*]} " != *" $1 "* ]]; }
multicast_have_read() {
  local host
  for host in "${MULTICAST_MEMBERS[@]}"; do
    if multicast_lives "$host"; then lab_none_runs "receive-$host" || return 1; fi
  done
}

# ---- what came ------------------------------------------------------------------------------

# multicast_row HOST: "LINES MISSING TWICE MEDIAN WORST GAP SWITCHES", times in milliseconds.
multicast_row() {
  local switches
  switches=$(sed -n 's/.*"switches":\([0-9]*\).*/\1/p' "$LAB_STATE/logs/receive-$1.err")
  sort -n -k 1,1 "$LAB_STATE/logs/receive-$1.out" | awk -v count="$MULTICAST_LINES" -v switches="${switches:--}" '
    {
      lines++; delay[lines] = ($1 - $3) / 1000
      if ($2 in seen) twice++
      seen[$2] = 1
      if (lines > 1 && $1 - last > gap) gap = $1 - last
      last = $1
    }
    END {
      for (number = 0; number < count; number++) if (!(number in seen)) missing++
      for (i = 2; i <= lines; i++) { d = delay[i]; for (j = i - 1; j > 0 && delay[j] > d; j--) delay[j + 1] = delay[j]; delay[j + 1] = d }
      printf "%d %d %d %.0f %.0f %.0f %s\n", lines, missing, twice, delay[int((lines + 1) / 2)], delay[lines], gap / 1000, switches
    }'
}
declare -A MULTICAST_ROWS=()
multicast_judge() {
  local host lines missing twice median worst gap switches
  for host in "${MULTICAST_MEMBERS[@]}"; do
    multicast_lives "$host" || continue
    MULTICAST_ROWS[$host]=$(multicast_row "$host")
    read -r lines missing twice median worst gap switches <<<"${MULTICAST_ROWS[$host]}"
    ((missing == 0)) || ERRORS+=("$host misses $missing lines")
    ((twice == 0)) || ERRORS+=("$host got $twice lines twice")
    ((worst <= MULTICAST_LATE)) || ERRORS+=("$host got a line after $worst ms")
  done
}

multicast_report() {
  local host lines missing twice median worst gap switches
  printf '\n  the tree before, and after %s were killed (helpers are marked):\n' "${MULTICAST_KILLED[*]}"
  for host in "${MULTICAST_DRAWN[@]}"; do printf '\n%s\n' "$host" | sed 's/^/  /'; done
  printf '\n  %s%-8s %8s %8s %8s %12s %12s %14s %9s%s\n' "$BOLD" member lines missing twice 'median ms' 'worst ms' 'longest gap ms' switches "$RESET"
  for host in "${MULTICAST_MEMBERS[@]}"; do
    multicast_lives "$host" || continue
    read -r lines missing twice median worst gap switches <<<"${MULTICAST_ROWS[$host]}"
    printf '  %-8s %8d %8d %8d %12d %12d %14d %9s\n' "$host" "$lines" "$missing" "$twice" "$median" "$worst" "$gap" "$switches"
  done
  printf '  A member that has switched to another parent got nothing for its longest gap, and then what it had missed.\n\n'
}
multicast_report_json() {
  local host lines missing twice median worst gap switches comma=''
  printf '{"lab":%s,"suffix":%s,"seconds":%d,"lines":%d,"source":"%s","killed":%s,"members":[' "$(json_string "$LAB")" \
    "$(json_string "$LAB_SUFFIX")" "$MULTICAST" "$MULTICAST_LINES" "$MULTICAST_SOURCE" "$(json_strings "${MULTICAST_KILLED[@]}")"
  for host in "${MULTICAST_MEMBERS[@]}"; do
    multicast_lives "$host" || continue
    read -r lines missing twice median worst gap switches <<<"${MULTICAST_ROWS[$host]}"
    [[ $switches =~ ^[0-9]+$ ]] || switches=null
    printf '%s{"host":"%s","lines":%d,"missing":%d,"twice":%d,"median-ms":%d,"worst-ms":%d,"longest-gap-ms":%d,"switches":%s}' \
      "$comma" "$host" "$lines" "$missing" "$twice" "$median" "$worst" "$gap" "$switches"
    comma=,
  done
  printf '],"errors":%s}\n' "$(json_strings ${ERRORS[@]+"${ERRORS[@]}"})"
}
