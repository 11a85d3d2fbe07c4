#include "compiler/cli/eval.hpp"
#include <string>
int main(int argc, char** argv) {
  kflow::cli::EvalOptions o;
  for (int i = 1; i < argc; ++i) { std::string a = argv[i]; if (a == "--conformance") o.conformance = true; else if (a == "--strict") o.strict = true; else if (a == "-i") o.inputs.push_back(argv[++i]); else o.expression = a; }
  return kflow::cli::run_eval(o);
}
