// Catch2 by either of its majors: 2 on Debian 12, 3 on Ubuntu 24.04.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_test_macros.hpp>
#include <catch2/generators/catch_generators.hpp>
#else
#include <catch2/catch.hpp>
#endif
