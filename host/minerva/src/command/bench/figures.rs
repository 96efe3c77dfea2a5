//! Figures of many rounds, and how they are shown.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

/// What was measured of one thing in one round, by name.
pub(super) type Figures = BTreeMap<&'static str, f64>;

/// What was measured of several things beside each other, round by round.
pub(super) struct Table {
    /// What is the same for all of them: `8 clients`.
    pub title: String,
    /// Who was measured. The second and every later one is compared with the first.
    pub names: Vec<String>,
    /// One list of figures a round, in the order of the names.
    pub rounds: Vec<Vec<Figures>>,
}

/// The middle of some values, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Spread {
    /// Of any number of values; of none there is none.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Self { median: quantile(&values, 0.5), least, most })
    }

    pub(super) fn json(self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.most })
    }
}

/// The value below which a part of the sorted values lies, between two of them where it falls between.
pub(super) fn quantile(sorted: &[f64], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_precision_loss, reason = "nobody measures 2^52 times")]
    let place = part * last as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to the last place"
    )]
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// The median and the 99th percentile of times, in milliseconds, under two names.
pub(super) fn times(figures: &mut Figures, names: [&'static str; 2], mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    if !seconds.is_empty() {
        figures.insert(names[0], quantile(&seconds, 0.5) * 1e3);
        figures.insert(names[1], quantile(&seconds, 0.99) * 1e3);
    }
}

impl Table {
    pub(super) fn new(title: impl Into<String>, names: Vec<String>) -> Self {
        Self { title: title.into(), names, rounds: Vec::new() }
    }

    fn figure_names(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = Vec::new();
        for name in self.rounds.iter().flatten().flat_map(BTreeMap::keys) {
            if !names.contains(name) {
                names.push(name);
            }
        }
        names
    }

    /// A figure of one of those measured, over the rounds.
    fn spread(&self, who: usize, figure: &str) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|round| round.get(who)?.get(figure).copied()))
    }

    /// A figure of the first by that of another, round by round.
    fn ratio(&self, other: usize, figure: &str) -> Option<Spread> {
        let of = |round: &Vec<Figures>| Some(round.first()?.get(figure)? / round.get(other)?.get(figure)?);
        Spread::of(self.rounds.iter().filter_map(of))
    }

    pub(super) fn json(&self) -> Value {
        let by_figure = |spread: &dyn Fn(&str) -> Option<Spread>| -> Value {
            let figures = self.figure_names().into_iter();
            figures.filter_map(|figure| Some((figure.to_owned(), spread(figure)?.json()))).collect()
        };
        let measured: Vec<Value> = (0..self.names.len())
            .map(|who| {
                let rounds: Vec<&Figures> = self.rounds.iter().filter_map(|round| round.get(who)).collect();
                json!({
                    "name": self.names[who],
                    "figures": by_figure(&|figure| self.spread(who, figure)),
                    "rounds": rounds,
                })
            })
            .collect();
        let ratios: Vec<Value> = (1..self.names.len())
            .map(|other| {
                json!({
                    "of": self.names[0],
                    "to": self.names[other],
                    "figures": by_figure(&|figure| self.ratio(other, figure)),
                })
            })
            .collect();
        json!({ "title": self.title, "measured": measured, "ratios": ratios })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.title)?;
        write!(formatter, "  {:28}", "")?;
        for name in &self.names {
            write!(formatter, " {name:>18}")?;
        }
        for other in &self.names[1..] {
            write!(formatter, "   {:<28}", format!("{} / {other}", self.names[0]))?;
        }
        writeln!(formatter)?;
        for figure in self.figure_names() {
            write!(formatter, "  {figure:28}")?;
            for who in 0..self.names.len() {
                match self.spread(who, figure) {
                    Some(spread) => write!(formatter, " {:>18.2}", spread.median)?,
                    None => write!(formatter, " {:>18}", "–")?,
                }
            }
            for other in 1..self.names.len() {
                if let Some(Spread { median, least, most }) = self.ratio(other, figure) {
                    write!(formatter, "   {:<28}", format!("{median:.3} ({least:.3} to {most:.3})"))?;
                }
            }
            writeln!(formatter)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_rounds_become_medians_and_ratios() {
        let round = |a: f64, b: f64| vec![Figures::from([("speed", a)]), Figures::from([("speed", b)])];
        let mut table = Table::new("two", vec!["a".into(), "b".into()]);
        table.rounds = vec![round(10.0, 5.0), round(30.0, 10.0), round(20.0, 20.0)];
        assert_eq!(table.spread(0, "speed"), Some(Spread { median: 20.0, least: 10.0, most: 30.0 }));
        assert_eq!(table.ratio(1, "speed"), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert!(table.to_string().contains("2.000 (1.000 to 3.000)"), "{table}");
        assert_eq!(table.json()["ratios"][0]["figures"]["speed"]["median"], 2.0);
        assert_eq!(table.json()["measured"][1]["rounds"][2]["speed"], 20.0);
    }

    #[test]
    fn quantiles_lie_between_values() {
        let values = [1.0, 2.0, 3.0, 5.0];
        assert_eq!([0.0, 0.5, 1.0].map(|part| quantile(&values, part)), [1.0, 2.5, 5.0]);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!(Spread::of([f64::NAN, f64::INFINITY]), None);
    }
}
