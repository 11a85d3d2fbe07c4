#!/bin/sh
# Makes the tapes of the examples anew: models answer from the stand-in's scripts in scripts/, the
# web from the exchanges in web/. Run after a change of what models are told:
#   tests/examples/record.sh BUILD_FOLDER [NAME…]
set -eu
build=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")"
here=$(pwd)
examples=$(cd "$here/../../examples" && pwd)
kflow=$build/runtime/cli/kflow
[ $# -gt 0 ] || set -- content_creation research_with_review support_triage code_review chat_with_history
for name in "$@"; do
  work=$(mktemp -d)
  "$build/tests/support/fake-model" "$here/scripts/$name.json" --port-file "$work/port" > /dev/null &
  server=$!
  while [ ! -s "$work/port" ]; do sleep 0.1; done
  mkdir "$work/.kflow"
  printf 'models:\n  openai: { base_url: "http://127.0.0.1:%s/v1" }\n' "$(cat "$work/port")" > "$work/kflow.yaml"
  cd "$work"
  file=$examples/$name/$name.kflow
  : > tape
  # record ARGS…: one run, its exchanges after those of the runs before
  record() {
    if [ -f "$here/web/$name.jsonl" ]; then set -- "$@" --replay "$here/web/$name.jsonl"; fi
    rm -f more
    "$kflow" "$@" --record more || [ $? = 3 ]
    cat more >> tape
  }
  case $name in
    content_creation) record run "$file" -i topic="AI trends" ;;
    research_with_review) record run "$file" -i topic="heat pumps" < /dev/null ;;
    support_triage)
      for message in "You charged me twice this month!" "The PDF export crashes with large reports." "How many rows can I export?"; do
        record run "$file" support_triage -i message="$message" --session ada
      done
      ;;
    code_review)
      "$here/review_repository.sh"
      record run "$file"
      ;;
    chat_with_history) printf 'My name is Ada.\nWhat is my name?\n' | record chat "$file" ;;
  esac
  mv tape "$examples/$name/tape.jsonl"
  kill $server
  wait $server 2>/dev/null || true
  cd "$here"
  rm -rf "$work"
done
