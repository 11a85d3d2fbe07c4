#!/bin/sh
# Run by deb_check.sh in a fresh Debian, with the packages in /root: what a user does with them.
set -eu
fail() { printf 'deb: %s\n' "$*" >&2; exit 1; }
as_server() { setpriv --reuid kflow --regid kflow --clear-groups env HOME=/var/lib/kflow "$@"; }
quietly() { "$@" > /tmp/log 2>&1 || { cat /tmp/log >&2; fail "$*"; }; }

quietly apt-get update
quietly apt-get install -y --no-install-recommends /root/kflow_*.deb
case $(kflow --version) in "kflow "*) ;; *) fail "kflow --version" ;; esac
man -w kflow kflowc > /dev/null || fail "no man page"
quietly man -P cat kflow
bash -c 'source /usr/share/bash-completion/bash_completion; _completion_loader kflow; complete -p kflow' > /dev/null || fail "no completion"
ldd /usr/bin/kflow | grep 'not found' && fail "a library is missing"

echo "-- a run, by a user"
cat > /tmp/hello.kflow <<'FLOW'
kflow 1

workflow hello(name: string = "world") -> string {
  step a = exec.run(["echo", "hello ${name}"])
  return a.stdout.trim()
}
FLOW
useradd --create-home ada
[ "$(su ada -c 'cd && kflow run /tmp/hello.kflow -i name=Ada --quiet')" = "hello Ada" ] || fail "kflow run"

echo "-- the unit"
quietly systemd-analyze verify kflow.service
systemd-analyze security --offline=yes --threshold=20 /usr/lib/systemd/system/kflow.service | tail -n 1

echo "-- the server as the unit starts it"
install -d -o kflow -g kflow -m 700 /var/lib/kflow /var/lib/kflow/store /var/lib/kflow/files  # systemd makes them
cp /tmp/hello.kflow /etc/kflow/
cat > /etc/kflow/note.kflow <<'FLOW'
kflow 1

workflow note() -> string {
  step a = file.write("note.txt", "kept")
  return "written"
}
FLOW
command=$(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/kflow.service)
serve() {
  # shellcheck disable=SC2086
  (cd /var/lib/kflow && exec setpriv --reuid kflow --regid kflow --clear-groups env HOME=/var/lib/kflow $command) 2> /tmp/serve.log &
  server=$!
  for _ in 1 2 3 4 5 6 7 8 9 10; do curl -sf 127.0.0.1:7777/health > /dev/null && return; sleep 0.5; done
  cat /tmp/serve.log >&2
  fail "the server does not answer"
}
serve
curl -s 127.0.0.1:7777/workflows/hello/runs -d stream=false -d run_id=one | grep -q '"content":"hello world"' || fail "a run over HTTP"
curl -s 127.0.0.1:7777/workflows/note/runs -d stream=false | grep -q '"content":"written"' || fail "a file of a run"
[ "$(cat /var/lib/kflow/files/note.txt)" = kept ] || fail "a file is not where it should be"
kill "$server"
wait "$server" || fail "the server does not end well"

echo "-- upgrade"
mkdir /tmp/next
dpkg-deb -R /root/kflow_*.deb /tmp/next/tree
sed -i 's/^Version: .*/Version: 99.0/' /tmp/next/tree/DEBIAN/control
quietly dpkg-deb -b /tmp/next/tree /tmp/next/kflow.deb
quietly dpkg -i /tmp/next/kflow.deb
as_server kflow --store /var/lib/kflow/store get one | grep -q COMPLETED || fail "a run is lost by an upgrade"
serve
curl -s 127.0.0.1:7777/workflows/hello/runs/one | grep -q '"status":"COMPLETED"' || fail "a run is not served after an upgrade"
kill "$server"
wait "$server" || true

echo "-- remove, purge: the user's runs and workflows stay, nothing else does"
quietly dpkg -r kflow
quietly dpkg -P kflow
[ -f /var/lib/kflow/store/data.mdb ] && [ -f /etc/kflow/hello.kflow ] || fail "purge has taken data"
getent passwd kflow > /dev/null || fail "purge has taken the account that owns them"
left() { find / -xdev \( -name '*kflow*' -o -path '*/kflow/*' \) -not -path '/root/*' -not -path '/tmp/*' -not -path '/home/*' -not -path '/var/cache/man/*' "$@"; }
left -not -path '/var/lib/kflow*' -not -path '/etc/kflow*' > /tmp/left
[ ! -s /tmp/left ] || fail "purge leaves $(cat /tmp/left)"
rm -r /var/lib/kflow /etc/kflow
quietly apt-get install -y --no-install-recommends /root/kflow_*.deb
quietly dpkg -P kflow
left > /tmp/left
[ ! -s /tmp/left ] || fail "purge leaves $(cat /tmp/left)"
getent passwd kflow > /dev/null && fail "purge leaves an account that owns nothing"

echo "-- the library"
quietly apt-get install -y --no-install-recommends /root/kflow_*.deb /root/libkflow-dev_*.deb gcc libc6-dev
cat > /tmp/host.c <<'HOST'
#include <stdio.h>
#include "kflow/kflow.h"
int main(void) {
  kflow_store* store = NULL;
  kflow_error* error = kflow_store_in_memory(&store);
  puts(error ? kflow_error_message(error) : kflow_version());
  kflow_store_close(store);
  return error != NULL;
}
HOST
# shellcheck disable=SC2046
quietly cc /tmp/host.c -o /tmp/host $(pkg-config --cflags --libs kflow)
/tmp/host > /dev/null || fail "a host of the library"
