# What the labs share: one network namespace a host, veth links, static routes, an Xcast router
# where the lab wants one, captures and their counts. Sourced by bash, never run.
#
# A lab sets, before it calls lab_main "$@":
#   LAB            its name
#   LAB_HOSTS      every host, in the order it is shown
#   LAB_ROUTERS    those of them that forward and run xcast
#   LAB_LINKS      "X:Y" each, Y the end that lies farther from the source
#   LAB_NUMBERS    a number from 1 to 254 for every host, from which addresses follow
# and if it wants any of it
#   LAB_STOCK      hosts that forward unicast and know no Xcast
#   LAB_IPV6       not empty: IPv6, too
#   LAB_MTUS       "X:Y" -> octets, for links that carry less than 1500
#   LAB_QUALITIES  "X:Y" -> what a [[link]] of xcast link-emulator says of it, such as 'delay = "25ms"'
#   LAB_SHAPING    options of run that up takes, too
#   lab_routes HOST                 prints the routes of a host that forwards, as commands for ip; without
#                                   it they follow from LAB_LINKS, which must be a tree then
#   lab_router_configuration HOST   prints what a router's configuration has beyond the usual
#   lab_needs      a function that `up` calls first; it fails where the machine lacks something
#   lab_started    a function that `up` calls when the routers run
#   lab_status_more HOST            prints further members of a host in the JSON of status, each after a comma;
#                                   fails where something is not well
#   lab_variables HOST              prints NAME=VALUE lines that commands of exec have in their environment
# and defines the function lab_run, which works on a lab that is up.
#
# shellcheck shell=bash
# shellcheck disable=SC2034 # the lab that sources this uses some of them
# shellcheck disable=SC2154 # and sets others
# shellcheck disable=SC2317 # some functions are called by name

set -euo pipefail
export LC_ALL=C

LAB_DIRECTORY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
REPO=$(dirname "$LAB_DIRECTORY")
LAB_SCRIPT=$(realpath -- "$0")
LAB_INVOKED=${LAB_INVOKED:-$0}

# iproute2 and tcpdump live in sbin, which is not in everyone's PATH.
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

# The lab decides which code points and which router a command talks to, not the caller's shell.
unset XCAST_EXPERIMENT XCAST_SOCKET

LAB_STOCK=(${LAB_STOCK[@]+"${LAB_STOCK[@]}"})
LAB_IPV6=${LAB_IPV6:-}
LAB_SHAPE=()
declare -p LAB_MTUS >/dev/null 2>&1 || declare -A LAB_MTUS=()
declare -p LAB_QUALITIES >/dev/null 2>&1 || declare -A LAB_QUALITIES=()

for part in output waiting names holder processes binary capture emulator routers daemons relays rounds outages picture verbs; do
  # shellcheck source=/dev/null
  . "$LAB_DIRECTORY/lib/$part.sh"
done
unset part
