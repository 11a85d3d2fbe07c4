// Published test vectors of the hashes.
#include "compiler/base/hash.hpp"

#include "tests/support/catch.hpp"

using namespace kflow;

TEST_CASE("SHA-256 of FIPS 180-4's example") {
  CHECK(to_hex(sha256("abc")) ==
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("XXH3 is the published function") { CHECK(xxh3("") == 0x2d06800538d394c2ULL); }
