#!/usr/bin/env bash
# The demo: a cluster on loopback, three of its workers rebuilt, the program killed in the middle and resumed.
# With BSS and SLS set to dumps of a real system, or LIFECYCLE_SHARED to a folder that has them, the cluster is that one.
set -euo pipefail
cd "$(dirname "$0")"
dir=$(mktemp -d)
lab='' run=''
cleanup() {
  [ -z "$run" ] || kill -9 "$run" 2>/dev/null || true
  [ -z "$lab" ] || { kill "$lab" 2>/dev/null && wait "$lab" 2>/dev/null; } || true
  rm -rf "$dir"
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }
until_true() { # seconds what command...
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] || { echo "gave up waiting for $what" >&2; exit 1; }
    sleep 0.05
  done
}

say 'compiling'
go build -o "$dir/ncnctl" ./ncnctl

data=${LIFECYCLE_SHARED:+$LIFECYCLE_SHARED/data}
BSS=${BSS:-${data:+$data/bss-bootparameters.json}} SLS=${SLS:-${data:+$data/sls-management-ncns.json}}
dumps=()
if [ -n "$BSS" ] && [ -n "$SLS" ]; then
  dumps=(--bss "$BSS" --sls "$SLS")
  say "starting the lab: a cluster on loopback, from the documents of a real system"
else
  say "starting the lab: a cluster on loopback"
fi
began=$SECONDS
"$dir/ncnctl" lab --dir "$dir/lab" --ready-file "$dir/ready" "${dumps[@]}" >"$dir/lab.log" 2>&1 &
lab=$!
until_true 20 'the lab' test -e "$dir/ready"

ctl() { "$dir/ncnctl" --site "$dir/lab/site.yaml" "$@"; }
nodes=(ncn-w001 ncn-w002 ncn-w003)
image=ncn-images/k8s:0.1.110

say "rebuilding ${nodes[*]}"
"$dir/ncnctl" --site "$dir/lab/site.yaml" rebuild "${nodes[@]}" --image $image \
  --confirm ncn-w001 --confirm ncn-w002 --confirm ncn-w003 &
run=$!
off() { grep -q '"what":"chassis command"' "$dir/lab/wire.jsonl" && grep -l '"target":"ncn-w002"' "$dir"/lab/journal/runs/*.jsonl | xargs grep -q '"step":"power-off"'; }
until_true 60 'ncn-w002 to be turned off' off
say 'kill -9, while ncn-w002 is being turned off'
kill -9 "$run"
wait "$run" 2>/dev/null || true
run=''
ctl status

say 'ncnctl resume'
ctl resume

say 'ncnctl rebuild ncn-w003, which had not been begun'
ctl rebuild ncn-w003 --image $image --confirm ncn-w003

say 'what was done'
ctl status

say 'what the lab saw on the wire'
while IFS='|' read -r what pattern; do
  printf '%6d  %s\n' "$(grep -c "$pattern" "$dir/lab/wire.jsonl" || true)" "$what"
done <<'EOF'
IPMI sessions (RAKP)|"what":"session opened"
chassis commands|"what":"chassis command"
boot flags written|"what":"boot option written"
boot flags read back|"what":"boot option read"
commands over SSH|"what":"exec"
writes of boot parameters|"method":"PATCH"
installations of an operating system|"what":"installed"
EOF

say 'the invariants'
ctl check
echo "the demo took $((SECONDS - began)) s after compilation"
