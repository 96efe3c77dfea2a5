//! The laws of samplers.

use std::sync::Arc;

use minerva_engine::model::{Token, Vocabulary as _};
use minerva_engine::plugin::{self, Choice, Kind, Sampler, SamplerPlugin, Tier};
use minerva_engine::row;
use minerva_engine::step::{Candidates, Commands, Random, Step};
use serde_json::Value;

use crate::conformance::texts::below;
use crate::conformance::{
    Check, Law, SmallVocabulary, Subject, arguments, context, passed, skipped, steady, unless_refused,
};

/// Steps of one answer, where not more are asked for.
const STEPS: u32 = 48;

pub(super) fn check(subject: &Subject<'_>, plugin: &dyn SamplerPlugin, checks: &mut Vec<Check>) {
    let mut add = |law, outcome| checks.push(Check::new(Kind::Sampler, law, outcome));
    let descriptor = plugin.descriptor();
    let good = match arguments::good(&descriptor.args_schema, subject.options) {
        Ok(good) => good,
        Err(why) => return add("arguments", Err(why)),
    };
    let open = |args: &Value| plugin.open(&context(SmallVocabulary::new()), args, &[1, 2, 3]);
    add("arguments", arguments::check(&descriptor.args_schema, &good, |args| open(args).map(drop)));
    let runs = Runs { plugin, good: &good, rounds: subject.options.rounds };
    add("determinism", runs.determinism());
    add(
        "fork",
        if descriptor.can_fork { runs.fork() } else { skipped("the descriptor does not say can-fork") },
    );
    let no_rollback = "the descriptor does not say can-rollback";
    add("rollback", if descriptor.can_rollback { runs.rollback() } else { skipped(no_rollback) });
    let no_backtrack = "the descriptor has no backtrack-max";
    add("backtrack", if descriptor.backtrack_max > 0 { runs.backtrack() } else { skipped(no_backtrack) });
    add("commits", runs.commits());
    add("odd steps", runs.odd());
    add("memory", memory(subject, plugin, &good[0]));
}

/// What a law is tried with: every set of arguments under every seed.
struct Runs<'a> {
    plugin: &'a dyn SamplerPlugin,
    good: &'a [Value],
    rounds: u32,
}

impl Runs<'_> {
    fn each(&self, what: &str, law: impl Fn(Answer) -> Result<(), String>) -> Law {
        for args in self.good {
            for seed in 0..self.rounds {
                let answer =
                    Answer::open(self.plugin, args, seed).map_err(|why| format!("with {args}: {why}"))?;
                law(answer).map_err(|why| format!("with {args}, seed {seed}: {why}"))?;
            }
        }
        passed(format!("{} answers of {STEPS} steps{what}", self.good.len() * self.rounds as usize))
    }

    /// The same request twice is the same answer.
    fn determinism(&self) -> Law {
        self.each(", twice each", |mut answer| {
            let mut again = answer.reopened(self.plugin)?;
            same("the second time", &answer.steps(STEPS)?, &again.steps(STEPS)?)
        })
    }

    /// A fork goes on as its parent does, and the parent as without a fork.
    fn fork(&self) -> Law {
        self.each(", forked on the way", |mut answer| {
            let mut alone = answer.reopened(self.plugin)?;
            let split = 1 + answer.seed % 20;
            answer.steps(split)?;
            alone.steps(split)?;
            let mut fork = answer.fork()?;
            // In turn, so that what they share would show.
            let (mut by_parent, mut by_fork) = (Vec::new(), Vec::new());
            for _ in 0..STEPS {
                by_fork.extend(fork.steps(1)?);
                by_parent.extend(answer.steps(1)?);
            }
            let expected = alone.steps(STEPS)?;
            same("the parent of a fork", &expected, &by_parent)?;
            same("the fork", &expected, &by_fork)
        })
    }

    /// Taking tokens back and saying them again changes nothing.
    fn rollback(&self) -> Law {
        self.each(", rolled back on the way", |mut answer| {
            let mut straight = answer.reopened(self.plugin)?;
            let (split, back) = (1 + answer.seed % 20, 1 + answer.seed % 9);
            answer.steps(split)?;
            let (before, told, taken_back) = (answer.point(), answer.told, answer.taken_back);
            answer.steps(back)?;
            if answer.taken_back > taken_back {
                // It went back by itself, and maybe behind where it was.
                return Ok(());
            }
            let count = answer.told - told;
            answer.session.rollback(count).map_err(|error| error.to_string())?;
            answer.return_to(before);
            straight.steps(split)?;
            let (expected, replayed) = (straight.steps(STEPS)?, answer.steps(STEPS)?);
            same(&format!("after {count} tokens were taken back and said again"), &expected, &replayed)
        })
    }

    /// Who takes tokens back comes to something else: the same logits, again and again, are no way to go in circles.
    fn backtrack(&self) -> Law {
        /// Steps for each token that stays.
        const PATIENCE: u32 = 40;
        self.each(", tokens taken back", |mut answer| {
            for _ in 0..PATIENCE {
                answer.steps(STEPS)?;
                if answer.is_over || answer.said() >= STEPS as usize {
                    return Ok(());
                }
            }
            let (said, back) = (answer.said(), answer.taken_back);
            let steps = STEPS * PATIENCE;
            Err(format!("after {steps} steps the answer has {said} tokens, and {back} were taken back"))
        })
    }

    /// Tokens that are told of at once count as those told of one by one.
    fn commits(&self) -> Law {
        self.each(", some tokens told at once", |mut one_by_one| {
            let mut at_once = one_by_one.reopened(self.plugin)?;
            one_by_one.steps(3)?;
            at_once.steps(3)?;
            let mut random = Random::new(u64::from(one_by_one.seed));
            let mut tokens = std::mem::take(&mut at_once.committed);
            one_by_one.committed.clear();
            let said = tokens.len();
            tokens.extend(
                (0..1 + below(20, &mut random))
                    .map(|_| Token::try_from(below(296, &mut random)).unwrap_or(0)),
            );
            let random = one_by_one.step.random.clone();
            for (at, &token) in tokens.iter().enumerate() {
                if at >= said {
                    one_by_one.step.history.push(token);
                    at_once.step.history.push(token);
                }
                one_by_one.step.commands = Commands::default();
                one_by_one.advance(&[token])?;
                let Commands { force, stop, backtrack, .. } = &one_by_one.step.commands;
                if at + 1 < tokens.len() && (!force.is_empty() || stop.is_some() || *backtrack > 0) {
                    // It would have had its way before the next.
                    return Ok(());
                }
            }
            at_once.step.commands = Commands::default();
            at_once.advance(&tokens)?;
            one_by_one.step.random = random.clone();
            at_once.step.random = random;
            let (mut expected, mut found) = (one_by_one.rest_of_step()?, at_once.rest_of_step()?);
            expected.extend(one_by_one.steps(STEPS / 2)?);
            found.extend(at_once.steps(STEPS / 2)?);
            same(&format!("when {} tokens are told at once", tokens.len()), &expected, &found)
        })
    }

    /// No step breaks it.
    fn odd(&self) -> Law {
        let mut count = 0;
        for args in self.good {
            for vocabulary in [SmallVocabulary::new, SmallVocabulary::bare] {
                for prompt in [vec![], vec![0], (0..8_000).map(|at| at % 296).collect::<Vec<Token>>()] {
                    self.odd_answer(vocabulary(), args, &prompt)
                        .map_err(|why| format!("with {args}: {why}"))?;
                    count += 1;
                }
            }
        }
        passed(format!(
            "{count} answers: no prompt, a long one, one candidate, all alike, extremes, only ends"
        ))
    }

    fn odd_answer(&self, vocabulary: SmallVocabulary, args: &Value, prompt: &[Token]) -> Result<(), String> {
        let last = vocabulary.size() - 1;
        let ends: Vec<Token> = (0..=last).filter(|&id| vocabulary.is_end(id)).collect();
        let mut session = match self.plugin.open(&context(vocabulary), args, prompt) {
            Ok(session) => session,
            Err(error) => return unless_refused(&error),
        };
        let cuts = [
            Candidates { ids: vec![last], logits: vec![0.0] },
            Candidates { ids: (0..64).collect(), logits: vec![1.5; 64] },
            Candidates { ids: vec![3, 2, 1], logits: vec![f32::MAX, 0.0, f32::MIN] },
            Candidates { ids: vec![9, 8], logits: vec![1e-30, -1e-30] },
            Candidates { logits: vec![-5.0; ends.len()], ids: ends },
        ];
        let mut step = Step { history: prompt.to_vec(), prompt_tokens: prompt.len(), ..Step::default() };
        let mut committed: Vec<Token> = Vec::new();
        for (at, cut) in cuts.iter().enumerate() {
            step.history.extend_from_slice(&committed);
            step.commands = Commands::default();
            let failed = |error: plugin::Error| format!("odd step {at}: {error}");
            advance(session.as_mut(), &mut step, &committed).map_err(failed)?;
            if self.plugin.descriptor().tier > Tier::Plan {
                let mut row = vec![-20.0; last as usize + 1];
                cut.ids.iter().zip(&cut.logits).for_each(|(&id, &logit)| row[id as usize] = logit);
                step.row = reads(self.plugin).then(|| Arc::new(row));
                session.pick(&mut step, cut).map_err(failed)?;
                step.row = None;
            }
            let back = step.commands.backtrack;
            if back > 0 {
                session.rollback(back).map_err(failed)?;
                take_back(&mut step, back);
                committed.clear();
                continue;
            }
            committed = if at == 2 { (0..4_096).map(|at| at % 290).collect() } else { vec![cut.ids[0]] };
        }
        session.close().map(drop).map_err(|error| error.to_string())
    }
}

/// A long answer does not pile up, nor do forks that came and went.
fn memory(subject: &Subject<'_>, plugin: &dyn SamplerPlugin, args: &Value) -> Law {
    let calls = subject.options.calls;
    let mut answer = Answer::open(plugin, args, 7)?;
    let (mut before, mut most) = (0, 0);
    for call in 0..calls {
        answer.steps(1).map_err(|why| format!("call {call}: {why}"))?;
        if answer.is_over {
            answer = answer.reopened(plugin)?;
        }
        if call % 50 == 0 && plugin.descriptor().can_fork {
            drop(answer.fork()?);
        }
        if call == calls / 10 {
            before = subject.runtime.memory_bytes();
        }
        most = most.max(subject.runtime.memory_bytes());
    }
    steady(calls, before, most)
}

/// One answer under way: the host's part of it, in small.
struct Answer {
    session: Box<dyn Sampler>,
    args: Value,
    seed: u32,
    cut: usize,
    picks: bool,
    reads: bool,
    step: Step,
    /// Said, and the sampler not told yet.
    committed: Vec<Token>,
    /// How many tokens the sampler was told of.
    told: u32,
    /// Tokens that the sampler itself took back.
    taken_back: u32,
    is_over: bool,
}

/// What a sampler did in a step.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    commands: Commands,
    choice: Option<Choice>,
}

/// A place in an answer.
struct Point {
    step: Step,
    committed: Vec<Token>,
    is_over: bool,
}

fn reads(plugin: &dyn SamplerPlugin) -> bool {
    plugin.descriptor().reads_row || plugin.descriptor().tier == Tier::FullRow
}

impl Answer {
    fn open(plugin: &dyn SamplerPlugin, args: &Value, seed: u32) -> Result<Self, String> {
        let prompt: Vec<Token> = b"What do owls eat? ".iter().map(|&byte| Token::from(byte)).collect();
        let session = plugin.open(&context(SmallVocabulary::new()), args, &prompt);
        let descriptor = plugin.descriptor();
        Ok(Self {
            session: session.map_err(|error| error.to_string())?,
            args: args.clone(),
            seed,
            cut: descriptor.cut as usize,
            picks: descriptor.tier > Tier::Plan,
            reads: reads(plugin),
            step: Step {
                prompt_tokens: prompt.len(),
                history: prompt,
                random: Random::new(u64::from(seed)),
                ..Step::default()
            },
            committed: Vec::new(),
            told: 0,
            taken_back: 0,
            is_over: false,
        })
    }

    /// The same request from its beginning, in an instance of its own.
    fn reopened(&self, plugin: &dyn SamplerPlugin) -> Result<Self, String> {
        Self::open(plugin, &self.args, self.seed)
    }

    fn fork(&mut self) -> Result<Self, String> {
        let session = self.session.fork().map_err(|error| error.to_string())?;
        let Point { step, committed, is_over } = self.point();
        Ok(Self { session, args: self.args.clone(), step, committed, is_over, ..*self })
    }

    fn point(&self) -> Point {
        Point { step: self.step.clone(), committed: self.committed.clone(), is_over: self.is_over }
    }

    fn return_to(&mut self, point: Point) {
        self.step = point.step;
        self.committed = point.committed;
        self.is_over = point.is_over;
    }

    fn advance(&mut self, committed: &[Token]) -> Result<(), String> {
        self.told += u32::try_from(committed.len()).unwrap_or(u32::MAX);
        advance(self.session.as_mut(), &mut self.step, committed).map_err(|error| error.to_string())
    }

    /// Tokens of the answer.
    fn said(&self) -> usize {
        self.step.history.len() - self.step.prompt_tokens
    }

    /// Goes on so many steps, or to the end of the answer.
    fn steps(&mut self, count: u32) -> Result<Vec<Seen>, String> {
        let mut seen = Vec::new();
        for _ in 0..count {
            if self.is_over {
                break;
            }
            let committed = std::mem::take(&mut self.committed);
            self.step.commands = Commands::default();
            self.advance(&committed)?;
            seen.extend(self.rest_of_step()?);
        }
        Ok(seen)
    }

    /// What comes after `advance`: the choice, and what becomes of it.
    fn rest_of_step(&mut self) -> Result<Vec<Seen>, String> {
        let commands = self.step.commands.clone();
        let mut seen = vec![Seen { commands: commands.clone(), choice: None }];
        if self.commanded()? {
            return Ok(seen);
        }
        let row = row(self.seed, &self.step.history);
        let all = candidates(&row, &commands);
        if all.is_empty() {
            return Err("every token is banned".to_owned());
        }
        let mut token = all.ids[usize::from(all.len() > 1 && self.step.history.len().is_multiple_of(3))];
        if self.picks {
            let mut cut = all;
            cut.truncate(self.cut);
            self.step.row = self.reads.then(|| Arc::new(row));
            let choice = self.session.pick(&mut self.step, &cut).map_err(|error| error.to_string())?;
            self.step.row = None;
            match &choice {
                Choice::Host => {}
                Choice::Token(id) => token = *id,
                Choice::Only(ids) => token = ids[self.step.history.len() % ids.len()],
            }
            seen.push(Seen { commands: self.step.commands.clone(), choice: Some(choice) });
            if self.commanded()? {
                return Ok(seen);
            }
        }
        self.say(vec![token]);
        Ok(seen)
    }

    /// Does what was commanded instead of a choice, if something was.
    fn commanded(&mut self) -> Result<bool, String> {
        if self.step.commands.stop.is_some() {
            self.is_over = true;
            return Ok(true);
        }
        let back = self.step.commands.backtrack;
        if back > 0 {
            self.session.rollback(back).map_err(|error| error.to_string())?;
            take_back(&mut self.step, back);
            self.told -= back;
            self.taken_back += back;
            return Ok(true);
        }
        let forced = std::mem::take(&mut self.step.commands.force);
        let is_forced = !forced.is_empty();
        if is_forced {
            self.say(forced);
        }
        Ok(is_forced)
    }

    fn say(&mut self, tokens: Vec<Token>) {
        self.step.history.extend_from_slice(&tokens);
        self.committed = tokens;
    }
}

/// Tells of tokens, and notes what is held.
fn advance(session: &mut dyn Sampler, step: &mut Step, committed: &[Token]) -> Result<(), plugin::Error> {
    step.held += committed.len();
    session.advance(step, committed)?;
    if step.commands.backtrack == 0 {
        step.held = step.held.min(step.commands.hold as usize);
    }
    Ok(())
}

fn take_back(step: &mut Step, count: u32) {
    step.history.truncate(step.history.len() - count as usize);
    step.held -= count as usize;
}

/// The logits after some tokens: some likely ones, many unlikely ones, now and then all alike. Markup is likelier than
/// it would be by chance, for what it sets off.
fn row(seed: u32, history: &[Token]) -> Vec<f32> {
    let last = history.last().copied().unwrap_or(0);
    let mut random = Random::new(u64::from(seed) << 40 | u64::from(last) << 24 | history.len() as u64);
    let spread = [12.0, 6.0, 30.0, 0.0][history.len() % 4];
    let vocabulary = SmallVocabulary::new();
    let mut logit = |id| {
        let markup = if vocabulary.is_control(id) && !vocabulary.is_end(id) { spread / 3.0 } else { 0.0 };
        random.next_f32().powi(3) * spread - 6.0 + markup
    };
    (0..vocabulary.size()).map(&mut logit).collect()
}

/// What commands leave of a row, best first.
fn candidates(logits: &[f32], commands: &Commands) -> Candidates {
    let vocabulary = SmallVocabulary::new();
    let mut logits = logits.to_vec();
    for &(id, add) in &commands.bias {
        if let Some(logit) = logits.get_mut(id as usize) {
            *logit += add;
        }
    }
    let mut all = row::top(&logits, logits.len());
    let may_end = commands.allow_end != Some(false);
    all.retain(|id, logit| {
        let allowed = commands.allowed.as_ref().is_none_or(|set| set.has(id));
        logit.is_finite() && allowed && (may_end || !vocabulary.is_end(id))
    });
    all
}

/// Whether two answers are the same.
fn same(when: &str, expected: &[Seen], found: &[Seen]) -> Result<(), String> {
    match (0..expected.len().max(found.len())).find(|&at| expected.get(at) != found.get(at)) {
        None => Ok(()),
        Some(at) => Err(format!(
            "{when}, it does not do the same: {} instead of {} (call {at})",
            shown(found.get(at)),
            shown(expected.get(at))
        )),
    }
}

fn shown(seen: Option<&Seen>) -> String {
    match seen {
        None => "nothing".to_owned(),
        Some(Seen { commands, choice: None }) if commands.is_empty() => "no command".to_owned(),
        Some(Seen { commands, choice: None }) => format!("{commands:?}").chars().take(300).collect(),
        Some(Seen { choice: Some(choice), .. }) => format!("{choice:?}").chars().take(300).collect(),
    }
}
