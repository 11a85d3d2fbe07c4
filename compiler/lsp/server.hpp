// Server: the language server of `kflowc lsp`, one client on two file descriptors.
#pragma once

namespace kflow::lsp {

/// Answers until `exit` or the end of the input. Exit status: 0 after `shutdown`, else 1.
int serve(int in, int out);

}  // namespace kflow::lsp
