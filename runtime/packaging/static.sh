#!/bin/sh
# static.sh [--check]: build/static/kflow and kflowc, which need nothing but the C library of the
# machine they run on; then what they load is compared with that, and they are tried
# (`static_check.sh`). Libraries come from Debian's archives; curl, date and MD4C, of which there is
# none (or one with all of Kerberos, LDAP and RTMP behind it), are built from the sources of the same
# distribution, with its patches. `--check`: only the comparison and the trial.
set -eu
cd "$(dirname "$0")/../.."
root=$(pwd)
out=$root/build/static
prefix=$out/libraries
sources=$out/sources
say() { printf 'static: %s\n' "$*" >&2; }

sudo=''
if [ "$(id -u)" != 0 ]; then sudo=sudo; fi

# Where the distribution's sources are: its own lists, asked for sources instead.
lists() {
  mkdir -p "$sources/lists/partial" "$sources/parts"
  if [ -f /etc/apt/sources.list ]; then sed -n 's/^deb /deb-src /p' /etc/apt/sources.list > "$sources/parts/main.list"; fi
  for file in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list.d/ubuntu.sources; do
    if [ -f "$file" ]; then sed 's/^Types:.*/Types: deb-src/' "$file" > "$sources/parts/$(basename "$file")"; fi
  done
}
apt_source() {
  apt-get -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$sources/parts" \
    -o "Dir::State::Lists=$sources/lists" -o APT::Sandbox::User=root "$@"
}

# fetch PACKAGE FOLDER: the patched source as FOLDER. Of MD4C its one file is all there is to build:
# the original is enough where the patches (of its manual) are not to be had.
fetch() {
  rm -rf "${sources:?}/$2" "$sources/unpack"
  mkdir -p "$sources/unpack"
  (cd "$sources/unpack" && { apt_source -qq source "$1" || { [ "$1" = md4c ] && apt_source -qq source --tar-only "$1" && tar xf ./*.orig.tar.*; }; }) > "$sources/$2.log" 2>&1 \
    || { cat "$sources/$2.log" >&2; say "no source of $1"; exit 1; }
  mv "$(find "$sources/unpack" -mindepth 1 -maxdepth 1 -type d)" "$sources/$2"
}

# library NAME OPTIONS…: builds the source and installs it under the prefix.
library() {
  name=$1
  shift
  { cmake -S "$sources/$name" -B "$sources/$name/out" -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
      -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_PREFIX_PATH="$prefix" "$@" \
    && cmake --build "$sources/$name/out" && cmake --install "$sources/$name/out"; } > "$sources/$name.log" 2>&1 \
    || { tail -n 40 "$sources/$name.log" >&2; say "$name does not build"; exit 1; }
}

if [ "${1:-}" != --check ]; then
  ./dev packages
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends dpkg-dev libnghttp2-dev \
    libzstd-dev libbrotli-dev libidn2-dev libunistring-dev zlib1g-dev > /dev/null
  if [ ! -f "$prefix/.done" ]; then
    lists
    apt_source -qq update
    fetch md4c md4c
    library md4c
    fetch howardhinnant-date date
    library date -DBUILD_TZ_LIB=ON -DUSE_SYSTEM_TZ_DB=ON -DENABLE_DATE_TESTING=OFF
    fetch curl curl
    # Certificates: where OpenSSL looks, which SSL_CERT_FILE and SSL_CERT_DIR change.
    library curl -DBUILD_CURL_EXE=OFF -DBUILD_TESTING=OFF -DENABLE_MANUAL=OFF -DCURL_USE_OPENSSL=ON -DUSE_NGHTTP2=ON \
      -DCURL_BROTLI=ON -DCURL_ZSTD=ON -DUSE_LIBIDN2=ON -DCURL_USE_LIBSSH2=OFF -DCURL_USE_LIBPSL=OFF \
      -DCURL_DISABLE_LDAP=ON -DCURL_DISABLE_LDAPS=ON -DCURL_DISABLE_FTP=ON -DCURL_DISABLE_TELNET=ON \
      -DCURL_DISABLE_DICT=ON -DCURL_DISABLE_TFTP=ON -DCURL_DISABLE_GOPHER=ON -DCURL_DISABLE_POP3=ON \
      -DCURL_DISABLE_IMAP=ON -DCURL_DISABLE_SMB=ON -DCURL_DISABLE_RTSP=ON -DCURL_DISABLE_MQTT=ON \
      -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none -DCURL_CA_FALLBACK=ON
    # It names the shared ones it was configured with, and not what idn2 needs.
    sed -i -e 's|^Libs:.*|Libs: -L${libdir} -lcurl -lnghttp2 -lssl -lcrypto -lzstd -lbrotlidec -lbrotlicommon -lidn2 -lunistring -lz|' \
      -e '/^Libs.private:/d' "$prefix/lib/pkgconfig/libcurl.pc"
    touch "$prefix/.done"
  fi
  set --
  if command -v ccache > /dev/null 2>&1; then set -- -DCMAKE_CXX_COMPILER_LAUNCHER=ccache; fi
  { cmake -S . -B "$out/build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DKFLOW_STATIC=ON -DKFLOW_TESTS=OFF \
      -DKFLOW_INSTALL=OFF -DCMAKE_PREFIX_PATH="$prefix" "$@" \
    && cmake --build "$out/build" --target kflow_cli kflowc; } > "$out/build.log" 2>&1 || { tail -n 40 "$out/build.log" >&2; exit 1; }
  strip -o "$out/kflow" "$out/build/runtime/cli/kflow"
  strip -o "$out/kflowc" "$out/build/compiler/cli/kflowc"
fi
exec sh runtime/packaging/static_check.sh "$out"
