# A part of lib.sh: captures by tcpdump, and their counts.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- tcpdump --------------------------------------------------------------------------------

# lab_tcpdump_words [HOST]: sets LAB_WORDS to tcpdump, on HOST if there is one.
lab_tcpdump_words() {
  LAB_WORDS=()
  if lab_is_native; then
    if [[ -n ${1:-} ]]; then lab_host_words "$1"; fi
  else
    LAB_WORDS=(nsenter --preserve-credentials -U -t "$(lab_pid_in anchor)" ${1:+--net="$(lab_namespace_file "$1")"} --)
  fi
  LAB_WORDS+=(env LD_LIBRARY_PATH="${LAB_TCPDUMP_LIBRARIES:-}" "$LAB_TCPDUMP")
  # Root's tcpdump would drop to a user who can neither write nor read our files.
  if lab_is_native; then LAB_WORDS+=(-Z root); fi
}

# Sets LAB_TCPDUMP. Where there is none, Debian's package is unpacked into a cache, not installed.
# Called before we enter a lab: there is no way out of it.
lab_find_tcpdump() {
  local cache library
  [[ -z ${LAB_TCPDUMP:-} ]] || return 0
  if LAB_TCPDUMP=$(type -P tcpdump); then
    LAB_TCPDUMP_LIBRARIES=
    return
  fi
  cache=$REPO/.tools
  mkdir -p "$cache" 2>/dev/null || :
  if [[ ! -w $cache && ! -x $cache/tcpdump/usr/bin/tcpdump ]]; then
    cache=/tmp/xcast-tools-$EUID
    (umask 077 && mkdir -p "$cache")
    # We run what is in there.
    [[ -O $cache && ! -L $cache ]] || fail 1 "$cache belongs to somebody else"
  fi
  cache+=/tcpdump
  if [[ ! -x $cache/usr/bin/tcpdump ]]; then
    say "tcpdump is not installed: fetching Debian's package into $cache, without installing it"
    lab_fetch_tcpdump "$cache" || fail 2 "no tcpdump; run: apt install tcpdump"
  fi
  LAB_TCPDUMP=$cache/usr/bin/tcpdump
  LAB_TCPDUMP_LIBRARIES=
  for library in "$cache"/usr/lib/*/; do
    LAB_TCPDUMP_LIBRARIES+=${LAB_TCPDUMP_LIBRARIES:+:}${library%/}
  done
}

# lab_fetch_tcpdump DIRECTORY: all of it or nothing, so that two may do it at once.
lab_fetch_tcpdump() {
  local parent new libraries
  type -P apt-get dpkg-deb >/dev/null || return 1
  parent=$(dirname "$1")
  if ! apt-cache show tcpdump >/dev/null 2>&1; then
    ((EUID == 0)) || return 1
    say "there are no package lists: apt-get update"
    apt-get -qq update >&2 || return 1
  fi
  new=$(mktemp -d "$parent/new.XXXXXX") || return 1
  chmod 755 "$new"
  mapfile -t libraries < <(lab_package_libraries '^libpcap')
  if ! lab_unpack "$new" tcpdump "${libraries[@]}"; then
    rm -rf -- "$new"
    return 1
  fi
  # A bare system lacks libraries that these need in turn.
  if ! lab_starts "$new"; then
    mapfile -t libraries < <(lab_package_libraries '^lib')
    if ! lab_unpack "$new" "${libraries[@]}" || ! lab_starts "$new"; then
      rm -rf -- "$new"
      return 1
    fi
  fi
  mv -T "$new" "$1" 2>/dev/null || rm -rf -- "$new"
  [[ -x $1/usr/bin/tcpdump ]]
}
# The packages tcpdump depends on, in turn, whose name matches; libc is always there already.
lab_package_libraries() {
  apt-cache depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
    --no-enhances tcpdump | awk -v wanted="$1" '/^[a-z]/ && $1 ~ wanted && $1 !~ /^(libc6|libgcc|libc-bin|libcrypt1)/'
}
lab_unpack() {
  local into=$1
  shift
  # Root's apt-get would hand the download to a user who may not write here.
  (cd "$into" && apt-get -qq -o APT::Sandbox::User= download "$@") >&2 || return 1
  local package
  for package in "$into"/*.deb; do
    dpkg-deb -x "$package" "$into" || return 1
    rm -f "$package"
  done
}
lab_starts() {
  local library all=''
  for library in "$1"/usr/lib/*/; do all+=${all:+:}${library%/}; done
  LD_LIBRARY_PATH=$all "$1/usr/bin/tcpdump" --version >/dev/null 2>&1
}

# lab_capture_start DIRECTORY: one capture a link, at the end that receives: what a router sends
# past the kernel's queues shows there only.
lab_capture_start() {
  local link x y names=() filter='ip proto 253 or ip proto 4 or udp'
  # Over IPv6 Xcast is a Routing header (43).
  [[ -z $LAB_IPV6 ]] || filter+=' or ip6 proto 43'
  mkdir -p "$1"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    rm -f "$1/$x-$y.pcap"
    lab_tcpdump_words "$y"
    # --immediate-mode, -U: what has passed is in the file, and not still in a buffer.
    lab_spawn_words "capture-$x-$y" "$y" "${LAB_WORDS[@]}" \
      -i "to-$x" -nn -U --immediate-mode -s 2048 -B 8192 -w "$1/$x-$y.pcap" "$filter"
    names+=("capture-$x-$y")
  done
  lab_await 20 capturing err 'listening on' "${names[@]}"
}

# lab_poke X Y TEXT [ADDRESS]: a datagram from X to its neighbor's discard port.
lab_poke() {
  # shellcheck disable=SC2016 # for the shell inside
  lab_in "$1" bash -c 'printf "%s" "$1" >"/dev/udp/$2/9"' - "$3" "${4:-$(lab_address "$2" "$1")}"
}
# Has all neighbors resolved, so that nothing overflows while it waits for it.
lab_poke_all() {
  local link x y
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    lab_poke "$x" "$y" hello
    [[ -z $LAB_IPV6 ]] || lab_poke "$x" "$y" hello "$(lab_address_v6 "$y" "$x")"
  done
}

# lab_capture_stop DIRECTORY: when everything sent so far is in the files. A last datagram over
# every link tells: captures keep the order, so what came before it is in the file once it is.
lab_capture_stop() {
  local link x y names=() mark status=0 dropped
  mark="end of capture $$ $RANDOM$RANDOM"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    names+=("capture-$x-$y")
    lab_poke "$x" "$y" "$mark"
  done
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    if ! lab_until 10 lab_file_came_to "$1/$x-$y.pcap" "$mark"; then
      complain "the capture on $x-$y did not come to its end"
      lab_tail "capture-$x-$y"
      status=1
    fi
  done
  lab_signal INT "${names[@]}"
  lab_until 5 lab_none_runs "${names[@]}" || :
  lab_end "${names[@]}"
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    dropped=$(awk '/dropped by kernel/ { print $1 }' "$LAB_STATE/logs/capture-$x-$y.err")
    if [[ ${dropped:-0} != 0 ]]; then
      complain "the capture on $x-$y missed $dropped packets: this machine is too busy, or --interval too short"
      status=1
    fi
  done
  return "$status"
}
# Routers ask their neighbors at any time, so a few probes may come behind the mark.
lab_file_came_to() { tail -c 65536 "$1" 2>/dev/null | grep -aF -- "$2" >/dev/null; }

# lab_count DIRECTORY FILTER: lines "X Y FORM PACKETS BYTES", what went from X to Y in each form;
# bytes are those of the IP packets.
lab_count() {
  local link x y
  lab_tcpdump_words
  for link in "${LAB_LINKS[@]}"; do
    x=${link%:*} y=${link#*:}
    { "${LAB_WORDS[@]}" -nn -t -e -v -r - "$2" <"$1/$x-$y.pcap" 2>"$LAB_STATE/logs/count.err" || lab_tail count; } |
      awk -v x="$x" -v y="$y" -v x_mac="$(lab_mac "$x" "$y")" -v y_mac="$(lab_mac "$y" "$x")" '
        # The number at the end of a text, in parentheses or not.
        function number(text) { sub(/.*[( ]/, "", text); return text + 0 }
        function count(xcast,    way, form) {
          way = $1 == x_mac ? x " " y : $1 == y_mac ? y " " x : "? ?"
          form = way " " (protocol == xcast ? "xcast" : protocol == 17 ? "unicast" : protocol == 4 ? "tunnel" : "other")
          packets[form]++
          sum[form] += bytes
        }
        /, ethertype IPv4 / {
          protocol = bytes = 0
          if (match($0, /proto [^(]*\([0-9]+\)/)) protocol = number(substr($0, RSTART, RLENGTH))
          if (match($0, /, length [0-9]+[,)]/)) bytes = number(substr($0, RSTART, RLENGTH))
          count(253)
        }
        /, ethertype IPv6 / {
          protocol = bytes = 0
          if (match($0, /next-header [^(]*\([0-9]+\)/)) protocol = number(substr($0, RSTART, RLENGTH))
          if (match($0, /payload length: [0-9]+/)) bytes = number(substr($0, RSTART, RLENGTH)) + 40
          count(43)
        }
        END { for (form in packets) printf "%s %d %d\n", form, packets[form], sum[form] }'
  done
}
