#!/bin/sh
# Makes the tapes of the examples anew, from the stand-in's scripts beside this file.
# Run after a change of what models are told: tests/examples/record.sh BUILD_FOLDER [NAME…]
set -eu
build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"
here=$(pwd)
examples=$here/../../examples
kflow=$build/runtime/cli/kflow
[ $# -gt 0 ] || set -- research_with_review support_triage code_review chat_with_history
for name in "$@"; do
  work=$(mktemp -d)
  "$build/tests/support/fake-model" "$here/scripts/$name.json" --port-file "$work/port" > /dev/null &
  server=$!
  while [ ! -s "$work/port" ]; do sleep 0.1; done
  base=http://127.0.0.1:$(cat "$work/port")
  mkdir "$work/.kflow"
  cat > "$work/kflow.yaml" <<YAML
models:
  openai: { base_url: "$base/v1" }
  anthropic: { base_url: "$base" }
YAML
  cd "$work"
  file=$examples/$name/$name.kflow
  tape=$examples/$name/tape.jsonl
  rm -f "$tape" "$tape.2"
  case $name in
    research_with_review) "$kflow" run "$file" -i topic="heat pumps" --record "$tape" || [ $? = 3 ] ;;
    support_triage)
      "$kflow" run "$file" support_triage -i message="I was charged twice" --session s1 --record "$tape"
      "$kflow" run "$file" support_triage -i message="The export crashes" --session s1 --record "$tape.2"
      cat "$tape.2" >> "$tape"
      rm "$tape.2"
      ;;
    code_review)
      "$here/review_repository.sh"
      "$kflow" run "$file" --record "$tape"
      ;;
    chat_with_history)
      printf 'My name is Ada.\nWhat is my name?\n' | "$kflow" chat "$file" --record "$tape"
      ;;
  esac
  kill $server
  wait $server 2>/dev/null || true
  cd "$here"
  rm -rf "$work"
done
