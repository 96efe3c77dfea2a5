//! Every kind of plugin, and misbehaves in whatever call and way its arguments say: `{"at": "pick", "how": "spin"}`.
#![expect(clippy::infinite_iter, reason = "that is the point")]

use std::hash::BuildHasher as _;
use std::hint::black_box;

use minerva_plugin::prelude::*;

args! {
    /// What to do, and where.
    #[derive(Clone)]
    pub struct Misdeed {
        /// The call.
        at: String = String::new();
        /// What to do in it.
        how: String = String::new();
    }
}

impl Misdeed {
    /// Whether it is to be done now. What every call can do is done right here.
    fn now(&self, call: &str) -> Option<&str> {
        if self.at != call {
            return None;
        }
        match self.how.as_str() {
            "panic" => panic!("boom"),
            "trap" => std::process::abort(),
            "spin" => loop {
                black_box(0);
            },
            "hog" => hog(),
            "recurse" => {
                black_box(recurse(0));
            }
            "recurse through the host" => {
                black_box(recurse_through_the_host(0));
            }
            "exit" => std::process::exit(0),
            "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
            "read a file" => drop(std::fs::read("/etc/passwd").map(|_| panic!("read it"))),
            "look around" => {
                assert_eq!(std::env::vars().count() + std::env::args().count(), 0, "an environment");
            }
            "connect" => drop(std::net::TcpStream::connect("127.0.0.1:80").map(|_| panic!("connected"))),
            "print" => {
                println!("to the output");
                eprintln!("to the errors");
            }
            "flood the log" => (0..100_000).for_each(|line| log(Level::Info, &format!("line {line}"))),
            "flood the output" => (0..100_000).for_each(|line| println!("line {line}")),
            "hoard handles" => {
                black_box((0..100_000).map(|id| TokenSet::from_ids(&[id % 100])).collect::<Vec<_>>());
            }
            "hoard grammars" => {
                let compiled = || Grammar::compile(Notation::Regex, "a").expect("a good one");
                let first = compiled();
                black_box((0..100).map(|_| first.fork()).collect::<Vec<_>>());
            }
            "compile for ever" => {
                (0..).for_each(|n| drop(Grammar::compile(Notation::Regex, &format!("a{{{n}}}"))));
            }
            "follow for ever" => {
                // As many states as there are texts of twenty letters.
                let grammar = Grammar::compile(Notation::Regex, "[ab]*a[ab]{20}").expect("it compiles");
                follow(grammar);
            }
            "ambiguous for ever" => {
                let source = "root ::= e\ne ::= e e | \"a\" e? | \"b\" | \"a\"";
                follow(Grammar::compile(Notation::Gbnf, source).expect("it compiles"));
            }
            "obey" => {
                let grammar = Grammar::compile(Notation::Regex, "a").expect("a good one");
                drop(Step::default().obey(&grammar));
            }
            "encode for ever" => loop {
                black_box(minerva_plugin::model::encode(&"x".repeat(1 << 20)).is_ok());
            },
            "match for ever" => (0..).for_each(|n| drop(TokenSet::matching(&format!("(a|b|{n})*c")))),
            "command" => Step::default().temperature(1.0),
            other => return Some(other),
        }
        None
    }
}

/// Takes tokens, and asks what comes next, as long as the host bears it.
fn follow(mut grammar: Grammar) {
    let mut state = 1_u32;
    loop {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        drop(grammar.allowed());
        drop(grammar.accept(&[u32::from(b'a') + (state >> 31)]));
    }
}

/// Takes memory without touching it, so that the limit is met well before any deadline.
fn hog() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(Vec::<u8>::with_capacity(1 << 20)));
    }
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    black_box(recurse(black_box(depth + 1)) + 1)
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse_through_the_host(depth: u32) -> usize {
    let bytes = minerva_plugin::model::decode(&[depth % 100, 1]);
    black_box(recurse_through_the_host(depth + 1)) + bytes.len()
}

const ABOUT: About = about!("Misbehaves as its arguments say.");

struct BadSampler {
    misdeed: Misdeed,
    committed: u64,
    grammar: Option<Grammar>,
}

impl Sampler for BadSampler {
    type Args = Misdeed;
    const ABOUT: About = ABOUT;
    const NEEDS: Needs = Needs::cut(64).with_row().with_fork().with_backtracking(4);

    fn open(misdeed: Misdeed, _: &[Token]) -> Result<Self, Error> {
        match misdeed.now("open") {
            Some("refuse") => Err("not today".into()),
            Some("bad regex") => TokenSet::matching("(").map(|_| unreachable!()),
            Some("bad grammar") => {
                Grammar::compile(Notation::JsonSchema, r#"{"type": 7}"#).map(|_| unreachable!())
            }
            Some("huge grammar") => {
                Grammar::compile(Notation::Regex, &"x".repeat(1 << 17)).map(|_| unreachable!())
            }
            Some("doubling grammar") => {
                let rules: String = (1..40).map(|n| format!("a{n} ::= a{} a{}\n", n - 1, n - 1)).collect();
                let source = format!("root ::= a39\na0 ::= \"x\"\n{rules}");
                Grammar::compile(Notation::Gbnf, &source).map(|_| unreachable!())
            }
            Some("nested grammar") => {
                let source = format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000));
                Grammar::compile(Notation::Lark, &source).map(|_| unreachable!())
            }
            Some("back before the start") => {
                Grammar::compile(Notation::Regex, "abc")?.rollback(1).map(|()| unreachable!())
            }
            Some("obey a grammar") => Ok(Self {
                misdeed,
                committed: 0,
                grammar: Some(Grammar::compile(Notation::Regex, "(yes|no)[.]")?),
            }),
            Some("huge regex") => TokenSet::matching(r"\w{1000}{1000}").map(|_| unreachable!()),
            _ => Ok(Self { misdeed, committed: 0, grammar: None }),
        }
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        self.committed += committed.len() as u64;
        if let Some(grammar) = &mut self.grammar {
            let fit = grammar.accept(committed).expect("it can go on");
            let (may_end, is_complete) = (grammar.may_end(), grammar.is_complete());
            let (forced, allowed) = (grammar.forced(), grammar.allowed().map(|set| set.size()));
            log(Level::Info, &format!("{fit} {may_end:?} {is_complete} {forced:?} {allowed:?}"));
            if fit == committed.len() {
                step.obey(grammar).expect("it can go on");
            } else {
                step.stop(Finish::Filter);
            }
        }
        match self.misdeed.now("advance") {
            Some("read the row") => drop(step.top(1)),
            Some("force for ever") => (0..100_000).for_each(|_| step.force(&[1])),
            Some("ban all") => step.allow(&TokenSet::from_ids(&[])),
            Some("ban each") => {
                let all: Vec<Token> = (0..minerva_plugin::model::vocab_size()).collect();
                step.bias(&all, &vec![f32::NEG_INFINITY; all.len()]);
            }
            Some("keep forcing") => step.force(&[1; 3]),
            Some("back too far") => step.backtrack(5),
            Some("back before the start") => step.backtrack(step.held() + 1),
            Some("hold too many") => step.hold(5),
            Some("hold for ever") => step.hold(4),
            Some("back for ever") => {
                step.hold(4);
                if step.held() == 4 {
                    step.backtrack(3);
                }
            }
            Some("force outside") => step.force(&[u32::MAX]),
            Some("bias NaN") => step.bias(&[1], &[f32::NAN]),
            Some("bias infinite") => step.bias(&[1], &[f32::INFINITY]),
            Some("bias outside") => step.bias(&[1 << 30], &[1.0]),
            Some("bias uneven") => step.bias(&[1, 2], &[1.0]),
            Some("bias for ever") => (0..).for_each(|_| step.bias(&[1; 1000], &[0.1; 1000])),
            Some("freeze") => step.temperature(-1.0),
            Some("command all") => {
                let mut set = TokenSet::matching("[a-z]").expect("a good expression");
                set.unite(&TokenSet::from_ids(&[1, 2]));
                set.intersect(&TokenSet::from_words(&[u32::MAX; 8]));
                let mut banned = TokenSet::from_ids(&[2]);
                banned.invert();
                set.intersect(&banned);
                assert!(set.has(1) && !set.has(2) && set.has(u32::from(b'a')) && !set.has(u32::from(b'A')));
                assert_eq!(set.size(), 27);
                step.allow(&set);
                step.bias(&[1, 2], &[0.5, f32::NEG_INFINITY]);
                step.temperature(0.25);
                step.allow_eog(false);
                step.force(&[7, 8]);
                step.stop(Finish::Filter);
                assert_eq!(step.position(), 3);
                assert_eq!(step.history(2), [11, 12]);
            }
            _ => {}
        }
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        match self.misdeed.now("pick") {
            Some("bad token") => Choice::Token(u32::MAX),
            Some("stranger") => Choice::Only(vec![cut.ids[0], 200]),
            Some("nobody") => Choice::Only(Vec::new()),
            Some("giant") => Choice::Only(vec![cut.ids[0]; 4 << 20]),
            Some("read the row") => {
                let summary = step.summarize();
                assert_eq!(step.top(2).ids[0], summary.argmax);
                assert_eq!(step.at(&[summary.argmax, u32::MAX]), [summary.max, f32::NEG_INFINITY]);
                Choice::Token(summary.argmax)
            }
            Some("read it all") => {
                drop(step.full());
                Choice::Host
            }
            Some("back too far") => {
                step.backtrack(u32::MAX);
                Choice::Host
            }
            Some("back behind what is sent") => {
                step.backtrack(1);
                Choice::Host
            }
            Some("hold") => {
                step.hold(1);
                Choice::Host
            }
            Some("random") => Choice::Token((step.random() * 100.0) as Token),
            Some("turn round") => Choice::Only(cut.ids.iter().rev().copied().collect()),
            Some("count") => Choice::Token(self.committed as Token),
            _ => Choice::Host,
        }
    }

    fn fork(&self) -> Result<Self, Error> {
        self.misdeed.now("fork");
        let grammar = self.grammar.as_ref().map(Grammar::fork);
        Ok(Self { misdeed: self.misdeed.clone(), committed: self.committed, grammar })
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        match self.misdeed.now("rollback") {
            Some("refuse") => Err("never".into()),
            _ => {
                self.committed -= u64::from(count);
                self.grammar.as_mut().map_or(Ok(()), |grammar| grammar.rollback(count))
            }
        }
    }

    fn close(&mut self) -> Option<String> {
        match self.misdeed.now("close") {
            Some("not JSON") => Some("{".to_owned()),
            _ => Some(format!(r#"{{"committed":{}}}"#, self.committed)),
        }
    }
}

struct BadTemplate;

impl Template for BadTemplate {
    type Args = Misdeed;
    const ABOUT: About = ABOUT;

    fn render(chat: &Chat, misdeed: Misdeed) -> Result<Prompt, Error> {
        let mut prompt = Prompt::default();
        match misdeed.now("render") {
            Some("refuse") => return Err("not today".into()),
            Some("bad token") => drop(prompt.tokens([u32::MAX])),
            Some("giant") => drop(prompt.text("x".repeat(9 << 20))),
            Some("empty stop") => drop(prompt.stop("")),
            Some("look at the clock") => {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
                let random = std::hash::RandomState::new().hash_one("a hash map's seed");
                prompt.text(format!("{} s, {random:x}", now.as_secs()));
            }
            Some("bad grammar") => drop(prompt.text("hi").grammar(Notation::Lark, "start: (")),
            Some("grammar") => drop(prompt.text("hi").grammar(Notation::Regex, "yes|no")),
            Some("echo") => drop(prompt.text(format!("{chat:?}"))),
            _ => drop(prompt.text("fine")),
        }
        Ok(prompt)
    }
}

struct BadStream {
    misdeed: Misdeed,
}

impl Stream for BadStream {
    type Args = Misdeed;
    const ABOUT: About = ABOUT;

    fn open(misdeed: Misdeed) -> Result<Self, Error> {
        match misdeed.now("open") {
            Some("refuse") => Err("not today".into()),
            _ => Ok(Self { misdeed }),
        }
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        match self.misdeed.now("push") {
            Some("giant") => vec![Event::Text("x".repeat(9 << 20))],
            Some("many") => vec![Event::Text("x".to_owned()); 5_000],
            Some("not JSON") => vec![Event::Meta("{".to_owned())],
            Some("tool") => vec![Event::Tool(ToolDelta {
                index: 1,
                id: Some("a".to_owned()),
                name: Some("b".to_owned()),
                arguments: "{}".to_owned(),
            })],
            _ => vec![Event::Text(chunk.text), Event::Reasoning(format!("{:?}", chunk.tokens))],
        }
    }

    fn close(&mut self, reason: Finish) -> Vec<Event> {
        match self.misdeed.now("close") {
            Some("not JSON") => vec![Event::Meta("{".to_owned())],
            _ => vec![Event::Stop(reason)],
        }
    }
}

export!(sampler: BadSampler, template: BadTemplate, stream: BadStream);
