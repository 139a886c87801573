#!/usr/bin/env bash
# The long run: every fuzz target, or those that are named, for so many seconds each, two at a time.
#
#   fuzz/run.sh                        600 seconds each
#   SECONDS_EACH=60 JOBS=1 SEED=7 fuzz/run.sh usage_reader chunk_filter
#   BUILT=1 fuzz/run.sh token      with the programs of the last run
#
# Works on a stable toolchain. Each run becomes a line of fuzz/runs.tsv, whose sums are written to fuzz/results.md. What a
# run adds to the corpus stays in target/fuzz-corpus, so that the next one goes on from there; a crash is left in
# fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTC_BOOTSTRAP=1
readonly seconds="${SECONDS_EACH:-600}" jobs="${JOBS:-2}"
readonly runs=fuzz/runs.tsv results=fuzz/results.md
targets=("$@")
((${#targets[@]})) || mapfile -t targets < <(cd fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')

# Once, and aside, so that the sources may change while they run. Without a sanitizer: there is no unsafe code of ours for
# it to watch, and without it several times as many inputs are tried.
build() {
    cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
    mkdir -p target/fuzz-bin
    local target
    for target in "${targets[@]}"; do
        cargo fuzz build --sanitizer none "$target"
        install "$(find "${CARGO_TARGET_DIR:-fuzz/target}" -path "*/release/$target" -type f -print -quit)" target/fuzz-bin/
    done
}

# One target; its line of the table goes to the standard output.
run() {
    local target="$1" found="target/fuzz-corpus/$1" log="target/fuzz-$1.log" status=0 began=$SECONDS
    local seed="${SEED:-$((RANDOM * 32768 + RANDOM + 1))}"
    mkdir -p "$found" "fuzz/artifacts/$target"
    # The first folder takes what is new, the second is only read.
    "target/fuzz-bin/$target" "$found" "fuzz/corpus/$target" -artifact_prefix="fuzz/artifacts/$target/" \
        -seed="$seed" -max_total_time="$seconds" -max_len=65536 -print_final_stats=1 >"$log" 2>&1 || status=$?
    local executions covered
    executions="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -1)"
    covered="$(grep -o 'cov: [0-9]*' "$log" | tail -1 | cut -d' ' -f2 || true)"
    ((status == 0)) || tail -40 "$log" >&2
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' \
        "$(date -u +%F)" "$target" "$seed" $((SECONDS - began)) "${executions:-0}" "${covered:-0}" "$status"
}

# The sums of all runs, a row per target.
sums() {
    printf '%s\n' '# Long runs of the fuzz targets' '' \
        'Made by `fuzz/run.sh` from `fuzz/runs.tsv`, which has a line per run with its seed.' '' \
        '| target | runs | seconds | executions | edges | failed runs |' '| --- | ---: | ---: | ---: | ---: | ---: |'
    awk -F'\t' '!/^date/ {
            runs[$2]++; seconds[$2] += $4; executions[$2] += $5; failed[$2] += $7 != 0
            if ($6 > edges[$2]) edges[$2] = $6
        }
        END { for (t in runs)
            printf "| `%s` | %d | %d | %.0f | %d | %d |\n", t, runs[t], seconds[t], executions[t], edges[t], failed[t]
        }' "$runs" | sort
}

if [[ -z "${BUILT:-}" ]]; then build; fi
# Instances have files, which need no disk.
TMPDIR="$(mktemp -d -p "$([[ -d /dev/shm ]] && echo /dev/shm || echo "${TMPDIR:-/tmp}")" till-fuzz-XXXXXX)"
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
[[ -f "$runs" ]] || printf 'date\ttarget\tseed\tseconds\texecutions\tedges\texit code\n' >"$runs"
readonly before="$(wc -l <"$runs")"
for target in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do wait -n; done
    run "$target" >>"$runs" &
done
wait
sums >"$results"
printf '\n==== fuzzing ====\n'
head -1 "$runs"
tail -n +"$((before + 1))" "$runs"
! tail -n +"$((before + 1))" "$runs" | grep -qv $'\t0$'
