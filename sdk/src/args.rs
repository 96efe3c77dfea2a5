use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Error;

/// What a request can pass to a plugin. The macro [`args!`](crate::args) makes one.
///
/// A type of your own needs a schema and a way to be read; with serde that is
///
/// ```
/// use minerva_plugin::{Args, Error, from_json};
///
/// struct Words(Vec<String>);
///
/// impl Args for Words {
///     fn schema() -> String {
///         r#"{"type": "object", "required": ["words"], "additionalProperties": false,
///             "properties": {"words": {"type": "array", "items": {"type": "string"}}}}"#.to_owned()
///     }
///
///     fn parse(json: &str) -> Result<Self, Error> {
///         let mut words = from_json::<std::collections::HashMap<String, Vec<String>>>(json)?;
///         Ok(Self(words.remove("words").unwrap_or_default()))
///     }
/// }
/// ```
pub trait Args: Sized {
    /// The JSON schema of the arguments; empty where anything goes.
    fn schema() -> String;

    /// Reads JSON text that is valid under the schema.
    ///
    /// # Errors
    ///
    /// Refuses the request, for what a schema cannot say.
    fn parse(json: &str) -> Result<Self, Error>;
}

/// No arguments at all.
impl Args for () {
    fn schema() -> String {
        r#"{"type":"object","additionalProperties":false}"#.to_owned()
    }

    fn parse(_: &str) -> Result<Self, Error> {
        Ok(())
    }
}

/// Reads a type from JSON text.
///
/// # Errors
///
/// When the text is no such type.
pub fn from_json<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(Error::new)
}

/// A type that a field of [`args!`](crate::args) can have.
pub trait ArgType: DeserializeOwned {
    /// Its JSON schema.
    fn schema() -> Value;

    /// A value of it, as JSON.
    fn to_json(&self) -> Value;
}

macro_rules! arg_type {
    ($($type:ty: $name:literal,)*) => {
        $(impl ArgType for $type {
            fn schema() -> Value {
                json!({ "type": $name })
            }

            fn to_json(&self) -> Value {
                json!(self)
            }
        })*
    };
}

arg_type! {
    bool: "boolean",
    i32: "integer",
    i64: "integer",
    f64: "number",
    String: "string",
}

macro_rules! unsigned_arg_type {
    ($($type:ty,)*) => {
        $(impl ArgType for $type {
            fn schema() -> Value {
                json!({ "type": "integer", "minimum": 0 })
            }

            fn to_json(&self) -> Value {
                json!(self)
            }
        })*
    };
}

unsigned_arg_type! { u32, u64, usize, }

impl ArgType for f32 {
    fn schema() -> Value {
        json!({ "type": "number" })
    }

    fn to_json(&self) -> Value {
        // By way of its shortest text: 0.05 is to be read as 0.05, not as 0.05000000074505806.
        self.to_string().parse::<f64>().map_or(Value::Null, |value| json!(value))
    }
}

impl<T: ArgType> ArgType for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }

    fn to_json(&self) -> Value {
        self.iter().map(T::to_json).collect()
    }
}

impl<T: ArgType> ArgType for Option<T> {
    fn schema() -> Value {
        T::schema()
    }

    fn to_json(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::to_json)
    }
}

/// Declares what a request can pass to a plugin: a type that implements [`Args`].
///
/// Each field has a type (numbers, `bool`, `String`, and `Vec` and `Option` of them), a default unless it is
/// required, and whatever further rules of JSON schema it obeys. Its comment is its description.
///
/// ```
/// use minerva_plugin::{Args as _, args};
///
/// args! {
///     pub struct Args {
///         /// What to put in its place.
///         replacement: String = "[redacted]".to_owned(), maxLength: 64;
///         /// How many at most.
///         limit: Option<u32> = None;
///         /// What to look for.
///         words: Vec<String>, minItems: 1;
///     }
/// }
///
/// let args = Args::parse(r#"{"words": ["foo"]}"#).unwrap();
/// assert_eq!((args.replacement.as_str(), args.limit, args.words.len()), ("[redacted]", None, 1));
/// assert_eq!(Args::parse("{}").err().unwrap().to_string(), "words is missing");
/// assert!(Args::schema().contains(r#""required":["words"]"#));
/// ```
#[macro_export]
macro_rules! args {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $field:ident: $type:ty $(= $default:expr)? $(, $rule:ident: $value:expr)*;
            )*
        }
    ) => {
        $(#[$attribute])*
        #[doc = "What a request can pass."]
        $visibility struct $name {
            $(
                $(#[doc = $doc])*
                pub $field: $type,
            )*
        }

        impl $crate::Args for $name {
            fn schema() -> ::std::string::String {
                use $crate::internal::serde_json::{Map, Value, json};
                #[allow(unused_mut, reason = "there may be no fields")]
                let (mut properties, mut required) = (Map::new(), Vec::<Value>::new());
                $(
                    let mut property = <$type as $crate::ArgType>::schema();
                    let description = concat!($($doc),*).trim();
                    if !description.is_empty() {
                        property["description"] = json!(description);
                    }
                    $( property[stringify!($rule)] = json!($value); )*
                    match $crate::args!(@default $type $(, $default)?) {
                        None => required.push(json!(stringify!($field))),
                        Some(default) => match $crate::ArgType::to_json(&default) {
                            Value::Null => {}
                            default => property["default"] = default,
                        },
                    }
                    properties.insert(stringify!($field).to_owned(), property);
                )*
                let schema = json!({
                    "type": "object",
                    "properties": properties,
                    "required": required,
                    "additionalProperties": false,
                });
                schema.to_string()
            }

            fn parse(json: &str) -> ::std::result::Result<Self, $crate::Error> {
                use $crate::internal::serde_json::{Map, Value, from_value};
                #[allow(unused_mut, unused_variables, reason = "there may be no fields")]
                let mut given: Map<String, Value> = $crate::from_json(json)?;
                Ok(Self {
                    $($field: match given.remove(stringify!($field)) {
                        Some(value) => from_value(value)
                            .map_err(|error| $crate::Error::new(format!("{}: {error}", stringify!($field))))?,
                        None => $crate::args!(@default $type $(, $default)?)
                            .ok_or($crate::Error::from(concat!(stringify!($field), " is missing")))?,
                    },)*
                })
            }
        }
    };
    (@default $type:ty) => {
        None::<$type>
    };
    (@default $type:ty, $default:expr) => {{
        let default: $type = $default;
        Some(default)
    }};
}
