#!/bin/sh
# Fuzzes what reads files that are not trusted, each target for so many seconds, on the corpus in fuzz/corpus.
#
#   tests/fuzz.sh [SECONDS] [TARGET...]
#
# 60 seconds and all targets unless told otherwise. What is new stays in the target folder; see fuzz/README.md.
# Exit status 1 if an input crashed, hung, or took too much memory.

set -eu

seconds=${1:-60}
[ $# -eq 0 ] || shift
targets=${*:-core snapshot}
case $seconds in
    '' | *[!0-9]*)
        echo "usage: fuzz.sh [SECONDS] [core] [snapshot]" >&2
        exit 2
        ;;
esac

cd "$(dirname "$0")/fuzz"
output=${CARGO_TARGET_DIR:-$PWD/../../target}/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')

# What cargo-fuzz sets, as far as a stable compiler knows it: counters on every edge, and operands of comparisons.
flags="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
flags="$flags -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
flags="$flags -Cdebug-assertions -Coverflow-checks --cfg fuzzing"

# With --target, so that build scripts and macros are built without them.
CARGO_TARGET_DIR=$output RUSTFLAGS=$flags cargo build --release --locked --quiet --target "$triple"

for target in $targets; do
    new=$output/corpus/$target
    crashes=$output/crashes/$target/
    mkdir -p "$new" "$crashes"
    dictionary=
    [ ! -f "$target.dict" ] || dictionary=-dict=$target.dict
    echo "fuzzing $target for $seconds seconds" >&2
    log=$output/$target.log
    # The first folder gets what is new. The kept corpus is run whole, before the time counts.
    if ! "$output/$triple/release/$target" "$new" "corpus/$target" -max_total_time="$seconds" -max_len=65536 \
        -timeout=20 -rss_limit_mb=2048 -artifact_prefix="$crashes" -print_final_stats=1 $dictionary 2>"$log"; then
        tail -n 60 "$log" >&2
        crash=$(sed -n 's/.*Test unit written to \(.*\)$/\1/p' "$log" | tail -n 1)
        echo "$target failed on ${crash:-no input of its own: see above}" >&2
        echo "once more: $output/$triple/release/$target $crash" >&2
        exit 1
    fi
    grep -E 'INITED|DONE' "$log" >&2
done
