# A part of lib.sh: keys of relays and hosts, and hosts that send through a relay.
#
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables are set and used across these files
# shellcheck disable=SC2317 # some functions are called by name

# ---- relays ---------------------------------------------------------------------------------

# lab_key HOST: its public key. Who asks first has it made, with the private one in keys/HOST.
lab_key() {
  local file=$LAB_STATE/keys/$1
  mkdir -p "$LAB_STATE/keys"
  [[ -e $file.public ]] || "$LAB_STATE/xcast" key generate "$file" >"$file.public"
  cat "$file.public"
}

# lab_relay_words HOST RELAY ADDRESS: sets LAB_WORDS to the options by which a program on HOST uses the
# relay at ADDRESS.
lab_relay_words() {
  LAB_WORDS=(--relay "$3:1021" --relay-key "$(lab_key "$2")" --key "$LAB_STATE/keys/$1"
    --experiment "$LAB_STATE/experiment.toml")
}

# lab_by_relay HOST RELAY ADDRESS: what HOST sends from now on goes through that relay, by a program
# without any privilege. Sets LAB_LEASE to the address that the relay leases it.
lab_by_relay() {
  LAB_UNDER=(setpriv --no-new-privs --bounding-set=-all --inh-caps=-all)
  lab_relay_words "$@"
  LAB_SENDING=("${LAB_WORDS[@]}")
  # To the discard port of the relay itself.
  LAB_LEASE=$(lab_in "$1" "${LAB_UNDER[@]}" "$LAB_STATE/xcast" send "${LAB_SENDING[@]}" --to "$3:9" --text hello --json |
    json_flatten | awk -F '\t' '$2 == "relay.address" { print $3 }')
  [[ -n $LAB_LEASE ]] || fail 1 "the relay $2 leases $1 no address"
}
# lab_by_itself: not any more.
lab_by_itself() { LAB_UNDER=() LAB_SENDING=() LAB_LEASE=; }
