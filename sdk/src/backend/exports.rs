//! The bindings, and the traits of this crate behind them. What a plugin exports, and only that, is linked in.
#![allow(missing_docs, unreachable_pub, reason = "internal, and mostly generated")]

#[allow(clippy::all, clippy::pedantic, dead_code, unused_qualifications, missing_docs, reason = "generated")]
pub mod imports {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package minerva:sdk;

            world imports {
                import minerva:plugin/types@0.1.0;
                import minerva:plugin/host@0.1.0;
                import minerva:plugin/model@0.1.0;
                import minerva:plugin/constraints@0.1.0;
                import minerva:plugin/step@0.1.0;
                import minerva:plugin/store@0.1.0;
            }
        ",
        world: "minerva:sdk/imports",
        generate_all,
    });
}

use imports::minerva::plugin::types;

impl From<crate::Finish> for types::Finish {
    fn from(reason: crate::Finish) -> Self {
        match reason {
            crate::Finish::Stop => Self::Stop,
            crate::Finish::Length => Self::Length,
            crate::Finish::Filter => Self::Filter,
            crate::Finish::Plugin => Self::Plugin,
        }
    }
}

impl From<types::Finish> for crate::Finish {
    fn from(reason: types::Finish) -> Self {
        match reason {
            types::Finish::Stop => Self::Stop,
            types::Finish::Length => Self::Length,
            types::Finish::Filter => Self::Filter,
            types::Finish::Plugin => Self::Plugin,
        }
    }
}

pub fn notation(notation: crate::Notation) -> types::Notation {
    match notation {
        crate::Notation::JsonSchema => types::Notation::JsonSchema,
        crate::Notation::Regex => types::Notation::Regex,
        crate::Notation::Lark => types::Notation::Lark,
        crate::Notation::Gbnf => types::Notation::Gbnf,
    }
}

fn about<A: crate::Args>(about: crate::About) -> types::About {
    types::About {
        version: about.version.to_owned(),
        summary: about.summary.to_owned(),
        args_schema: A::schema(),
    }
}

pub mod sampler {
    use core::cell::RefCell;
    use core::marker::PhantomData;

    use super::types;
    use crate::{Args as _, Sampler, Step};

    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        unused_qualifications,
        missing_docs,
        reason = "generated"
    )]
    mod generated {
        wit_bindgen::generate!({
            path: "../wit",
            world: "minerva:plugin/sampler-plugin",
            with: {
                "minerva:plugin/types@0.1.0": crate::backend::exports::imports::minerva::plugin::types,
                "minerva:plugin/host@0.1.0": crate::backend::exports::imports::minerva::plugin::host,
                "minerva:plugin/model@0.1.0": crate::backend::exports::imports::minerva::plugin::model,
                "minerva:plugin/constraints@0.1.0": crate::backend::exports::imports::minerva::plugin::constraints,
                "minerva:plugin/step@0.1.0": crate::backend::exports::imports::minerva::plugin::step,
                "minerva:plugin/sampler@0.1.0": generate,
            },
            pub_export_macro: true,
            export_macro_name: "export_sampler",
        });
    }
    use generated::exports::minerva::plugin::sampler as wit;
    pub use generated::*;

    pub struct Exported<T>(PhantomData<T>);

    impl<T: Sampler> wit::Guest for Exported<T> {
        type Session = Session<T>;

        fn describe() -> wit::Descriptor {
            let crate::Needs { tier, cut, reads_row, can_fork, can_rollback, backtrack_max } = T::NEEDS;
            let tier = match tier {
                crate::Tier::Plan => wit::Tier::Plan,
                crate::Tier::Cut => wit::Tier::Cut,
                crate::Tier::FullRow => wit::Tier::FullRow,
            };
            let about = super::about::<T::Args>(T::ABOUT);
            wit::Descriptor { about, tier, cut, reads_row, can_fork, can_rollback, backtrack_max }
        }
    }

    pub struct Session<T>(RefCell<T>);

    impl<T: Sampler> wit::GuestSession for Session<T> {
        fn open(args: String, prompt: Vec<u32>) -> Result<wit::Session, String> {
            let session = T::open(T::Args::parse(&args).map_err(|error| error.to_string())?, &prompt);
            session
                .map(|session| wit::Session::new(Self(RefCell::new(session))))
                .map_err(|error| error.to_string())
        }

        fn advance(&self, committed: Vec<u32>) {
            self.0.borrow_mut().advance(&mut Step::default(), &committed);
        }

        fn pick(&self, cut: types::Candidates) -> wit::Choice {
            let cut = crate::Candidates { ids: cut.ids, logits: cut.logits };
            match self.0.borrow_mut().pick(&mut Step::default(), &cut) {
                crate::Choice::Host => wit::Choice::Host,
                crate::Choice::Token(id) => wit::Choice::Token(id),
                crate::Choice::Only(ids) => wit::Choice::Only(ids),
            }
        }

        fn fork(&self) -> Result<wit::Session, String> {
            let forked = self.0.borrow().fork();
            forked
                .map(|session| wit::Session::new(Self(RefCell::new(session))))
                .map_err(|error| error.to_string())
        }

        fn rollback(&self, count: u32) -> Result<(), String> {
            self.0.borrow_mut().rollback(count).map_err(|error| error.to_string())
        }

        fn close(&self) -> Option<String> {
            self.0.borrow_mut().close()
        }
    }
}

pub mod template {
    use core::marker::PhantomData;

    use super::types;
    use crate::{Args as _, Template};

    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        unused_qualifications,
        missing_docs,
        reason = "generated"
    )]
    mod generated {
        wit_bindgen::generate!({
            path: "../wit",
            world: "minerva:plugin/template-plugin",
            with: {
                "minerva:plugin/types@0.1.0": crate::backend::exports::imports::minerva::plugin::types,
                "minerva:plugin/host@0.1.0": crate::backend::exports::imports::minerva::plugin::host,
                "minerva:plugin/model@0.1.0": crate::backend::exports::imports::minerva::plugin::model,
                "minerva:plugin/template@0.1.0": generate,
            },
            pub_export_macro: true,
            export_macro_name: "export_template",
        });
    }
    use generated::exports::minerva::plugin::template as wit;
    pub use generated::*;

    pub struct Exported<T>(PhantomData<T>);

    impl<T: Template> wit::Guest for Exported<T> {
        fn describe() -> types::About {
            super::about::<T::Args>(T::ABOUT)
        }

        fn render(chat: wit::Chat, args: String) -> Result<wit::Prompt, String> {
            let args = T::Args::parse(&args).map_err(|error| error.to_string())?;
            let prompt = T::render(&own_chat(chat), args).map_err(|error| error.to_string())?;
            let parts = prompt.parts.into_iter().map(|part| match part {
                crate::Part::Text(text) => wit::Part::Text(text),
                crate::Part::Special(text) => wit::Part::Special(text),
                crate::Part::Tokens(ids) => wit::Part::Tokens(ids),
            });
            let grammar = prompt.grammar.map(|(notation, source)| (super::notation(notation), source));
            Ok(wit::Prompt { parts: parts.collect(), stops: prompt.stops, grammar })
        }
    }

    fn own_chat(chat: wit::Chat) -> crate::Chat {
        let wit::Chat { messages, tools, variables, continue_last } = chat;
        crate::Chat {
            messages: messages.into_iter().map(own_message).collect(),
            tools,
            variables,
            continue_last,
        }
    }

    fn own_message(message: wit::Message) -> crate::Message {
        let wit::Message { role, content, name, tool_calls, tool_call_id, reasoning } = message;
        let content =
            content.into_iter().map(|wit::Content::Text(text)| crate::Content::Text(text)).collect();
        let own_call = |wit::ToolCall { id, name, arguments }| crate::ToolCall { id, name, arguments };
        let tool_calls = tool_calls.into_iter().map(own_call).collect();
        crate::Message { role, content, name, tool_calls, tool_call_id, reasoning }
    }
}

pub mod stream {
    use core::cell::RefCell;
    use core::marker::PhantomData;

    use super::types;
    use crate::{Args as _, Stream};

    #[allow(
        clippy::all,
        clippy::pedantic,
        dead_code,
        unused_qualifications,
        missing_docs,
        reason = "generated"
    )]
    mod generated {
        wit_bindgen::generate!({
            path: "../wit",
            world: "minerva:plugin/stream-plugin",
            with: {
                "minerva:plugin/types@0.1.0": crate::backend::exports::imports::minerva::plugin::types,
                "minerva:plugin/host@0.1.0": crate::backend::exports::imports::minerva::plugin::host,
                "minerva:plugin/model@0.1.0": crate::backend::exports::imports::minerva::plugin::model,
                "minerva:plugin/streaming@0.1.0": generate,
            },
            pub_export_macro: true,
            export_macro_name: "export_stream",
        });
    }
    use generated::exports::minerva::plugin::streaming as wit;
    pub use generated::*;

    pub struct Exported<T>(PhantomData<T>);

    impl<T: Stream> wit::Guest for Exported<T> {
        type Session = Session<T>;

        fn describe() -> types::About {
            super::about::<T::Args>(T::ABOUT)
        }
    }

    pub struct Session<T>(RefCell<T>);

    impl<T: Stream> wit::GuestSession for Session<T> {
        fn open(args: String) -> Result<wit::Session, String> {
            let session = T::open(T::Args::parse(&args).map_err(|error| error.to_string())?);
            session
                .map(|session| wit::Session::new(Self(RefCell::new(session))))
                .map_err(|error| error.to_string())
        }

        fn push(&self, chunk: wit::Chunk) -> Vec<wit::Event> {
            let chunk = crate::Chunk { text: chunk.text, tokens: chunk.tokens };
            self.0.borrow_mut().push(chunk).into_iter().map(event).collect()
        }

        fn close(&self, reason: types::Finish) -> Vec<wit::Event> {
            self.0.borrow_mut().close(reason.into()).into_iter().map(event).collect()
        }
    }

    fn event(event: crate::Event) -> wit::Event {
        match event {
            crate::Event::Text(text) => wit::Event::Text(text),
            crate::Event::Reasoning(text) => wit::Event::Reasoning(text),
            crate::Event::Tool(crate::ToolDelta { index, id, name, arguments }) => {
                wit::Event::Tool(wit::ToolDelta { index, id, name, arguments })
            }
            crate::Event::Meta(json) => wit::Event::Meta(json),
            crate::Event::Stop(reason) => wit::Event::Stop(reason.into()),
        }
    }
}
