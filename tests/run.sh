#!/bin/sh
# All tests, on a Debian 12 or 13 with Rust: installs what they need (as root or through sudo, else says what is missing),
# builds the fixtures (a real nginx, C programs) and runs everything. Takes some twenty minutes on two cores the first time.
# Arguments go to cargo test, for example `--test known_heaps`.

set -eu

cd "$(dirname "$0")/.."
sh fixtures/prerequisites.sh tests
exec cargo test --workspace --locked "$@"
