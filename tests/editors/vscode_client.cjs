// Activates the extension in plain node, with a stand-in for the editor's API, and asks the server
// something through the extension's own client.
//   node vscode_client.cjs FOLDER_OF_THE_EXTENSION KFLOWC
"use strict";
const Module = require("module");
const path = require("path");

const [folder, kflowc] = process.argv.slice(2);

// What the client subscribes to never happens; classes that it extends are empty.
const subscribe = () => ({ dispose() {} });
const empty = () =>
  new Proxy(class {}, {
    get: (target, key) => (key in target ? target[key] : key === "prototype" ? {} : empty()),
    apply: () => empty(),
  });
const withEvents = (known) =>
  new Proxy(known, {
    get: (target, key) =>
      key in target ? target[key] : String(key).startsWith("on") ? subscribe : undefined,
  });

class Uri {
  constructor(file) {
    this.scheme = "file";
    this.path = this.fsPath = file;
  }
  toString() {
    return "file://" + this.path;
  }
  with() {
    return this;
  }
  static parse(text) {
    return new Uri(text.replace(/^file:\/\//, ""));
  }
  static file(file) {
    return new Uri(file);
  }
}

const shown = []; // error messages

const channel = { show() {}, dispose() {}, append() {}, appendLine() {} };
for (const level of ["trace", "debug", "info", "warn", "error"]) channel[level] = () => {};

const known = {
  version: "1.90.0",
  env: { appName: "test", language: "en" },
  Uri,
  EventEmitter: class {
    event = subscribe;
    fire() {}
    dispose() {}
  },
  Disposable: class {
    constructor(dispose) {
      this.dispose = dispose ?? (() => {});
    }
  },
  CancellationTokenSource: class {
    token = { isCancellationRequested: false, onCancellationRequested: subscribe };
    cancel() {}
    dispose() {}
  },
  workspace: withEvents({
    getConfiguration: () => ({ get: (name) => (name === "path" ? kflowc : undefined) }),
    createFileSystemWatcher: () => withEvents({ dispose() {} }),
    textDocuments: [],
    notebookDocuments: [],
    fs: {},
  }),
  window: withEvents({
    createOutputChannel: () => channel,
    showErrorMessage: async (message) => {
      shown.push(message);
      console.error(message);
    },
    visibleTextEditors: [],
    tabGroups: { all: [], onDidChangeTabs: subscribe },
  }),
  languages: new Proxy(
    {
      createDiagnosticCollection: () => ({ set() {}, delete() {}, clear() {}, dispose() {} }),
      match: () => 0,
    },
    { get: (target, key) => target[key] ?? subscribe },
  ),
  commands: { registerCommand: subscribe, executeCommand: async () => {} },
};
const vscode = new Proxy(known, { get: (target, key) => (key in target ? target[key] : empty()) });
const load = Module._load;
Module._load = (request, ...rest) => (request === "vscode" ? vscode : load(request, ...rest));

async function main() {
  const { LanguageClient } = require(path.join(folder, "node_modules/vscode-languageclient/node.js"));
  let client;
  const start = LanguageClient.prototype.start;
  LanguageClient.prototype.start = function () {
    client = this;
    return start.call(this);
  };
  const extension = require(path.join(folder, "extension.js"));
  await extension.activate({ subscriptions: [] });
  if (shown.length > 0) process.exit(1);
  const uri = "file:///nowhere/a.kflow";
  const text = '/// Says hello.\nworkflow hello() -> string { return "x" }\n';
  await client.sendNotification("textDocument/didOpen", {
    textDocument: { uri, languageId: "kflow", version: 1, text },
  });
  const hover = await client.sendRequest("textDocument/hover", {
    textDocument: { uri },
    position: { line: 1, character: 11 },
  });
  console.log(
    JSON.stringify({ server: client.initializeResult.serverInfo.name, hover: hover.contents.value }),
  );
  await extension.deactivate();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
