//! Breaks the law of plugins that its arguments name, `{"law": "chunks"}`, and obeys the others; but as a template it
//! takes any argument.

use minerva_plugin::prelude::*;

args! {
    pub struct Which {
        /// The law to break.
        law: String = String::new();
    }
}

const ABOUT: About = about!("Breaks the law that its arguments name.");

/// Chooses by the number of tokens that it was told of.
struct LawlessSampler {
    law: String,
    told: usize,
}

impl Sampler for LawlessSampler {
    type Args = Which;
    const ABOUT: About = ABOUT;
    const NEEDS: Needs = Needs::cut(64).with_fork().with_backtracking(2);

    fn open(args: Which, _: &[Token]) -> Result<Self, Error> {
        Ok(Self { law: args.law, told: 0 })
    }

    fn advance(&mut self, step: &mut Step, committed: &[Token]) {
        if self.law == "backtrack" {
            step.hold(2);
        }
        self.told += if self.law == "commits" { committed.len().min(1) } else { committed.len() };
        if self.law == "memory" {
            leak();
        }
    }

    fn pick(&mut self, step: &mut Step, cut: &Candidates) -> Choice {
        if self.law == "backtrack" && step.held() == 2 {
            step.backtrack(2);
        }
        assert!(self.law != "odd steps" || cut.len() > 1, "nothing to choose from");
        Choice::Only(vec![cut.ids[self.told % cut.len()]])
    }

    fn fork(&self) -> Result<Self, Error> {
        let told = if self.law == "fork" { 0 } else { self.told };
        Ok(Self { law: self.law.clone(), told })
    }

    fn rollback(&mut self, count: u32) -> Result<(), Error> {
        if self.law != "rollback" {
            self.told -= count as usize;
        }
        Ok(())
    }
}

/// Arguments of which a misspelt one is no error.
struct Loose(String);

impl Args for Loose {
    fn schema() -> String {
        r#"{"type": "object", "properties": {"law": {"type": "string"}}}"#.to_owned()
    }

    fn parse(json: &str) -> Result<Self, Error> {
        Ok(Self(json.to_owned()))
    }
}

struct LawlessTemplate;

impl Template for LawlessTemplate {
    type Args = Loose;
    const ABOUT: About = ABOUT;

    fn render(chat: &Chat, Loose(args): Loose) -> Result<Prompt, Error> {
        let mut prompt = Prompt::default();
        if args.contains("odd chats") {
            prompt.text(chat.messages[0].text());
        }
        for message in &chat.messages {
            if args.contains("markup") {
                prompt.special(message.text());
            } else {
                prompt.text(message.text());
            }
        }
        Ok(prompt)
    }
}

/// Says what it is told.
struct LawlessStream {
    law: String,
}

impl Stream for LawlessStream {
    type Args = Which;
    const ABOUT: About = ABOUT;

    fn open(args: Which) -> Result<Self, Error> {
        Ok(Self { law: args.law })
    }

    fn push(&mut self, chunk: Chunk) -> Vec<Event> {
        match self.law.as_str() {
            "chunks" if !chunk.text.is_empty() => vec![Event::Text(format!("{}|", chunk.text))],
            "odd answers" => {
                assert!(chunk.text.is_empty() || !chunk.tokens.is_empty(), "text without tokens");
                vec![Event::Text(chunk.text)]
            }
            "memory" => {
                leak();
                vec![Event::Text(chunk.text)]
            }
            _ => vec![Event::Text(chunk.text)],
        }
    }
}

fn leak() {
    std::mem::forget(std::hint::black_box(vec![1_u8; 1 << 10]));
}

export!(sampler: LawlessSampler, template: LawlessTemplate, stream: LawlessStream);
