//! Each stage as its definition says, on the whole vocabulary, sorting and summing anew each time; and the native
//! sampler against it, for random rows, parameters and orders.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a reference is written plainly"
)]

use std::collections::BTreeMap;

use minerva_engine::builtin::native::Native;
use minerva_engine::fake::ByteVocabulary;
use minerva_engine::model::Token;
use minerva_engine::request::{Dry, DynamicTemperature, Mirostat, MirostatVersion, Params, Stage, Xtc};
use minerva_engine::step::{Random, Step};
use proptest::prelude::*;

type Item = (Token, f32);

/// What is left to draw from, best first.
fn reference(row: &[f32], params: &Params, history: &[Token], random: &mut Random, mu: f64) -> Vec<Item> {
    let mut items: Vec<Item> =
        (0..).zip(row.iter().copied()).filter(|(_, logit)| *logit > f32::NEG_INFINITY).collect();
    for (token, add) in &params.logit_bias {
        items.iter_mut().filter(|(id, _)| id == token).for_each(|(_, logit)| *logit += add);
    }
    items.retain(|(_, logit)| *logit > f32::NEG_INFINITY);
    let Some(mirostat) = params.mirostat else {
        for stage in &params.samplers {
            sort(&mut items);
            apply(*stage, &mut items, params, history, random);
        }
        sort(&mut items);
        return items;
    };
    sort(&mut items);
    apply(Stage::Temperature, &mut items, params, history, random);
    // Two that differed may be the same when divided; the lower id is first then.
    sort(&mut items);
    match mirostat.version {
        MirostatVersion::V1 => {
            let head: Vec<f64> = probabilities(&items).into_iter().take(100).collect();
            let t = |i: usize| ((i as f64 + 2.0) / (i as f64 + 1.0)).ln();
            let b = |i: usize| (head[i] / head[i + 1]).ln();
            let pairs = 0..head.len() - 1;
            let s = pairs.clone().map(|i| t(i) * b(i)).sum::<f64>() / pairs.map(|i| t(i) * t(i)).sum::<f64>();
            let e = s - 1.0;
            let k = (e * 2.0_f64.powf(mu) / (1.0 - (row.len() as f64).powf(-e))).powf(1.0 / s);
            items.truncate((k as usize).max(1));
        }
        MirostatVersion::V2 => {
            let surprising = probabilities(&items).iter().position(|p| -p.log2() > mu);
            items.truncate(surprising.unwrap_or(items.len()).max(1));
        }
    }
    items
}

fn sort(items: &mut [Item]) {
    items.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
}

fn probabilities(items: &[Item]) -> Vec<f64> {
    let max = items.iter().map(|item| f64::from(item.1)).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = items.iter().map(|item| (f64::from(item.1) - max).exp()).sum();
    items.iter().map(|item| (f64::from(item.1) - max).exp() / sum).collect()
}

fn entropy(probabilities: &[f64]) -> f64 {
    probabilities.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum()
}

fn apply(stage: Stage, items: &mut Vec<Item>, params: &Params, history: &[Token], random: &mut Random) {
    if items.is_empty() {
        return;
    }
    let p = probabilities(items);
    let min_keep = params.min_keep as usize;
    match stage {
        Stage::Penalties => {
            let recent = &history[history.len().saturating_sub(params.repeat_last_n as usize)..];
            for (id, logit) in items {
                let seen = recent.iter().filter(|token| *token == id).count() as f32;
                if seen > 0.0 {
                    *logit = if *logit <= 0.0 {
                        *logit * params.repeat_penalty
                    } else {
                        *logit / params.repeat_penalty
                    };
                    *logit = *logit - seen * params.frequency_penalty - params.presence_penalty;
                }
            }
        }
        Stage::Dry => {
            let lost = dry(history, &params.dry);
            items.iter_mut().for_each(|(id, logit)| *logit -= lost.get(id).copied().unwrap_or(0.0));
        }
        Stage::TopNSigma if params.top_n_sigma > 0.0 => {
            let count = items.len() as f64;
            let mean = items.iter().map(|item| f64::from(item.1)).sum::<f64>() / count;
            let variance = items.iter().map(|item| (f64::from(item.1) - mean).powi(2)).sum::<f64>() / count;
            let threshold = items[0].1 - params.top_n_sigma * variance.sqrt() as f32;
            items.retain(|item| item.1 >= threshold);
        }
        Stage::TopK if params.top_k > 0 => items.truncate(params.top_k as usize),
        Stage::TypicalP if params.typical_p < 1.0 => {
            let expected = entropy(&p);
            let mut order: Vec<usize> = (0..items.len()).collect();
            order.sort_by(|a, b| (-p[*a].ln() - expected).abs().total_cmp(&(-p[*b].ln() - expected).abs()));
            let mut sum = 0.0;
            let mut kept = 0;
            for at in &order {
                sum += p[*at];
                kept += 1;
                if sum > f64::from(params.typical_p) && kept >= min_keep {
                    break;
                }
            }
            let kept: Vec<Item> = order[..kept].iter().map(|at| items[*at]).collect();
            *items = kept;
        }
        Stage::TopP if params.top_p < 1.0 => {
            let mut sum = 0.0;
            let reached = p.iter().enumerate().position(|(at, p)| {
                sum += p;
                sum >= f64::from(params.top_p) && at + 1 >= min_keep
            });
            items.truncate(reached.map_or(items.len(), |at| at + 1));
        }
        Stage::MinP if params.min_p > 0.0 => {
            let threshold = items[0].1 + params.min_p.ln();
            let kept = items.iter().filter(|item| item.1 >= threshold).count();
            items.truncate(kept.max(min_keep).max(1));
        }
        Stage::Xtc
            if params.xtc.probability > 0.0
                && params.xtc.threshold <= 0.5
                && items.len() >= 2
                && random.next_f32() <= params.xtc.probability =>
        {
            let top = p.iter().filter(|p| **p >= f64::from(params.xtc.threshold)).count();
            if top >= 2 && items.len() - (top - 1) >= min_keep {
                items.drain(..top - 1);
            }
        }
        Stage::Temperature => {
            let range = if params.mirostat.is_some() { 0.0 } else { params.dynamic_temperature.range };
            let mut temperature = params.temperature;
            if range > 0.0 {
                if items.len() == 1 {
                    return;
                }
                let share = (entropy(&p) / (items.len() as f64).ln()).max(0.0) as f32;
                let low = (temperature - range).max(0.0);
                temperature =
                    low + (temperature + range - low) * share.powf(params.dynamic_temperature.exponent);
            }
            if temperature <= 0.0 {
                items.truncate(1);
            } else {
                items.iter_mut().for_each(|item| item.1 /= temperature);
            }
        }
        _ => {}
    }
}

/// What DRY takes from each token. Its breakers are single bytes here, each a token of its own.
fn dry(history: &[Token], dry: &Dry) -> BTreeMap<Token, f32> {
    let recent = match usize::try_from(dry.last_n) {
        Ok(count) => &history[history.len().saturating_sub(count)..],
        Err(_) => history,
    };
    let breaks = |token: &Token| dry.breakers.iter().any(|text| u32::from(text.as_bytes()[0]) == *token);
    let reach = recent.iter().rev().take_while(|token| !breaks(token)).count();
    let allowed = dry.allowed_length as usize;
    let mut longest: BTreeMap<Token, usize> = BTreeMap::new();
    for at in 1..recent.len() {
        let same = recent[..at].iter().rev().zip(recent.iter().rev()).take_while(|(a, b)| a == b).count();
        let repeated = same.min(reach);
        if repeated >= allowed && recent.len() > allowed && !breaks(&recent[at]) && dry.multiplier > 0.0 {
            let known = longest.entry(recent[at]).or_default();
            *known = repeated.max(*known);
        }
    }
    let penalty = |repeated: usize| dry.multiplier * dry.base.powf((repeated - allowed) as f32);
    longest.into_iter().map(|(token, repeated)| (token, penalty(repeated))).collect()
}

/// Parameters with some stages on, in any order.
fn params() -> impl Strategy<Value = Params> {
    let off_or = |on: std::ops::Range<f32>, off: f32| prop_oneof![Just(off), on];
    let order = (Just(Stage::DEFAULT.to_vec()).prop_shuffle(), 0_usize..10, any::<bool>()).prop_map(
        |(mut stages, count, default)| {
            stages.truncate(count);
            if default { Stage::DEFAULT.to_vec() } else { stages }
        },
    );
    let truncation = (
        prop_oneof![Just(0_u32), 1_u32..50],
        off_or(0.0..1.0, 1.0),
        off_or(0.0..0.5, 0.0),
        off_or(0.0..1.0, 1.0),
        off_or(0.1..3.0, 0.0),
        prop_oneof![3 => Just(0_u32), 1 => 1_u32..5],
    );
    let temperature =
        (prop_oneof![Just(0.0_f32), Just(1.0_f32), 0.1_f32..3.0], off_or(0.1..2.0, 0.0), 0.2_f32..3.0);
    let rest = (
        off_or(0.5..1.5, 1.0),
        off_or(-1.0..1.0, 0.0),
        off_or(-1.0..1.0, 0.0),
        off_or(0.1..1.0, 0.0),
        0.0_f32..0.6,
        off_or(0.5..2.0, 0.0),
    );
    let dry = (1_u32..4, prop_oneof![Just(-1), 0_i32..70], any::<bool>()).prop_map(
        |(allowed_length, last_n, broken)| {
            let breakers = if broken { vec!["\u{5}".to_owned()] } else { Vec::new() };
            Dry { allowed_length, last_n, breakers, ..Dry::default() }
        },
    );
    (order, truncation, temperature, rest, dry).prop_map(|(samplers, cut, temperature, rest, dry)| Params {
        samplers,
        top_k: cut.0,
        top_p: cut.1,
        min_p: cut.2,
        typical_p: cut.3,
        top_n_sigma: cut.4,
        min_keep: cut.5,
        temperature: temperature.0,
        dynamic_temperature: DynamicTemperature { range: temperature.1, exponent: temperature.2 },
        repeat_penalty: rest.0,
        frequency_penalty: rest.1,
        presence_penalty: rest.2,
        xtc: Xtc { probability: rest.3, threshold: rest.4 },
        dry: Dry { multiplier: rest.5, base: 1.3, ..dry },
        ..Params::default()
    })
}

fn row() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![30 => -12.0_f32..12.0, 1 => Just(f32::NAN), 1 => Just(f32::NEG_INFINITY)];
    prop::collection::vec(logit, 1..700)
}

/// What the native sampler leaves of a row.
fn kept(native: &Native, row: &[f32], params: &Params, step: &Step) -> Vec<Item> {
    let cut = native.cut(row, params, step, &[], None);
    let kept = native.truncate(cut, params, &mut step.clone());
    let mut items: Vec<Item> = kept.ids.into_iter().zip(kept.logits).collect();
    sort(&mut items);
    items
}

fn same(found: &[Item], expected: &[Item]) -> Result<(), TestCaseError> {
    let ids = |items: &[Item]| items.iter().map(|item| item.0).collect::<Vec<_>>();
    prop_assert_eq!(ids(found), ids(expected));
    for (found, expected) in found.iter().zip(expected) {
        let close = (found.1 - expected.1).abs() <= 1e-4 * expected.1.abs().max(1.0);
        prop_assert!(close || found.1 == expected.1, "{found:?} {expected:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_chain_keeps_what_its_definition_says(
        row in row(),
        params in params(),
        history in prop_oneof![prop::collection::vec(0_u32..30, 0..80), prop::collection::vec(3_u32..7, 0..40)],
        bias in prop::collection::vec((0_u32..40, prop_oneof![-3.0_f32..3.0, Just(f32::NEG_INFINITY)]), 0..3),
        seed in any::<u64>(),
    ) {
        let params = Params { logit_bias: bias, ..params };
        let step = Step { history, random: Random::new(seed), ..Step::default() };
        let native = Native::new(&params, &ByteVocabulary::new());
        let expected = reference(&row, &params, &step.history, &mut step.random.clone(), 0.0);
        same(&kept(&native, &row, &params, &step), &expected)?;
    }

    #[test]
    fn mirostat_keeps_what_its_definition_says_and_learns(
        rows in prop::collection::vec(prop::collection::vec(-12.0_f32..12.0, 300), 1..6),
        version in prop_oneof![Just(MirostatVersion::V1), Just(MirostatVersion::V2)],
        tau in 0.5_f32..6.0,
        temperature in prop_oneof![Just(1.0_f32), 0.3_f32..2.0],
        seed in any::<u64>(),
    ) {
        let mirostat = Mirostat { tau, ..Mirostat::new(version) };
        let params = Params { mirostat: Some(mirostat), temperature, ..Params::default() };
        let mut step = Step { random: Random::new(seed), ..Step::default() };
        let mut native = Native::new(&params, &ByteVocabulary::new());
        let mut mu = 2.0 * f64::from(tau);
        for row in rows {
            let expected = reference(&row, &params, &[], &mut Random::new(0), mu);
            same(&kept(&native, &row, &params, &step), &expected)?;
            let cut = native.cut(&row, &params, &step, &[], None);
            let token = native.draw(cut, &params, &mut step).expect("a token");
            let at = expected.iter().position(|item| item.0 == token).expect("one of those kept");
            mu -= f64::from(mirostat.eta) * (-probabilities(&expected)[at].log2() - f64::from(tau));
        }
    }
}

/// What differed may be the same when divided by the temperature: who is first then is the lower id, in any stage.
#[test]
fn what_a_temperature_makes_equal_is_in_the_order_of_ids() {
    let temperature = 1.7;
    let logit =
        (50..80).map(|tenth| tenth as f32 / 10.0).find(|x| x / temperature == x.next_up() / temperature);
    let logit = logit.expect("one of them");
    let row = [logit, logit.next_up(), 0.0];
    for version in [MirostatVersion::V1, MirostatVersion::V2] {
        let mirostat = Some(Mirostat { tau: 0.1, ..Mirostat::new(version) });
        let params = Params { mirostat, temperature, ..Params::default() };
        let native = Native::new(&params, &ByteVocabulary::new());
        let ids: Vec<Token> =
            kept(&native, &row, &params, &Step::default()).into_iter().map(|item| item.0).collect();
        assert_eq!(ids, [0], "{version:?}");
    }
}

/// What is drawn how often, by definition.
fn distribution(row: &[f32], params: &Params, history: &[Token], mu: f64) -> BTreeMap<Token, f64> {
    let of = |params: &Params, weight: f64| {
        let kept = reference(row, params, history, &mut Random::new(0), mu);
        let weighed = probabilities(&kept).into_iter().map(move |p| p * weight);
        kept.into_iter().map(|item| item.0).zip(weighed).collect::<Vec<_>>()
    };
    let xtc = |probability| Params { xtc: Xtc { probability, ..params.xtc }, ..params.clone() };
    // XTC flips a coin of its own in each step.
    let probability = f64::from(params.xtc.probability);
    let mut expected = BTreeMap::new();
    for (token, p) in of(&xtc(1.0), probability).into_iter().chain(of(&xtc(0.0), 1.0 - probability)) {
        *expected.entry(token).or_default() += p;
    }
    expected.retain(|_, p| *p > 0.0);
    expected
}

/// Pearson's chi-squared test, on cells of at least five expected draws. The seeds are fixed: it cannot fail by chance
/// from one run to the next.
fn draws_as_expected(name: &str, seed: u64, row: &[f32], params: &Params, history: &[Token]) {
    const DRAWS: u32 = 6_000;
    let mu = params.mirostat.map_or(0.0, |mirostat| 2.0 * f64::from(mirostat.tau));
    let expected = distribution(row, params, history, mu);
    let mut drawn: BTreeMap<Token, u32> = BTreeMap::new();
    let mut step = Step { history: history.to_vec(), random: Random::new(seed), ..Step::default() };
    let fresh = || Native::new(params, &ByteVocabulary::new());
    let mut native = fresh();
    for _ in 0..DRAWS {
        // It learns from each draw: the first one is looked at.
        if params.mirostat.is_some() {
            native = fresh();
        }
        let cut = native.cut(row, params, &step, &[], None);
        *drawn.entry(native.draw(cut, params, &mut step).expect("a token")).or_default() += 1;
    }
    for token in drawn.keys() {
        assert!(expected.contains_key(token), "{name}: {token} is not among what is kept");
    }
    let (mut chi_squared, mut cells) = (0.0, 0.0);
    let mut add = |seen: f64, wanted: f64| {
        chi_squared += (seen - wanted).powi(2) / wanted;
        cells += 1.0;
    };
    let mut rest = (0.0, 0.0);
    for (token, p) in &expected {
        let (seen, wanted) = (f64::from(drawn.get(token).copied().unwrap_or(0)), p * f64::from(DRAWS));
        if wanted >= 5.0 {
            add(seen, wanted);
        } else {
            rest = (rest.0 + seen, rest.1 + wanted);
        }
    }
    if rest.1 >= 5.0 {
        add(rest.0, rest.1);
    }
    // Its mean is one less than the cells, its variance twice that: five deviations and some for its long tail.
    let freedom: f64 = (cells - 1.0_f64).max(0.0);
    let limit = freedom + 5.0 * (2.0 * freedom).sqrt() + 10.0;
    assert!(chi_squared < limit, "{name}, seed {seed}: chi-squared is {chi_squared:.1} in {cells} cells");
}

/// Every stage by itself and together with others draws from the distribution that its definition gives.
#[test]
fn draws_are_distributed_as_each_stage_says() {
    let open = Params { temperature: 1.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..Params::default() };
    let with = |change: fn(&mut Params)| {
        let mut params = open.clone();
        change(&mut params);
        params
    };
    let cases = [
        ("nothing", open.clone()),
        ("temperature", with(|params| params.temperature = 0.7)),
        ("high temperature", with(|params| params.temperature = 2.5)),
        ("dynamic temperature", with(|params| params.dynamic_temperature.range = 0.6)),
        ("top-k", with(|params| params.top_k = 12)),
        ("top-p", with(|params| params.top_p = 0.8)),
        ("min-p", with(|params| params.min_p = 0.05)),
        ("typical-p", with(|params| params.typical_p = 0.6)),
        ("top-n-sigma", with(|params| params.top_n_sigma = 1.2)),
        ("xtc", with(|params| params.xtc = Xtc { probability: 0.4, threshold: 0.05 })),
        ("min-keep", with(|params| (params.top_p, params.min_keep) = (0.05, 7))),
        ("penalties", with(|params| (params.repeat_penalty, params.frequency_penalty) = (1.4, 0.3))),
        ("presence", with(|params| params.presence_penalty = 1.1)),
        ("dry", with(|params| params.dry.multiplier = 0.9)),
        ("bias", with(|params| params.logit_bias = vec![(3, 2.5), (9, f32::NEG_INFINITY)])),
        ("mirostat 1", with(|params| params.mirostat = Some(Mirostat::new(MirostatVersion::V1)))),
        (
            "mirostat 2",
            with(|params| {
                params.mirostat = Some(Mirostat { tau: 2.0, ..Mirostat::new(MirostatVersion::V2) });
            }),
        ),
        ("the defaults", Params::default()),
        (
            "temperature first",
            with(|params| {
                (params.temperature, params.top_p) = (1.8, 0.7);
                params.samplers = vec![Stage::Temperature, Stage::TopP];
            }),
        ),
    ];
    let mut random = Random::new(11);
    for seed in 0..3 {
        let row: Vec<f32> =
            (0..300).map(|_| (0..6).map(|_| random.next_f32()).sum::<f32>() * 3.0 - 9.0).collect();
        let history: Vec<Token> = (0..40).map(|place| place * place % 13).collect();
        for (name, params) in &cases {
            draws_as_expected(name, seed, &row, params, &history);
        }
    }
}

#[test]
fn a_row_without_a_number_gives_no_token() {
    for row in [vec![], vec![f32::NEG_INFINITY; 100], vec![f32::NAN; 3]] {
        for samplers in [Stage::DEFAULT.to_vec(), Vec::new()] {
            for mirostat in
                [None, Some(Mirostat::new(MirostatVersion::V1)), Some(Mirostat::new(MirostatVersion::V2))]
            {
                let params = Params {
                    samplers: samplers.clone(),
                    mirostat,
                    top_k: 0,
                    top_n_sigma: 1.0,
                    typical_p: 0.5,
                    xtc: Xtc { probability: 1.0, ..Xtc::default() },
                    dynamic_temperature: DynamicTemperature { range: 0.5, exponent: 1.0 },
                    ..Params::default()
                };
                let mut step = Step::default();
                let mut native = Native::default();
                let cut = native.cut(&row, &params, &step, &[], None);
                assert_eq!(native.draw(cut, &params, &mut step), None, "{row:?} {params:?}");
            }
        }
    }
}

#[test]
fn stages_have_llama_cpps_names_and_letters() {
    let letters: Vec<_> = "edskypmxt".chars().map(Stage::from_letter).collect();
    assert_eq!(letters, Stage::DEFAULT.map(Some));
    for stage in Stage::DEFAULT {
        assert_eq!(Stage::from_name(stage.as_str()), Some(stage));
    }
    assert_eq!(Stage::from_name("typical-p"), Some(Stage::TypicalP));
    assert_eq!((Stage::from_name("infill"), Stage::from_letter('i')), (None, None));
}
