// Everything of the embedding library: compile, run, wait. With kflow::runtime alone leave out
// kflow/compile.hpp and include kflow/engine.hpp.
#pragma once

#include "kflow/compile.hpp"
#include "kflow/engine.hpp"
#include "kflow/functions.hpp"
#include "kflow/program.hpp"
#include "kflow/result.hpp"
#include "kflow/value.hpp"
