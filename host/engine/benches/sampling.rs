//! What sampling one row of 151,936 logits takes. The targets are 32 us where top-k comes first and 150 us where the
//! whole row counts; the figures are in the docs, with their machine.

use criterion::{Criterion, criterion_group, criterion_main};
use minerva_engine::builtin::native::Native;
use minerva_engine::request::{Mirostat, MirostatVersion, Params};
use minerva_engine::row;
use minerva_engine::step::{Random, Step, TokenSet};

const VOCABULARY: usize = 151_936;

/// Logits as a model's are: most of them far below the best.
fn logits() -> Vec<f32> {
    let mut random = Random::new(1);
    let mut normal = || (0..12).map(|_| random.next_f32()).sum::<f32>() - 6.0;
    (0..VOCABULARY).map(|_| normal() * 2.5).collect()
}

fn sampling(criterion: &mut Criterion) {
    let row = logits();
    let usual = Params { top_k: 40, ..Params::default() };
    let whole = Params { top_k: 0, ..Params::default() };
    let sigma = Params { top_n_sigma: 1.0, ..Params::default() };
    let mirostat = Params { mirostat: Some(Mirostat::new(MirostatVersion::V2)), ..Params::default() };
    for (name, params) in
        [("top-k 40", usual), ("top-k off", whole), ("top-n-sigma", sigma), ("mirostat", mirostat)]
    {
        let mut native = Native::default();
        let mut step = Step { history: (0..64).collect(), ..Step::default() };
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                let cut = native.cut(&row, &params, &step, &[0], None);
                native.draw(cut, &params, &mut step)
            });
        });
    }
    criterion.bench_function("top 64", |bencher| bencher.iter(|| row::top(&row, 64)));
    let half = TokenSet::from_words(vec![0x0f0f_f0f0; VOCABULARY / 32]);
    criterion
        .bench_function("top 64 of half", |bencher| bencher.iter(|| row::top_where(&row, 64, Some(&half))));
    criterion.bench_function("logsumexp", |bencher| bencher.iter(|| row::logsumexp(&row)));
}

criterion_group!(benches, sampling);
criterion_main!(benches);
