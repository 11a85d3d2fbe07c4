#!/bin/sh
# consumer.sh SOURCE BUILD WORK CMAKE CXX SANITIZE: installs what BUILD has, builds programs against
# it as somebody would who has never seen the project, and runs them.
set -eu
source=$1 build=$2 work=$3/work cmake=$4 cxx=$5 sanitize=$6
stage=$work/usr
fail() { printf 'consumer: %s\n' "$*" >&2; exit 1; }
rm -rf "$work"
mkdir -p "$work"
flags=${sanitize:+-fsanitize=$sanitize}

"$cmake" --install "$build" --prefix "$stage" > "$work/install.log"
libdir=$(dirname "$(find "$stage" -name libkflow.so | head -n 1)")
export LD_LIBRARY_PATH="$libdir" KFLOW_STORE="$work/no-store"

# What a user's shell finds.
for file in bin/kflow bin/kflowc share/man/man1/kflow.1 share/man/man1/kflowc.1 \
  share/bash-completion/completions/kflow lib/systemd/system/kflow.service include/kflow/kflow.h; do
  [ -s "$stage/$file" ] || fail "$file was not installed"
done
"$stage/bin/kflow" --version > /dev/null
if command -v systemd-analyze > /dev/null; then
  # The program is not in its place here; everything else of the unit is looked at.
  sed "s|^ExecStart=.*|ExecStart=/bin/true|" "$stage/lib/systemd/system/kflow.service" > "$work/kflow.service"
  systemd-analyze verify --man=no "$work/kflow.service" 2> "$work/unit.log" || true
  if grep -q 'kflow.service:[0-9]' "$work/unit.log"; then fail "the unit: $(cat "$work/unit.log")"; fi
fi

# Each public header alone, in the oldest C++ and C that they are for, and as strict as they come.
for header in "$stage"/include/kflow/*; do
  printf '#include "kflow/%s"\n' "$(basename "$header")" > "$work/alone.c"
  "$cxx" -std=c++17 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror -fsyntax-only -I "$stage/include" -x c++ "$work/alone.c"
  case $header in *.h)
    cc -std=c99 -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror -fsyntax-only -I "$stage/include" "$work/alone.c" ;;
  esac
done
if grep -lE 'nlohmann|fmt/|curl/|lmdb|re2/|compiler/|runtime/' "$stage"/include/kflow/*; then
  fail "a public header names what is inside"
fi

# The snippets of the document are programs.
awk -v out="$work/snippet_" '
  /^```(cpp|c)$/ { kind = substr($0, 4); file = out (++n) "." kind; next }
  /^```$/ { file = ""; next }
  file != "" { print > file }' "$source/docs/embedding.md"
mkdir -p "$work/shop"
{ printf 'cmake_minimum_required(VERSION 3.25)\nproject(shop LANGUAGES CXX)\nadd_executable(shop main.cpp)\n'
  awk '/^```cmake$/ { inside = 1; next } /^```$/ { inside = 0 } inside' "$source/docs/embedding.md"; } > "$work/shop/CMakeLists.txt"
printf 'int main() {}\n' > "$work/shop/main.cpp"
grep -q 'find_package(kflow' "$work/shop/CMakeLists.txt" || fail "docs/embedding.md says nothing of find_package"
"$cmake" -S "$work/shop" -B "$work/shop/build" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$stage" \
  > "$work/shop.log" 2>&1 || { cat "$work/shop.log" >&2; fail "the CMake lines of docs/embedding.md"; }
ls "$work"/snippet_*.cpp > /dev/null 2>&1 || fail "docs/embedding.md has no snippet"

"$cmake" -S "$source/tests/consumer/project" -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" \
  -DCMAKE_PREFIX_PATH="$stage" -DKFLOW_SOURCE="$source" -DSNIPPETS="$work" \
  -DCMAKE_CXX_FLAGS="$flags" -DCMAKE_C_FLAGS="$flags" > "$work/configure.log" 2>&1 || { cat "$work/configure.log" >&2; fail "find_package(kflow)"; }
"$cmake" --build "$work/build" > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; fail "the programs do not build"; }

# has FILE LINE: a line of it is exactly that.
has() { grep -qxF -- "$2" "$1" || { cat "$1" >&2; fail "no line \`$2\`"; }; }

"$work/build/embed_cpp" "$source/examples/embed_cpp/orders.kflow" "$work/orders" > "$work/cpp.out"
has "$work/cpp.out" 'asked: send 3 of `tea` to Ada?'
has "$work/cpp.out" 'value: parcel of tea: 3 of `tea` to Ada'
grep -q '^0 ' "$work/cpp.out" || fail "the events begin at 0"
"$work/build/embed_c" "$source/examples/embed_c/double.kflow" "$work/double" > "$work/c.out"
grep -q '"status":"COMPLETED".*"value":21' "$work/c.out" || { cat "$work/c.out" >&2; fail "embed_c"; }

# A compiled program, and a host that has no parser.
"$stage/bin/kflowc" build "$source/tests/consumer/project/greet.kflow" -o "$work/greet.kir"
"$work/build/runtime_only" "$work/greet.kir" > "$work/runtime.out"
has "$work/runtime.out" 'hello, Ada'
nm -C "$work/build/runtime_only" > "$work/symbols"
grep -q 'kflow::engine::' "$work/symbols" || fail "runtime_only has no symbols to look at"
if grep -E 'tao::pegtl|kflow::(syntax|sema|lower|driver|source)::' "$work/symbols" | head -n 3 | grep .; then
  fail "the parser is in a program that does not need it"
fi

# The shared library shows its C interface and nothing else.
nm -D --defined-only "$libdir/libkflow.so" | awk '{ print $NF }' | sed 's/@.*//' | grep -vE '^(kflow_|KFLOW_0$)' > "$work/exports" || true
if [ -z "$sanitize" ] && [ -s "$work/exports" ]; then fail "libkflow.so shows $(head -n 3 "$work/exports")"; fi
# The ABI: old programs go on working as long as lines are only added. `KFLOW_UPDATE_GOLDEN=1` takes
# what is there, after somebody has looked at the difference.
cc -std=c99 -I "$stage/include" "$source/tests/consumer/abi.c" -o "$work/abi"
golden=$source/tests/consumer/abi.golden
{ "$work/abi"; nm -D --defined-only "$libdir/libkflow.so" | awk '$2 == "T" { sub("@.*", "", $3); print "function " $3 }' | grep ' kflow_' | LC_ALL=C sort; } > "$work/abi.txt"
if [ -n "${KFLOW_UPDATE_GOLDEN:-}" ]; then cp "$work/abi.txt" "$golden"; fi
diff -u "$golden" "$work/abi.txt" >&2 || fail "the ABI of kflow.h has changed (see above); numbers and places must never, lines may be added: KFLOW_UPDATE_GOLDEN=1"
PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --exists kflow || fail "pkg-config does not find kflow"
# shellcheck disable=SC2046
cc $flags "$source/examples/embed_c/main.c" $(PKG_CONFIG_PATH="$libdir/pkgconfig" pkg-config --cflags --libs kflow) -pthread -o "$work/by_pkg_config"
"$work/by_pkg_config" "$source/examples/embed_c/double.kflow" "$work/double2" | grep -q '"value":21' || fail "by pkg-config"

for program in "$work"/build/snippet_*; do
  [ -x "$program" ] && [ -f "$program" ] || continue
  mkdir -p "$work/run"
  (cd "$work/run" && "$program") > "$program.out" || fail "$(basename "$program") of docs/embedding.md"
  [ -s "$program.out" ] || fail "$(basename "$program") says nothing"
done

# As a part of another project: no tests, nothing to install.
"$cmake" -S "$source/tests/consumer/parent" -B "$work/parent" -G Ninja -DCMAKE_CXX_COMPILER="$cxx" -DKFLOW_SOURCE="$source" > "$work/parent.log" 2>&1 || { cat "$work/parent.log" >&2; fail "add_subdirectory(kflow)"; }
grep -q 'Warning' "$work/parent.log" && { cat "$work/parent.log" >&2; fail "add_subdirectory(kflow) warns"; }
[ "$(ctest --test-dir "$work/parent" -N | grep -c 'Test *#')" = 0 ] || fail "add_subdirectory(kflow) adds tests"
"$cmake" --install "$work/parent" --prefix "$work/nothing" > /dev/null
[ ! -e "$work/nothing" ] || fail "add_subdirectory(kflow) installs something"
echo "consumer: all well"
