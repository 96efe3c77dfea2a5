//! Grammars against texts, on the vocabulary of bytes: every token is one byte, so that a text has one way.

mod requests;
mod suite;

use std::sync::{Arc, LazyLock};

use minerva_engine::fake::ByteVocabulary;
use minerva_engine::grammar::{Compiler, Error, Grammar, Kind, Limits, Matcher};
use minerva_engine::model::{self, Encode, Special, Token, Vocabulary};
use minerva_engine::step::{Random, TokenSet};
use proptest::prelude::*;
use serde_json::{Value, json};

static COMPILER: LazyLock<Compiler> = LazyLock::new(|| compiler(Limits::default()));

fn compiler(limits: Limits) -> Compiler {
    Compiler::new(Arc::new(ByteVocabulary::new()), limits)
}

fn tokens(text: &str) -> Vec<Token> {
    text.bytes().map(Token::from).collect()
}

/// Whether a grammar generates a text, asked in every way that there is.
fn generates(grammar: &Grammar, text: &str) -> bool {
    let mut matcher = grammar.matcher();
    for token in tokens(text) {
        let allowed = matcher.allowed().expect("a mask");
        assert_eq!(allowed.has(token), matcher.accepts(token).expect("an answer"), "token {token} of {text}");
        if !allowed.has(token) {
            assert!(matches!(matcher.fork().commit(&[token]), Err(Error::Rejected { .. })));
            return false;
        }
        matcher.commit(&[token]).expect("an allowed token is taken");
    }
    let ends = matcher.allowed().expect("a mask").has(ByteVocabulary::EOS);
    assert_eq!(ends, matcher.may_end().expect("an answer"));
    ends
}

const TOOLS: &str = r##"[
    {"type": "function", "function": {"name": "now"}},
    {"type": "function", "function": {"name": "say \"it\"", "parameters": {
        "properties": {"text": {"$ref": "#/$defs/t"}, "n": {"type": "integer"}}, "required": ["text"],
        "$defs": {"t": {"type": "string"}}, "additionalProperties": false}}}]"##;

const CALL: &str =
    "<tool_call>\n{\"name\": \"say \\\"it\\\"\", \"arguments\": {\"text\": \"x\", \"n\": 3}}\n</tool_call>";

#[test]
fn grammars_generate_their_texts_and_no_others() {
    let schema = r#"{"type": "object", "properties": {"a": {"type": "integer", "maximum": 20}, "b": {"enum": ["x", null]}},
                     "required": ["a"], "additionalProperties": false}"#;
    let references = r##"{"$ref": "#/$defs/tree", "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}"##;
    let arithmetic = "root ::= (term \"\\n\")+ # lines\nterm ::= number ([-+*/] term)? |\n \"(\" term \")\"\n\
                      number ::= [0-9]{1,3} | \"x\"";
    let json = "root ::= value\n\
        value ::= object | array | string | (\"true\" | \"null\") ws\n\
        object ::=\n  \"{\" ws (\n string \":\" ws value\n (\",\" ws string \":\" ws value)*\n )? \"}\" ws\n\
        array ::= \"[\" ws ( value (\",\" ws value)* )? \"]\" ws\n\
        string ::= \"\\\"\" ([^\"\\\\\\x7F\\x00-\\x1F] | \"\\\\\" ([\"\\\\bfnrt] | \"u\" [0-9a-fA-F]{4}))* \"\\\"\" ws\n\
        ws ::= | \" \" | \"\\n\" [ \\t]{0,20}";
    let cases: &[(Kind, &str, &[&str], &[&str])] = &[
        (Kind::Regex, "ab?c", &["ac", "abc"], &["", "a", "abb", "acc"]),
        (Kind::Regex, "[é-ü/\n]+", &["é", "ü/\n"], &["e", "\u{c3}"]),
        (Kind::Regex, "a*", &["", "aaa"], &["b"]),
        (
            Kind::JsonObject,
            "ignored",
            &["{}", r#"{"a": [1, {"b": null}]}"#],
            &["[]", "1", "", "{} ", "{\"a\"}"],
        ),
        (
            Kind::JsonSchema,
            schema,
            &[r#"{"a":7}"#, r#"{"a": 20, "b": null}"#, "{\n  \"a\": -1\n}"],
            &[
                r#"{"a":21}"#,
                r#"{"b":"x"}"#,
                r#"{"a":1,"c":2}"#,
                "{\"a\":    1}",
                r#"{"a":1} "#,
                r#"{"a":"1"}"#,
            ],
        ),
        (Kind::JsonSchema, references, &["[]", "[[],[[]]]"], &["[1]", "[[]"]),
        (Kind::JsonSchema, r#"{"const": "a\"b"}"#, &[r#""a\"b""#], &[r#""a""#]),
        (Kind::JsonSchema, "true", &["1", "[null]", "\"x\""], &["", "nul"]),
        (
            Kind::JsonSchema,
            r#"{"type": "string", "pattern": "^[a-c]{2}$"}"#,
            &["\"ab\""],
            &["\"abc\"", "\"ad\""],
        ),
        (Kind::Lark, "start: \"a\" (\"b\" | \"c\")+", &["ab", "acb"], &["a", "ad"]),
        (Kind::Lark, "start: \"<\" x \">\"\nx: %json {\"type\": \"boolean\"}", &["<true>"], &["<1>", "true"]),
        (Kind::Gbnf, "root ::= \"yes\" | \"no\"", &["yes", "no"], &["", "ye", "maybe"]),
        (Kind::Gbnf, "root ::= \"a\"?", &["", "a"], &["aa"]),
        (Kind::Gbnf, "root ::= [^a-c] .", &["x\n", "éa"], &["ab", "x"]),
        (Kind::Gbnf, r#"root ::= "\"\\\x41\u00e9\t" [\]\\-]"#, &["\"\\Aé\t]", "\"\\Aé\t-"], &["\"\\Aé\tx"]),
        (Kind::Gbnf, "root ::= [a-z]* \"end\"", &["end", "endend", "xenend"], &["en", "endx"]),
        (Kind::Gbnf, arithmetic, &["1+2\n", "(x*12)\n3\n", "((x))\n"], &["", "1+\n", "(1\n", "1234\n"]),
        (Kind::ToolCall, TOOLS, &[CALL], &["", "{}", &CALL[..40]]),
        (
            Kind::ToolCalls,
            TOOLS,
            &[CALL, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>"],
            &["now"],
        ),
        (Kind::Gbnf, json, &["{}", r#"{"a": [true, {"b": "\u00e9"}]}"#, "[]"], &["{", "[1]", "{\"a\" true}"]),
        (
            Kind::Gbnf,
            "root ::= root-2 root-2\nroot-2 ::= \"(\" root-2? \")\"",
            &["()()", "(())()"],
            &["()", "())"],
        ),
    ];
    for (kind, source, yes, no) in cases {
        let grammar = COMPILER.compile(*kind, source).unwrap_or_else(|error| panic!("{source}: {error}"));
        for text in *yes {
            assert!(generates(&grammar, text), "{kind:?} {source} must generate {text:?}");
        }
        for text in *no {
            assert!(!generates(&grammar, text), "{kind:?} {source} must not generate {text:?}");
        }
    }
}

#[test]
fn what_cannot_be_obeyed_is_refused_with_its_place() {
    let cases: &[(Kind, &str, &str)] = &[
        (Kind::JsonSchema, "{\"a\": ", "at line 1, column 6: EOF"),
        (Kind::JsonSchema, "[]", "it must be an object"),
        (Kind::JsonSchema, r#"{"x-guidance": {"lenient": true}}"#, "at /x-guidance/lenient"),
        (
            Kind::JsonSchema,
            r#"{"properties": {"a/b": {"items": {"type": "strng"}}}}"#,
            "at /properties/a~1b/items: Invalid type: strng",
        ),
        (
            Kind::JsonSchema,
            r#"{"anyOf": [{"type": "null"}, {"not": {}, "type": "string"}]}"#,
            "at /anyOf/1: Unimplemented keys: [\"not\"]",
        ),
        (
            Kind::JsonSchema,
            r#"{"type": "object", "required": ["a"], "properties": {"a": {"type": "string", "minLength": 3, "maxLength": 2}}}"#,
            "required property 'a' is unsatisfiable",
        ),
        (Kind::JsonSchema, r#"{"properties": {"a": {"pattern": "(?=x)"}}}"#, "at /properties/a"),
        (Kind::JsonSchema, r#"{"$ref": "https://example.com/schema"}"#, "example.com"),
        (Kind::JsonSchema, "false", "nsatisfiable"),
        (Kind::Regex, "a(b", "regular expression cannot be used"),
        (Kind::Lark, "start: \"a\"\n| b", "Lark grammar cannot be used, at line 1, column 8: unknown name"),
        (Kind::Lark, "strat: \"a\"", "start"),
        (Kind::ToolCall, "[]", "at least one tool"),
        (
            Kind::ToolCalls,
            r#"[{"function": {"name": "f", "parameters": {"properties": {"a": {"type": "strng"}}}}}]"#,
            "at /0/function/parameters/properties/a: Invalid type: strng",
        ),
        (Kind::Gbnf, "rot ::= \"a\"", "at line 1, column 12: there is no rule `root`"),
        (Kind::Gbnf, "root ::= a\n b ::= \"\"", "at line 1, column 10: the rule `a` is used but not defined"),
        (Kind::Gbnf, "root ::= \"a\nx", "the end comes inside quotes"),
        (Kind::Gbnf, "root ::= [z-a]", "at line 1, column 10: a range"),
        (Kind::Gbnf, "root ::= []", "no characters"),
        (Kind::Gbnf, "root ::= (\"a\"", "`)` is missing"),
        (Kind::Gbnf, "root ::= \"a\"{3,2}", "the least repetitions"),
        (Kind::Gbnf, "root ::= \"a\"{2001}", "from 0 to 2000"),
        (Kind::Gbnf, "root ::= \"\\q\"", "cannot be escaped"),
        (Kind::Gbnf, "root ::= <think>", "references to tokens"),
        (Kind::Gbnf, "root = \"a\"", "`::=` must follow"),
        (Kind::Gbnf, "root ::= \"a\" ) x", "at line 1, column 14"),
        (Kind::Gbnf, "root ::= \"a\"\nroot ::= \"b\"", "at line 2, column 1: this rule is defined twice"),
    ];
    for (kind, source, expected) in cases {
        let Err(error) = COMPILER.compile(*kind, source) else { panic!("{source} was not refused") };
        let error = error.to_string();
        assert!(error.contains(expected), "{source}: {error}");
        assert!(!error.contains("panic") && !error.contains("<state>"), "{error}");
    }
}

/// What would take for ever is refused, or lives within the limits of each step.
#[test]
fn bombs_cost_little() {
    let doubling: String = (1..40).map(|n| format!("a{n} ::= a{} a{}\n", n - 1, n - 1)).collect();
    let doubling = format!("root ::= a39\na0 ::= \"x\"\n{doubling}");
    let optional = format!("root ::= {}{}", "\"a\"? ".repeat(300), "\"a\" ".repeat(300));
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(101), ")".repeat(101));
    let properties: Vec<String> = (0..2400).map(|n| format!(r#""p{n}":{{"type":"string"}}"#)).collect();
    let wide = format!(r#"{{"type":"object","properties":{{{}}}}}"#, properties.join(","));
    let nested = format!("{}{{}}{}", r#"{"items":"#.repeat(5000), "}".repeat(5000));
    let array = r#"{"type": "array", "items": {"type": "string"}, "minItems": 100000000}"#;
    let cases = [
        (Kind::Gbnf, doubling, true),
        (Kind::Gbnf, deep, true),
        (Kind::Lark, format!("start: {}\"a\"{}", "(".repeat(30_000), ")".repeat(30_000)), true),
        (Kind::Regex, "x".repeat((64 << 10) + 1), true),
        (Kind::JsonSchema, nested, true),
        (Kind::Gbnf, optional, false),
        (Kind::Regex, "((a{1,500}){1,500}){1,500}".to_owned(), false),
        (Kind::Regex, "x?".repeat(2000), false),
        (Kind::JsonSchema, wide, false),
        (Kind::JsonSchema, array.to_owned(), false),
        (Kind::JsonSchema, r#"{"type": "string", "minLength": 100000000}"#.into(), false),
    ];
    for (kind, source, refused) in cases {
        let head: String = source.chars().take(60).collect();
        let compiled = COMPILER.compile(kind, &source);
        assert_eq!(compiled.is_err(), refused, "{head}: {:?}", compiled.err());
        let Ok(grammar) = compiled else { continue };
        let mut matcher = grammar.matcher();
        for _ in 0..3 {
            let Ok(allowed) = matcher.allowed() else { break };
            let next = (0..260).find(|&token| allowed.has(token)).expect("a token");
            if matcher.commit(&[next]).is_err() {
                break;
            }
        }
    }
}

/// A step that would cost too much is an error of its request.
#[test]
fn a_step_has_limits() {
    let compiler = compiler(Limits { step_items_max: 20, ..Limits::default() });
    let grammar = compiler.compile(Kind::Gbnf, "root ::= e\ne ::= e e | \"a\" e? | \"a\"").unwrap();
    let mut matcher = grammar.matcher();
    let step = |matcher: &mut Matcher| matcher.allowed().and_then(|_| matcher.commit(&tokens("a")));
    let failed = (0..200).find_map(|_| step(&mut matcher).err());
    assert!(matches!(failed, Some(Error::TooComplex(_))), "{failed:?}");
}

#[test]
fn markup_comes_only_where_it_is_named() {
    // 400 is outside the vocabulary.
    assert!(COMPILER.compile(Kind::Lark, "start: \"a\" <[400]>").is_err());
    let mut matcher = COMPILER.compile(Kind::Lark, "start: \"a\" <|im_start|> \"b\"").unwrap().matcher();
    matcher.commit(&tokens("a")).unwrap();
    let allowed = matcher.allowed().unwrap();
    assert_eq!((0..260).filter(|&token| allowed.has(token)).collect::<Vec<_>>(), [258]);
    matcher.commit(&[258, u32::from(b'b')]).unwrap();
    assert!(matcher.is_complete());
    let mut anything = COMPILER.compile(Kind::Regex, "(?s:.)*").unwrap().matcher();
    let allowed = anything.allowed().unwrap();
    assert_eq!((256..260).filter(|&token| allowed.has(token)).collect::<Vec<_>>(), [257, 259], "the ends");
}

/// A vocabulary that lacks a letter that a grammar needs.
struct Lacking(ByteVocabulary);

impl Vocabulary for Lacking {
    fn size(&self) -> u32 {
        self.0.size()
    }

    fn encode(&self, text: &str, how: Encode) -> Result<Vec<Token>, model::Error> {
        self.0.encode(text, how)
    }

    fn piece(&self, token: Token) -> &[u8] {
        if token == u32::from(b'b') { &[] } else { self.0.piece(token) }
    }

    fn is_control(&self, token: Token) -> bool {
        self.0.is_control(token)
    }

    fn is_end(&self, token: Token) -> bool {
        self.0.is_end(token)
    }

    fn special(&self, role: Special) -> Option<Token> {
        self.0.special(role)
    }
}

#[test]
fn a_grammar_that_no_token_fits_is_stuck() {
    let compiler = Compiler::new(Arc::new(Lacking(ByteVocabulary::new())), Limits::default());
    let mut matcher = compiler.compile(Kind::Regex, "a[b]").unwrap().matcher();
    matcher.commit(&tokens("a")).unwrap();
    assert_eq!(matcher.allowed(), Err(Error::Stuck));
}

#[test]
fn forced_tokens_are_what_must_come() {
    let source = r#"{"type": "object", "properties": {"name": {"enum": ["Anna", "Annabel"]}}, "required": ["name"],
                     "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}"#;
    let mut matcher = COMPILER.compile(Kind::JsonSchema, source).unwrap().matcher();
    assert_eq!(matcher.forced(), tokens(r#"{"name":"Anna"#));
    let forced = matcher.forced();
    for token in forced {
        assert!(matcher.allowed().unwrap().has(token));
        matcher.commit(&[token]).unwrap();
    }
    assert!(matcher.forced().is_empty());
    matcher.commit(&tokens("\"")).unwrap();
    assert_eq!(matcher.forced(), tokens("}"));
    matcher.commit(&tokens("}")).unwrap();
    assert!(matcher.is_complete());
    assert!(matcher.forced().is_empty());
    assert!(matcher.allowed().unwrap().has(ByteVocabulary::EOS));
    matcher.commit(&[ByteVocabulary::EOS]).unwrap();
    matcher.rollback(2).unwrap();
    assert_eq!(matcher.forced(), tokens("}"));
}

/// Schemas whose texts are short, whatever is sampled.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!({"type": "boolean"})),
        Just(json!({"type": "null"})),
        (-50_i64..50, 0_i64..90)
            .prop_map(|(low, more)| json!({"type": "integer", "minimum": low, "maximum": low + more})),
        (0_u32..3, 0_u32..4)
            .prop_map(|(low, more)| json!({"type": "string", "minLength": low, "maxLength": low + more})),
        prop::collection::vec("[a-c\"\\\\é]{0,3}", 1..4).prop_map(|words| json!({"enum": words})),
        Just(json!({"type": "string", "pattern": "^[a-f]{1,3}-?[0-9]$"})),
        Just(json!({"type": "string", "format": "date"})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        let object = prop::collection::btree_map("[a-z]{1,3}", inner.clone(), 0..4);
        prop_oneof![
            (object, any::<bool>()).prop_map(|(properties, all)| {
                let required: Vec<_> = if all { properties.keys().cloned().collect() } else { Vec::new() };
                json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
            }),
            (inner.clone(), 0_u32..2, 0_u32..3)
                .prop_map(|(items, low, more)| json!({"type": "array", "items": items, "minItems": low, "maxItems": low + more})),
            prop::collection::vec(inner, 1..3).prop_map(|any| json!({"anyOf": any})),
        ]
    })
}

/// A token of a set, drawn blindly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small"
)]
fn one_of(allowed: &TokenSet, random: &mut Random) -> Token {
    let choices: Vec<Token> = (0..260).filter(|&token| allowed.has(token)).collect();
    choices[(random.next_f32() * choices.len() as f32) as usize]
}

/// A text that a matcher allows, drawn blindly.
fn draw(matcher: &mut Matcher, random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    while !matcher.is_complete() {
        let allowed = matcher.allowed().expect("a mask");
        let token = one_of(&allowed, random);
        matcher.commit(&[token]).expect("an allowed token");
        match u8::try_from(token) {
            Ok(byte) => text.push(byte),
            Err(_) => break,
        }
        assert!(text.len() < 4000, "{}", String::from_utf8_lossy(&text));
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_drawn_obeys_the_schema(schema in schema(), seed in any::<u64>()) {
        let compiled = COMPILER.compile(Kind::JsonSchema, &schema.to_string());
        // An empty choice among enums cannot be: all these schemas have texts.
        let grammar = compiled.unwrap_or_else(|error| panic!("{schema}: {error}"));
        let validator = jsonschema::validator_for(&schema).expect("a schema");
        let mut random = Random::new(seed);
        for _ in 0..5 {
            let text = draw(&mut grammar.matcher(), &mut random);
            let value: Value = serde_json::from_slice(&text)
                .unwrap_or_else(|error| panic!("{schema}: {}: {error}", String::from_utf8_lossy(&text)));
            prop_assert!(validator.is_valid(&value), "{schema}: {value}");
        }
    }

    #[test]
    fn rollback_and_fork_lead_back(schema in schema(), seed in any::<u64>(), cut in 0.0..1.0_f64) {
        let grammar = COMPILER.compile(Kind::JsonSchema, &schema.to_string()).expect("a grammar");
        let mut random = Random::new(seed);
        let text = draw(&mut grammar.matcher(), &mut random);
        let text: Vec<Token> = text.into_iter().map(Token::from).collect();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "small")]
        let at = (text.len() as f64 * cut) as usize;
        let mut matcher = grammar.matcher();
        matcher.commit(&text[..at]).expect("the beginning");
        let allowed = matcher.allowed().expect("a mask");
        let mut forked = matcher.fork();
        matcher.commit(&text[at..]).expect("the rest");
        matcher.rollback(text.len() - at).expect("the way back");
        prop_assert_eq!(&matcher.allowed().expect("a mask"), &allowed);
        prop_assert_eq!(&forked.allowed().expect("a mask"), &allowed);
        let forced = forked.forced();
        prop_assert!(text[at..].starts_with(&forced) || forced.starts_with(&text[at..]), "{:?}", forced);
        matcher.commit(&text[at..]).expect("the rest again");
        forked.commit(&text[at..]).expect("the rest, on its own");
    }
}
