#!/usr/bin/env bash
# The long run: every fuzz target, or those that are named, for so many seconds each, one after the other.
#
#   fuzz/run.sh                        600 seconds each
#   SECONDS_EACH=60 fuzz/run.sh usage_reader chunk_filter
#
# Works on a stable toolchain. Ends with a line per target: executions, covered edges, files in the corpus. What a run
# adds to the corpus stays in target/fuzz-corpus; a crash is left in fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
readonly seconds="${SECONDS_EACH:-600}"
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')

cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz

summary=()
for target in "${targets[@]}"; do
    found="target/fuzz-corpus/$target"
    log="target/fuzz-$target.log"
    mkdir -p "$found"
    printf '\n==== %s, %d s ====\n' "$target" "$seconds"
    status=0
    # The first folder takes what is new, the second is only read.
    cargo fuzz run "$target" "$found" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -print_final_stats=1 >"$log" 2>&1 || status=$?
    executions="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)"
    covered="$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2 || true)"
    line="$(printf '%-16s %12s executions, %6s edges, %5d files, exit code %d' \
        "$target" "${executions:-?}" "${covered:-?}" "$(find "$found" -type f | wc -l)" "$status")"
    summary+=("$line")
    ((status)) && tail -40 "$log"
done
printf '\n==== fuzzing ====\n'
printf '%s\n' "${summary[@]}"
! printf '%s\n' "${summary[@]}" | grep -qv 'exit code 0$'
