# A part of lib.sh: saying things, and JSON.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- saying things --------------------------------------------------------------------------

say() { printf '%s==>%s %s\n' "${BOLD-}" "${RESET-}" "$*" >&2; }
complain() { printf '%s: %s\n' "${LAB:-lab}" "$*" >&2; }
# fail STATUS TEXT: 1 the work failed, 2 wrong usage or a machine that lacks something.
fail() {
  local status=$1
  shift
  complain "$*"
  exit "$status"
}

# Colors only for a terminal, and only if it is not unwanted (https://no-color.org).
lab_colors() {
  BOLD='' DIM='' RESET='' GREEN='' YELLOW='' RED=''
  if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RESET=$'\e[0m' GREEN=$'\e[32m' YELLOW=$'\e[33m' RED=$'\e[31m'
  fi
}

# json_string TEXT: as a JSON string.
json_string() {
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

# json_strings WORD...: as a JSON array of strings.
json_strings() {
  local word comma=''
  printf '['
  for word; do
    printf '%s' "$comma"
    json_string "$word"
    comma=,
  done
  printf ']'
}

# Flattens JSON, in one line or many, to one line a value: the number of the document, its path
# and the value, between tabs, as in "1<TAB>ports.0.packets-received<TAB>12". Strings keep their escapes.
json_flatten() {
  awk '
    function emit(value,    path, i) {
      for (i = 1; i <= depth; i++) path = path (i > 1 ? "." : "") (array[i] ? index_[i] : key[i])
      printf "%d\t%s\t%s\n", document, path, value
      ended()
    }
    function ended() { if (depth > 0 && !array[depth]) want_key[depth] = 1; else if (depth == 0) document++ }
    function bad() { print "this is not JSON: " substr(rest, 1, 60) > "/dev/stderr"; failed = 1; exit 1 }
    BEGIN { document = 1 }
    {
      rest = $0
      while (rest != "") {
        if (match(rest, /^[ \t\r]+/)) { rest = substr(rest, RLENGTH + 1); continue }
        c = substr(rest, 1, 1)
        if (c == "\"") {
          if (!match(rest, /^"([^"\\]|\\.)*"/)) bad()
          text = substr(rest, 2, RLENGTH - 2)
          rest = substr(rest, RLENGTH + 1)
          if (depth > 0 && !array[depth] && want_key[depth]) { key[depth] = text; want_key[depth] = 0 }
          else emit(text)
          continue
        }
        if (match(rest, /^[-+0-9.a-zA-Z]+/)) {
          text = substr(rest, 1, RLENGTH)
          rest = substr(rest, RLENGTH + 1)
          emit(text)
          continue
        }
        rest = substr(rest, 2)
        if (c == "{") { depth++; array[depth] = 0; want_key[depth] = 1 }
        else if (c == "[") { depth++; array[depth] = 1; index_[depth] = 0 }
        else if (c == "}" || c == "]") { if (depth == 0) bad(); depth--; ended() }
        else if (c == ",") { if (depth > 0 && array[depth]) index_[depth]++ }
        else if (c != ":") bad()
      }
    }
    END { if (!failed && depth > 0) { print "this JSON ends too early" > "/dev/stderr"; exit 1 } }
  '
}
