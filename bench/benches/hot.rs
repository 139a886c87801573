//! Times of the hot paths: `cargo bench -p till-bench --bench hot`.

use criterion::Criterion;
use till_bench::hot;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for mut path in hot::all() {
        criterion.bench_function(path.name, |bencher| bencher.iter(|| path.run()));
    }
    criterion.final_summary();
}
