#!/bin/sh
# Packages the VS Code extension, unpacks what a user would install, and has its client talk to kflowc.
# Skipped (77) where node 20, unzip or the packages of npm are missing.
set -eu
source=$1
kflowc=$2
work=$3
client=$(cd "$(dirname "$0")" && pwd)/vscode_client.cjs
skip() { echo "skipped: $*"; exit 77; }

for tool in node npm unzip; do
  command -v $tool > /dev/null || skip "there is no $tool"
done
[ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ] || skip "node is older than 20"
mkdir -p "$work"
cp -R "$source"/. "$work"
cd "$work"
if [ ! -d node_modules/vscode-languageclient ] || [ ! -d node_modules/@vscode/vsce ]; then
  timeout 150 npm install --ignore-scripts --no-audit --no-fund > npm.log 2>&1 || skip "npm cannot install the packages"
fi
timeout 100 npx --no-install vsce package --no-rewrite-relative-links -o kflow.vsix > vsce.log 2>&1 || {
  cat vsce.log
  exit 1
}
rm -rf unpacked
unzip -q kflow.vsix -d unpacked
for file in extension.vsixmanifest extension/package.json extension/extension.js extension/language-configuration.json \
  extension/syntaxes/kflow.tmLanguage.json extension/node_modules/vscode-languageclient/package.json; do
  [ -s "unpacked/$file" ] || { echo "the package lacks $file"; exit 1; }
done
[ ! -e unpacked/extension/node_modules/@vscode/vsce ] || { echo "the package holds what only makes it"; exit 1; }
said=$(timeout 60 node "$client" "$work/unpacked/extension" "$kflowc")
echo "$said"
case $said in
  *'"server":"kflowc"'*'workflow hello() -> string'*'Says hello.'*) ;;
  *) echo "the client did not get the answer of the server"; exit 1 ;;
esac
# Where there is no compiler, the user is told what to set.
if said=$(timeout 60 node "$client" "$work/unpacked/extension" /nowhere/kflowc 2>&1); then
  echo "a missing compiler is not noticed: $said"
  exit 1
fi
case $said in
  *'cannot be started'*'set `kflow.path`'*) ;;
  *) echo "a missing compiler is not explained: $said"; exit 1 ;;
esac
