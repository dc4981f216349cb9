# A part of lib.sh: pictures of a network with what went over its links.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- pictures -------------------------------------------------------------------------------

# The picture: "row column color text" lines, laid out by awk.
lab_put() { printf '%d %d %s %s\n' "$1" "$2" "$3" "$4"; }
# lab_arrow ROW COLUMN WIDTH X Y: the link, with the packets of either way above and below it.
lab_arrow() {
  local row=$1 column=$2 width=$3 x=$4 y=$5 line='-----------' color=plain number
  if (($(lab_copies "$x" "$y") > 0)); then line='===========' color=green; fi
  lab_put "$row" "$column" "$color" "${line:0:width-1}>"
  number=$(lab_in_short "$(($(lab_copies "$x" "$y") + ${PACKETS[xcast $x $y unicast]}))")
  lab_put "$((row - 1))" "$((column + (width - ${#number} + 1) / 2))" green "$number"
  number=$(lab_in_short "${PACKETS[loop $x $y unicast]}")
  lab_put "$((row + 1))" "$((column + (width - ${#number} + 1) / 2))" yellow "$number"
}
# lab_copies X Y: the Xcast copies that went from X to Y, those in outer packets included.
lab_copies() { printf '%d' "$((${PACKETS[xcast $1 $2 xcast]} + ${PACKETS[xcast $1 $2 tunnel]:-0}))"; }
lab_in_short() {
  if (($1 < 100000)); then printf '%d' "$1"; elif (($1 < 10000000)); then printf '%dk' "$(($1 / 1000))"; else
    printf '%dM' "$(($1 / 1000000))"
  fi
}
# lab_corner ROW COLUMN UP-OR-DOWN X Y: an arrow that leaves X by a corner.
lab_corner() {
  local row=$1 column=$2 color=plain char=-
  if (($(lab_copies "$4" "$5") > 0)); then color=green char='='; fi
  if [[ $3 == up ]]; then
    lab_put "$((row + 1))" "$((column - 1))" "$color" /
    lab_put "$row" "$column" "$color" .
  else
    lab_put "$((row - 1))" "$((column - 1))" "$color" "\\"
    lab_put "$row" "$column" "$color" "\`"
  fi
  lab_put "$row" "$((column + 1))" "$color" "$char"
  lab_arrow "$row" "$((column + 1))" 5 "$4" "$5"
}
# lab_lay_out: prints what was put.
lab_lay_out() {
  awk -v bold="$BOLD" -v green="$GREEN" -v yellow="$YELLOW" -v reset="$RESET" '
    {
      for (i = 1; i <= length($4); i++) { char[$1, $2 + i] = substr($4, i, 1); color[$1, $2 + i] = $3 }
      if ($1 > rows) rows = $1
      if ($2 + length($4) > end[$1]) end[$1] = $2 + length($4)
    }
    END {
      code["bold"] = bold; code["green"] = green; code["yellow"] = yellow
      for (row = 0; row <= rows; row++) {
        line = ""; last = "plain"
        for (i = 1; i <= end[row]; i++) {
          now = (row, i) in color ? color[row, i] : "plain"
          if (now != last) { line = line (last != "plain" ? reset : "") code[now]; last = now }
          line = line ((row, i) in char ? char[row, i] : " ")
        }
        print line (last != "plain" ? reset : "")
      }
    }'
}

# lab_figure ONE THREE SEVEN: the network of figures 1 and 8 of RFC 5058, with these names in it.
lab_figure() {
  {
    lab_put 3 2 bold A && lab_arrow 3 4 6 A "$1"
    lab_put 3 11 bold "$1" && lab_arrow 3 14 6 "$1" R2
    lab_put 3 21 bold R2 && lab_arrow 3 24 6 R2 "$2"
    lab_put 3 31 bold "$2"
    lab_corner 1 34 up "$2" R4
    lab_put 1 41 bold R4 && lab_arrow 1 44 5 R4 B && lab_put 1 50 bold B
    lab_corner 5 34 down "$2" R5
    lab_put 5 41 bold R5 && lab_arrow 5 44 5 R5 R6
    lab_put 5 50 bold R6 && lab_arrow 5 53 5 R6 "$3"
    lab_put 5 59 bold "$3"
    lab_corner 3 62 up "$3" R8
    lab_put 3 69 bold R8 && lab_arrow 3 72 5 R8 C && lab_put 3 78 bold C
    lab_corner 7 62 down "$3" R9
    lab_put 7 69 bold R9 && lab_arrow 7 72 5 R9 D && lab_put 7 78 bold D
  } | lab_lay_out
}
