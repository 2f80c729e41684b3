#!/usr/bin/env bash
# Judges a saved request with openssl and jq: verifies, knows repeats, keeps the highest revision of each task.
#
#   HOOK_SECRET=whsec_… ./verify.sh HEADERS BODY
#
# HEADERS holds a line `name: value` for each header, BODY the raw bytes of the body. Exit code 0: to be answered 2xx;
# 1: to be answered 401. HOOK_STATE (hooks.tsv) is what it remembers, a line an event. Run it for one request at a time.
# While openssl runs, the key stands on its command line: on a machine that you share, use another receiver.
set -euo pipefail

[ $# -eq 2 ] && [ -r "$1" ] && [ -r "$2" ] && [ -n "${HOOK_SECRET:-}" ] || { echo "usage: HOOK_SECRET=whsec_… $0 HEADERS BODY" >&2; exit 2; }
headers=$1 body=$2 state=${HOOK_STATE:-hooks.tsv} tolerance_seconds=300

header() { # its value, whatever its capitals
  tr -d '\r' < "$headers" | awk -F: -v name="$1" '!found && tolower($1) == name { sub(/^[^:]*:[ \t]*/, ""); print; found = 1 }'
}

refuse() {
  echo "refused $1"
  exit 1
}

id=$(header webhook-id) timestamp=$(header webhook-timestamp) signatures=$(header webhook-signature)
[[ $id =~ ^[A-Za-z0-9_-]{1,200}$ ]] || refuse id
[[ $timestamp =~ ^[0-9]{1,12}$ ]] || refuse timestamp
age=$(($(date +%s) - 10#$timestamp))
((age <= tolerance_seconds && age >= -tolerance_seconds)) || refuse timestamp

key=$(printf %s "${HOOK_SECRET#whsec_}" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
good=v1,$({ printf '%s.%s.' "$id" "$timestamp"; cat "$body"; } |
  openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
# While a secret is rotated there are two signatures; ours is one of them. Nobody measures a saved request, so that a
# plain comparison will do.
case " $signatures " in *" $good "*) ;; *) refuse signature ;; esac

IFS=$'\t' read -r type task revision < <(jq -r '[.type, .data.task_id // "-", .data.revision // 0] | @tsv' "$body")
touch "$state"
if awk -F'\t' -v id="$id" '$1 == id { found = 1 } END { exit !found }' "$state"; then
  verdict=repeat
else
  known=$(awk -F'\t' -v task="$task" '$2 == task && $3 + 0 > most { most = $3 + 0 } END { printf "%.0f", most }' "$state")
  if [ "$task" = - ]; then
    verdict=ignored # a type that we do not know: there will be more of them
  elif ((revision > known)); then
    verdict=applied
  else
    verdict=older
  fi
  printf '%s\t%s\t%s\n' "$id" "$task" "$revision" >> "$state"
fi
echo "$verdict $type $task $revision"
