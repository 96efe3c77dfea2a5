//! Plugins for Minerva, in Rust.
//!
//! A plugin is a type that implements [`Sampler`], [`Template`] or [`Stream`], and the macro [`export!`]. This
//! is a whole one, which keeps the tokens that are probable enough beside the best one:
//!
//! ```
//! use minerva_plugin::prelude::*;
//!
//! args! {
//!     pub struct Args {
//!         /// Keep tokens at least this probable, relative to the best one.
//!         p: f32 = 0.05, minimum: 0, maximum: 1;
//!     }
//! }
//!
//! struct MinP(Args);
//!
//! impl Sampler for MinP {
//!     type Args = Args;
//!     const ABOUT: About = about!("Keeps the tokens that are probable enough beside the best one.");
//!
//!     fn open(args: Args, _prompt: &[Token]) -> Result<Self, Error> {
//!         Ok(Self(args))
//!     }
//!
//!     fn pick(&mut self, _step: &mut Step, cut: &Candidates) -> Choice {
//!         let least = cut.logits[0] + self.0.p.ln();
//!         Choice::Only(cut.iter().take_while(|&(_, logit)| logit >= least).map(|(id, _)| id).collect())
//!     }
//! }
//!
//! export!(sampler: MinP);
//!
//! # let mut plugin = minerva_plugin::testing::open::<MinP>(r#"{"p": 0.5}"#, &[]).unwrap();
//! # let cut = Candidates { ids: vec![7, 3, 9], logits: vec![2.0, 1.9, 0.0] };
//! # assert_eq!(plugin.pick(&mut Step::default(), &cut), Choice::Only(vec![7, 3]));
//! ```
//!
//! `minerva plugin new NAME --kind sampler` makes a project of such a one, `minerva plugin build NAME` a component of
//! that. Any crate will do that has `crate-type = ["cdylib"]` and is built with
//! `cargo build --release --target wasm32-wasip2`. `minerva plugin check FILE` says what the host sees in it, and
//! `minerva plugin test FILE` whether it keeps the laws.
//!
//! # Arguments
//!
//! The macro [`args!`] declares what a request can pass: it makes the type, and the JSON schema that the host
//! holds a request's arguments against before the plugin sees them. A type of your own implements [`Args`].
//! `minerva plugin test` takes its arguments from the schema: give what is required `examples`.
//!
//! # The interface
//!
//! What `wit/plugin.wit` says of `step` is here a method of the [`Step`] that `advance` and `pick` are passed; `model` is
//! the module [`model`], where [`model::encode`] takes text only and [`model::encode_special`] markup, and
//! `special-id` is [`model::special`]; `token-set` is [`TokenSet`], `grammar` is [`Grammar`], `host.log` is [`log()`].
//!
//! # Errors and panics
//!
//! `open` and `render` return an [`Error`] in words for the client, who did something wrong. A panic is a bug: it
//! fails the one request, and the log and the client are told its message.
//!
//! # Tests
//!
//! The traits and all that a plugin can ask the host for work natively as well, so that a plugin's logic has
//! ordinary unit tests that run with `cargo test`: see [`testing`].
#![cfg_attr(not(target_family = "wasm"), forbid(unsafe_code))]

mod sampler;
mod stream;
mod template;

mod args;
mod grammar;
mod step;

pub mod model;
pub mod store;

mod error;
mod log;

mod backend;
mod export;

#[cfg(not(target_family = "wasm"))]
pub mod testing;

pub use args::{ArgType, Args, from_json};
pub use error::Error;
pub use grammar::{Grammar, Notation};
pub use log::{Level, log};
pub use sampler::{About, Candidates, Choice, Needs, Sampler, Tier};
pub use step::{RowSummary, Step, TokenSet};
pub use stream::{Chunk, Event, Stream, ToolDelta, begun_at_end};
pub use template::{Chat, Content, Message, Part, Prompt, Template, ToolCall};

/// An index into the model's vocabulary.
pub type Token = u32;

/// Why a generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finish {
    /// The model was done, or a stop text came.
    Stop,
    /// The limit of tokens, or the end of the context, was reached.
    Length,
    /// Something came up that must not be said.
    Filter,
    /// A plugin was done.
    Plugin,
}

/// What a plugin needs to have in scope.
pub mod prelude {
    // Without its name too: a plugin's own type is usually called `Args`, and hides it.
    pub use crate::Args as _;
    pub use crate::{
        About, Args, Candidates, Chat, Choice, Chunk, Content, Error, Event, Finish, Grammar, Level, Message,
        Needs, Notation, Part, Prompt, RowSummary, Sampler, Step, Stream, Template, Tier, Token, TokenSet,
        ToolCall, ToolDelta, about, args, begun_at_end, export, log, model, store,
    };
}

/// What the macros need. Not for use by hand.
#[doc(hidden)]
pub mod internal {
    #[cfg(target_family = "wasm")]
    pub use crate::backend::exports;
    pub use serde_json;

    /// Natively an export only checks that the type is what it is exported as.
    pub const fn is_sampler<T: crate::Sampler>() {}

    /// See [`is_sampler`].
    pub const fn is_template<T: crate::Template>() {}

    /// See [`is_sampler`].
    pub const fn is_stream<T: crate::Stream>() {}
}
