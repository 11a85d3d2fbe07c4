// Starts `kflowc lsp` for .kflow files.
"use strict";
const { workspace, window } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

exports.activate = async function (context) {
  const command = workspace.getConfiguration("kflow").get("path") || "kflowc";
  client = new LanguageClient(
    "kflow",
    "kflow",
    { command, args: ["lsp"] },
    {
      documentSelector: [{ scheme: "file", language: "kflow" }, { scheme: "untitled", language: "kflow" }],
      synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.kflow") },
    },
  );
  context.subscriptions.push(client);
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `kflow: \`${command} lsp\` cannot be started (${error.message}); set \`kflow.path\` to where kflowc is`,
    );
  }
};

exports.deactivate = () => client?.stop();
