//! Fields about sampling that can be written in more than one way.

use std::borrow::Cow;
use std::fmt;

use minerva_engine::request::Stage;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::nearest;

/// The most stop texts of a request.
const STOPS_MAX: usize = 64;

/// The most stages of sampling. A stage may be there more than once.
const STAGES_MAX: usize = 32;

/// Texts that end the generation: one, or an array. Empty ones end nothing and are left out.
pub(super) struct Stops(pub(super) Vec<String>);

impl JsonSchema for Stops {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Stops".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "string"},
            {"type": "array", "maxItems": STOPS_MAX, "items": {"type": "string"}},
        ]})
    }
}

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StopsVisitor;

        impl<'de> Visitor<'de> for StopsVisitor {
            type Value = Stops;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string or an array of strings")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stops, E> {
                Ok(Stops(if text.is_empty() { Vec::new() } else { vec![text.to_owned()] }))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<Stops, A::Error> {
                let mut stops = Vec::new();
                while let Some(text) = texts.next_element::<String>()? {
                    if stops.len() == STOPS_MAX {
                        return Err(de::Error::custom(format_args!(
                            "there can be at most {STOPS_MAX} stop texts"
                        )));
                    }
                    if !text.is_empty() {
                        stops.push(text);
                    }
                }
                Ok(Stops(stops))
            }
        }

        deserializer.deserialize_any(StopsVisitor)
    }
}

/// The stages of sampling in order: an array of names, or a string of letters, as in llama-server. A name that nobody
/// knows is refused here: left out, it would change the answer.
pub(super) struct Stages(pub(super) Vec<Stage>);

impl JsonSchema for Stages {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Stages".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let names: Vec<&str> = Stage::DEFAULT.iter().map(|stage| stage.as_str()).collect();
        let letters: String = ('a'..='z').filter(|letter| Stage::from_letter(*letter).is_some()).collect();
        json_schema!({"anyOf": [
            {"type": "string", "pattern": format!("^[{letters}]{{0,{STAGES_MAX}}}$")},
            {"type": "array", "maxItems": STAGES_MAX, "items": {"type": "string", "enum": names}},
        ]})
    }
}

impl<'de> Deserialize<'de> for Stages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StagesVisitor;

        impl StagesVisitor {
            fn collect<E: de::Error>(
                &self,
                named: impl Iterator<Item = (String, Option<Stage>)>,
            ) -> Result<Stages, E> {
                let mut stages = Vec::new();
                for (name, stage) in named {
                    let Some(stage) = stage else {
                        let known = Stage::DEFAULT.map(Stage::as_str).join("`, `");
                        let name = nearest::shown(&name);
                        return Err(E::custom(format_args!(
                            "there is no stage `{name}`; there are `{known}`"
                        )));
                    };
                    if stages.len() == STAGES_MAX {
                        return Err(E::custom(format_args!("there can be at most {STAGES_MAX} stages")));
                    }
                    stages.push(stage);
                }
                Ok(Stages(stages))
            }
        }

        impl<'de> Visitor<'de> for StagesVisitor {
            type Value = Stages;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of names, or a string of letters")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Stages, E> {
                self.collect(text.chars().map(|letter| (letter.to_string(), Stage::from_letter(letter))))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Stages, A::Error> {
                let mut named = Vec::new();
                while let Some(name) = names.next_element::<String>()? {
                    if named.len() > STAGES_MAX {
                        break;
                    }
                    let stage = Stage::from_name(&name);
                    named.push((name, stage));
                }
                self.collect(named.into_iter())
            }
        }

        deserializer.deserialize_any(StagesVisitor)
    }
}

/// A seed: any 64 bits, signed or not, so that a seed that was reported can be asked for. -1 draws one, as in
/// llama-server.
pub(super) struct Seed(pub(super) Option<u64>);

impl JsonSchema for Seed {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seed".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "integer", "minimum": i64::MIN, "maximum": u64::MAX})
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SeedVisitor;

        impl Visitor<'_> for SeedVisitor {
            type Value = Seed;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number of 64 bits")
            }

            fn visit_i64<E: de::Error>(self, seed: i64) -> Result<Seed, E> {
                Ok(Seed((seed != -1).then(|| seed.cast_unsigned())))
            }

            fn visit_u64<E: de::Error>(self, seed: u64) -> Result<Seed, E> {
                Ok(Seed(Some(seed)))
            }
        }

        deserializer.deserialize_any(SeedVisitor)
    }
}

/// The most bytes of all texts that biases are for.
pub(super) const BIAS_TEXTS_BYTES_MAX: usize = 1 << 16;

/// Biases of tokens: OpenAI's object of token to number, or llama-server's array of pairs, in which `false` bans. In both
/// llama-server takes texts too, which stand for their tokens.
pub(super) struct Biases(pub(super) Vec<(Biased, f32)>);

/// What a bias is for.
pub(super) enum Biased {
    Token(i64),
    Text(String),
}

impl JsonSchema for Biases {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Biases".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let bias =
            json_schema!({"anyOf": [{"type": "number", "minimum": -100, "maximum": 100}, {"const": false}]});
        json_schema!({"anyOf": [
            {"type": "object", "additionalProperties": bias},
            {"type": "array", "items": {
                "type": "array",
                "prefixItems": [{"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string"}]}, bias],
                "items": false,
                "minItems": 2,
            }},
        ]})
    }
}

impl<'de> Deserialize<'de> for Biases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BiasesVisitor;

        impl<'de> Visitor<'de> for BiasesVisitor {
            type Value = Biases;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of token ids to numbers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Biases, A::Error> {
                let mut biases = Vec::new();
                while let Some((key, Bias(bias))) = map.next_entry::<String, Bias>()? {
                    let biased = key.parse().map_or(Biased::Text(key), Biased::Token);
                    biases.push((biased, bias));
                }
                Ok(Biases(biases))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut pairs: A) -> Result<Biases, A::Error> {
                let mut biases = Vec::new();
                while let Some((biased, Bias(bias))) = pairs.next_element()? {
                    biases.push((biased, bias));
                }
                Ok(Biases(biases))
            }
        }

        deserializer.deserialize_any(BiasesVisitor)
    }
}

impl<'de> Deserialize<'de> for Biased {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BiasedVisitor;

        impl Visitor<'_> for BiasedVisitor {
            type Value = Biased;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a token or a text")
            }

            fn visit_i64<E: de::Error>(self, token: i64) -> Result<Biased, E> {
                Ok(Biased::Token(token))
            }

            fn visit_u64<E: de::Error>(self, token: u64) -> Result<Biased, E> {
                let token = i64::try_from(token)
                    .map_err(|_| E::invalid_value(de::Unexpected::Unsigned(token), &self))?;
                Ok(Biased::Token(token))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Biased, E> {
                Ok(Biased::Text(text.to_owned()))
            }
        }

        deserializer.deserialize_any(BiasedVisitor)
    }
}

struct Bias(f32);

impl<'de> Deserialize<'de> for Bias {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BiasVisitor;

        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "the range is checked later"
        )]
        impl Visitor<'_> for BiasVisitor {
            type Value = Bias;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a number, or false")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Bias, E> {
                if value {
                    return Err(E::invalid_type(de::Unexpected::Bool(value), &self));
                }
                Ok(Bias(f32::NEG_INFINITY))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bias, E> {
                Ok(Bias(value as f32))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bias, E> {
                Ok(Bias(value as f32))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Bias, E> {
                Ok(Bias(value as f32))
            }
        }

        deserializer.deserialize_any(BiasVisitor)
    }
}
