#!/bin/sh
# Tests of the page: run.sh unit|current|browser SOURCE WORK [KFLOW FAKE_MODEL]. Ends with 77 where node, its packages or
# (for `browser`) Chromium cannot be had. Works on a copy below WORK, so the checkout stays as it is.
set -eu
mode=$1
source=$2/runtime/server/page
work=$3/page
skip() { printf 'skipped: %s\n' "$*"; exit 77; }

command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || skip "node and npm are missing (packages nodejs, npm)"
node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
  skip "node $(node --version) is too old for the page's tools; they need 20.19"

mkdir -p "$work"
for name in src tests browser; do rm -rf "${work:?}/$name"; [ ! -d "$source/$name" ] || cp -R "$source/$name" "$work/$name"; done
cp "$source"/*.json "$source"/*.ts "$source"/*.html "$source"/.prettierrc.json "$work"
if ! cmp -s "$work/package-lock.json" "$work/.installed"; then
  (cd "$work" && npm ci --no-audit --no-fund --fetch-retries=1 --fetch-timeout=20000 --loglevel=error) ||
    skip "npm cannot install the page's packages (no network?)"
  cp "$work/package-lock.json" "$work/.installed"
fi
cd "$work"
case $mode in
  unit)
    npx tsc --noEmit
    npx vitest run
    if grep -q '"resolved"' package-lock.json; then
      echo "the lock file names a host: write it with npm install --omit-lockfile-registry-resolved"
      exit 1
    fi
    ;;
  current)
    rm -rf dist
    npx vite build --logLevel warn
    cmp dist/index.html "$source/dist/index.html" || {
      echo "dist/index.html is not what the sources give: run \`npm ci && npm run build\` in runtime/server/page"
      exit 1
    }
    if grep -qE '(src|href)="(https?:)?//' dist/index.html; then echo "the page loads something from elsewhere"; exit 1; fi
    ;;
  browser)
    chromium=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
    "$4" --help | grep -q '^  serve' || skip "this kflow has no \`serve\`"
    [ -n "$chromium" ] || skip "there is no Chromium (package chromium)"
    KFLOW=$4 KFLOW_FAKE_MODEL=$5 CHROMIUM=$chromium npx vitest run --config vitest.browser.config.ts
    ;;
  *) echo "there is no mode $mode"; exit 2 ;;
esac
