#!/bin/sh
# network.sh TEST-PROGRAM: the reference servers themselves, from the npm registry. Without npm, or
# where it cannot install them, the test is skipped (status 77) and says why.
set -u
command -v npx >/dev/null 2>&1 || { echo "skipped: there is no npx (Node 20 or newer)"; exit 77; }
for package in server-filesystem server-everything server-memory; do
  # Into npx's own cache, where the test finds them.
  if ! timeout 120 npm exec -y --package="@modelcontextprotocol/$package@2026.8.31" -- true >/dev/null 2>&1; then
    echo "skipped: npm cannot install @modelcontextprotocol/$package@2026.8.31"
    exit 77
  fi
done
KFLOW_MCP=real exec "$1"
