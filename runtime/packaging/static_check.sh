#!/bin/sh
# static_check.sh FOLDER: FOLDER/kflow and FOLDER/kflowc load the C library and nothing else, and do
# what they are for: check, run, serve over TLS, call over HTTPS.
set -eu
out=$1
root=$(cd "$(dirname "$0")/../.." && pwd)
fail() { printf 'static: %s\n' "$*" >&2; exit 1; }

# The C library stays: it loads the modules that resolve names, and libpq for PostgreSQL. The rest of
# its parts are libm alone.
for program in kflow kflowc; do
  ldd "$out/$program" | awk '{ print $1 }' | sort > "$out/$program.loads"
  if grep -vE '^(linux-vdso\.so\.1|libc\.so\.6|libm\.so\.6|/lib.*/ld-linux.*)$' "$out/$program.loads" > "$out/$program.extra"; then
    fail "$program loads $(tr '\n' ' ' < "$out/$program.extra")"
  fi
  printf '%s: %s bytes, loads %s\n' "$program" "$(wc -c < "$out/$program")" "$(tr '\n' ' ' < "$out/$program.loads")"
done

work=$(mktemp -d)
server=''
trap '[ -z "$server" ] || kill "$server" 2> /dev/null || true; rm -rf "$work"' EXIT
export KFLOW_STORE="$work/store"
"$out/kflowc" check "$root/examples" > /dev/null || fail "kflowc check"
"$out/kflow" run "$root/examples/content_creation/content_creation.kflow" -i topic="AI trends" \
  --replay "$root/examples/content_creation/tape.jsonl" --quiet > "$work/content" || fail "kflow run"
[ -s "$work/content" ] || fail "kflow run says nothing"

cat > "$work/ask.kflow" <<'FLOW'
kflow 1

workflow ask(url: string) -> string {
  step a = http.get(url)
  return a.body.status
}

workflow day(zone: string) -> int {
  return timestamp("2026-07-01T22:30:00Z").getDate(zone)
}
FLOW
[ "$("$out/kflow" run "$work/ask.kflow" day -i zone=Europe/Berlin --quiet)" = 2 ] || fail "time zones"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$work/key.pem" -out "$work/cert.pem" \
  -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost > /dev/null 2>&1
cat > "$work/kflow.yaml" <<'YAML'
server: { tls: { certificate: cert.pem, key: key.pem } }
YAML
port=$((20000 + $$ % 20000))
(cd "$work" && exec "$out/kflow" serve ask.kflow --listen "127.0.0.1:$port" 2> serve.log) &
server=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do grep -qs 'serving' "$work/serve.log" && break; sleep 0.5; done
[ "$(SSL_CERT_FILE=$work/cert.pem "$out/kflow" run "$work/ask.kflow" ask -i "url=https://localhost:$port/health" --quiet)" = ok ] \
  || { cat "$work/serve.log" >&2; fail "a call over HTTPS"; }
if "$out/kflow" run "$work/ask.kflow" ask -i "url=https://localhost:$port/health" --quiet > /dev/null 2> "$work/refused"; then
  fail "a certificate that nobody vouches for was taken"
fi
kill "$server"
wait "$server" || fail "the server does not end well"
server=''
echo "static: all well"
